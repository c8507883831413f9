"""Looking for many patterns in many lines at once."""

from __future__ import annotations

from builds.lib.scan import Candidates, Marks, Scan, encoded, needed

LINES = ["one error", "", "two", "error", "ends here", "half a pair: \ud83d", "error: error"]
TEXT = encoded("\n".join(LINES))


def test_the_lines_that_match_are_found_once_each() -> None:
    assert Scan("error|^$|here$|pair: ").matching(TEXT) == [0, 1, 3, 4, 5, 6]
    assert Scan("^error").matching(TEXT) == [3, 6]
    assert Scan("nothing").matching(TEXT) == []
    assert Scan("e*$").matching(TEXT) == [*range(len(LINES))]


def test_a_text_is_searched_in_all_its_lines() -> None:
    assert Scan("^two$").finds("\n".join(LINES))
    assert not Scan("^wo$").finds("\n".join(LINES))


def test_lines_that_belong_to_one_before_them_are_needed_too() -> None:
    seen: list[int] = []
    for at in needed(Scan("^error$|^$").matching(TEXT), len(LINES), lambda: bool(seen) and seen[-1] == 3):
        seen.append(at)
    assert seen == [1, 3, 4]


def test_one_look_finds_all_patterns_that_match_a_line() -> None:
    marks = Marks(["error", "^two", "r: .$", "nothing"])
    assert [sorted(marks.of(encoded(line))) for line in LINES] == [[0], [], [1], [0], [], [2], [0]]


def test_a_pattern_is_a_candidate_only_for_a_line_with_its_words() -> None:
    candidates = Candidates(["one (?:error|warning)$", "^two", r"\d\d"])
    assert [list(candidates.of(encoded(line))) for line in LINES[:4]] == [[0, 2], [2], [1, 2], [2]]
