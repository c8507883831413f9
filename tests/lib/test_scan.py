"""Looking for many patterns in many lines at once."""

from __future__ import annotations

from builds.lib.scan import Scan

LINES = ["one error", "", "two", "error", "ends here", "half a pair: \ud83d", "error: error"]


def test_the_lines_that_match_are_found_once_each() -> None:
    assert Scan("error|^$|here$|pair: ").matching(LINES) == [0, 1, 3, 4, 5, 6]
    assert Scan("^error").matching(LINES) == [3, 6]
    assert Scan("nothing").matching(LINES) == []


def test_a_text_is_searched_in_all_its_lines() -> None:
    assert Scan("^two$").finds("\n".join(LINES))
    assert not Scan("^wo$").finds("\n".join(LINES))


def test_lines_that_belong_to_one_before_them_are_needed_too() -> None:
    seen: list[int] = []
    for at in Scan("^error$|^$").needed(LINES, lambda: bool(seen) and seen[-1] == 3):
        seen.append(at)
    assert seen == [1, 3, 4]
