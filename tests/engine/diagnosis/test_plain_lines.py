"""Lines as the rules read them, one by one and together."""

from __future__ import annotations

from builds.engine.diagnosis.plain_lines import MAX_LINE, PlainLines


def test_colours_and_the_folder_are_left_out_of_each_line_and_of_all() -> None:
    lines = PlainLines(["\x1b[31m/w/x/a.md\x1b[0m", "", "see /w/x/b.md"], "/w/x/")
    assert [lines[at] for at in range(3)] == ["a.md", "", "see b.md"]
    assert lines.data == lines.shown() == b"a.md\n\nsee b.md"


def test_a_change_is_shown_and_what_was_read_before_stays() -> None:
    lines = PlainLines(["a", "| b", "c"], "")
    lines.change(1, "")
    assert (lines[1], lines.data, lines.shown()) == ("", b"a\n| b\nc", b"a\n\nc")


def test_only_what_is_shown_of_a_long_line_is_cut() -> None:
    lines = PlainLines(["a", "é" * (MAX_LINE + 1)], "")
    assert lines[1] == "é" * MAX_LINE
    assert lines.shown() == f"a\n{lines[1]}".encode()
    assert lines.data.decode() == f"a\n{lines[1]}é"
