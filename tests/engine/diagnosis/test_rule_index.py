"""The faster way to a rule finds the same rule as trying each of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from builds.engine.diagnosis.clues import Clues
from builds.engine.diagnosis.first_look import SIGNIFICANT
from builds.engine.diagnosis.rule import Rule
from builds.engine.diagnosis.rule_index import LINES_BEFORE, RuleIndex, loosened
from builds.engine.diagnosis.rules import RULES
from builds.lib.scan import Scan, encoded

EXAMPLES = [line for rule in RULES for example in rule.examples for line in example.split("\n")]
ODD = (" ", "\u00a0", "é", "٣", "x", "1", ":", "/", "'", ".", "")


@pytest.fixture(scope="module")
def index() -> RuleIndex:
    made = RuleIndex(RULES)
    for _ in range(LINES_BEFORE):
        made.candidates(b"")
    return made


def first(rules: object, line: str) -> Rule | None:
    return next((rule for rule in rules if rule.pattern.search(line)), None)  # type: ignore[attr-defined]


def changed(line: str, chance: random.Random) -> str:
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(line) + 1)
        line = line[:at] + chance.choice(ODD) + line[at + chance.randrange(2) :]
    return line


def test_it_finds_the_same_rule_for_each_example_and_for_lines_like_it(index: RuleIndex) -> None:
    chance = random.Random(1)
    for example in EXAMPLES:
        for line in (example, changed(example, chance), changed(example, chance)):
            assert first(index.candidates(encoded(line)), line) is first(RULES, line), line


def test_it_leaves_out_nearly_all_rules(index: RuleIndex) -> None:
    for line in ("nothing of the kind 429", "⛔ paper.md:3 unknown directive: x"):
        assert len(list(index.candidates(encoded(line)))) < len(RULES) / 20


def test_lines_that_come_together_mean_the_same_as_lines_that_come_one_by_one() -> None:
    chance = random.Random(2)
    dull = [
        "read chapter 7",
        "",
        "│ a table",
        "\x1b[32mok\x1b[0m",
        "/w/repository/x was read",
        "a\u0332b",
        "at home (3)",
        "x" * 3000,
    ]
    for _ in range(30):
        lines = [chance.choice(EXAMPLES) if chance.random() < 0.1 else chance.choice(dull) for _ in range(300)]
        one, many = (Clues(Path("/w/repository")) for _ in range(2))
        found = [clue for number, line in enumerate(lines, 1) if (clue := one.see(number, "stdout", line))]
        together = []
        for start in range(0, len(lines), 70):
            together += many.see_many(start + 1, "stdout", lines[start : start + 70])
        assert together == found
        assert many.all == one.all
        assert (many._last.shown, many._last.complaint) == (one._last.shown, one._last.complaint)


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (r"a(?!b[)\]])c", "ac"),
        (r"^(?=(?:.*?(?P<host>[\w(-]+))?)x(?P<day>\d)-(?P=day)\b", "x٣-٣"),
        (r"[^\s:]\ufe0f?\s+(?<!x)end\Z", "é\u00a0end"),
    ],
)
def test_a_loosened_pattern_matches_what_the_pattern_matches(pattern: str, line: str) -> None:
    assert Scan(loosened(pattern)).finds(line)


@pytest.mark.parametrize(
    ("line", "is_significant"),
    [("HTTP403", True), ("429", True), ("status=503.", True), ("a 403\u0663", True), ("1503", False), ("build 4290", False)],
)
def test_a_status_counts_only_where_no_digit_is_beside_it(line: str, *, is_significant: bool) -> None:
    assert SIGNIFICANT.finds(line) is is_significant
