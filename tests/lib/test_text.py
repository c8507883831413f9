"""What each way of showing an untrusted text keeps, replaces and writes out."""

from __future__ import annotations

from typing import Any

import pytest

from builds.lib.json_text import indented
from builds.lib.text import COLOUR, one_line, plain, printable, storable_text, visible, without_colour, without_controls

TEXT = "a\x1b[31mb\tc\nd\x00\x9be\u202ef\ud800g"


def test_visible_writes_hidden_characters_as_codes() -> None:
    assert visible(TEXT) == "a\\u001b[31mb\tc\nd\\u0000\\u009be\\u202ef\\ud800g"


def test_plain_also_removes_colours() -> None:
    assert plain(TEXT) == "ab\tc\nd\\u0000\\u009be\\u202ef\\ud800g"


def test_printable_replaces_each_run_of_hidden_characters_by_a_space() -> None:
    assert printable(TEXT) == "ab c d e f g"


def test_without_controls_keeps_tabs_newlines_and_directions() -> None:
    assert without_controls(TEXT) == "ab\tc\nd e\u202ef\ud800g"


@pytest.mark.parametrize(
    "text", ["a ✓\x1b[1;31mb\x1b[0m", "\x1b[\x1b[0m31m", "\0\x1b[31m", "\x1b[2J", "\x1b[31", "\ud800\x1b[m\udfff", "\x1b[٣m"]
)
def test_a_text_loses_its_colours_and_nothing_else(text: str) -> None:
    assert without_colour(text) == COLOUR.sub("", text)


def test_a_text_is_stored_without_nul_and_with_a_question_mark_for_half_a_character() -> None:
    assert storable_text("✓ a\ud83d") == "✓ a?"
    assert storable_text("✓\0 \0a\ud83d\0") == "✓ a?"
    assert storable_text("✓ a\0") == "✓ a"
    assert storable_text("✓ a") == "✓ a"


def test_without_colour_keeps_other_sequences() -> None:
    assert without_colour("\x1b[1;31ma\x1b[0m\x1b[2J") == "a\x1b[2J"


@pytest.mark.parametrize(
    ("value", "line"),
    [("  a\n\tb\u202e ", "a b"), ("abcdef", "abcd…"), ("abcde", "abcde"), (12, "12"), (None, ""), (["a"], ""), ("", "")],
)
def test_one_line(value: Any, line: str) -> None:
    assert one_line(value, 5) == line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"a":[1,2],"b":{}}', '{\n  "a": [\n    1,\n    2\n  ],\n  "b": {}\n}'),
        ('{"a":"\\u00e9', '{\n  "a": "\\u00e9'),
        ('["\\u00e9"]', '[\n  "é"\n]'),
    ],
)
def test_json_is_indented(text: str, shown: str) -> None:
    assert indented(text) == shown
