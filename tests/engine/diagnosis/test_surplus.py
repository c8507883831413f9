"""Complaints beyond those that are kept: most are left out unread, and nothing else is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from builds.engine.diagnosis import Clue, clues
from builds.engine.diagnosis.clues import MAX_CLUES, Clues
from builds.engine.diagnosis.content import SOMETHING_ODD
from builds.engine.diagnosis.plain_lines import MAX_LINE, PlainLines
from builds.engine.diagnosis.rules import RULES
from builds.engine.diagnosis.surplus import SIGNED, without_surplus
from builds.engine.manuscript.settings import OVERLAY
from builds.lib.scan import encoded

FOLDER = Path("/w/repository")
FLOOD = [f"⚠️ paper.md:{number} Could not link citation x" for number in range(MAX_CLUES)]
EXAMPLES = [line for rule in RULES for example in rule.examples for line in example.split("\n")]
SIGNED_EXAMPLES = [line for line in EXAMPLES if SIGNED.match(encoded(line))]
ODD = (
    " ",
    "\u00a0",
    "é",
    "⚠",
    "⛔️ ",
    "error",
    "failed",
    "\u0332",
    "\x1b[31m",
    "1",
    ":9:",
    "/w/repository/",
    "'",
    "x" * MAX_LINE,
    "",
)
DULL = ["read chapter 7", "", "│ a table", "\x1b[32mok\x1b[0m", "  deeper", f"⛔️ {OVERLAY} 'x' is missing"]


def left(*lines: str) -> list[str]:
    data = without_surplus(PlainLines(lines, f"{FOLDER}/"))
    return [line.decode() for line in data.split(b"\n") if line]


def changed(line: str, chance: random.Random) -> str:
    for _ in range(chance.choice((0, 0, 0, 1, 3))):
        at = chance.randrange(len(line) + 1)
        line = line[:at] + chance.choice(ODD) + line[at + chance.randrange(2) :]
    return line


def read(lines: Sequence[str], together: int) -> tuple[object, ...]:
    """All that is known of the lines after a flood."""
    found = Clues(FOLDER)
    found.see_many(1, "stdout", FLOOD)
    told: list[Clue] = []
    for start in range(0, len(lines), together):
        told += found.see_many(len(FLOOD) + start + 1, "stdout", lines[start : start + together])
    return told, found.all, found._last.shown, found._last.complaint


def test_lines_that_only_complain_are_left_out() -> None:
    lines = [f"⚠️  paper.md:{number} Could not link citation with label {number}" for number in range(100)]
    assert left(*lines, "read chapter 7", "⛔️ a.md:3 unknown directive: x") == ["read chapter 7"]


@pytest.mark.parametrize(
    "line",
    [
        "⛔️ a.ipynb Error reading file: SyntaxError: Unexpected end of JSON input",
        '⛔️ a.md:3 Unhandled JATS conversion for node of "x"',
        "⚠️ a.md:3 An exception occurred during code execution, halting further execution:",
        "⚠️ Executing notebook a.ipynb",
        "⚠️ connect ECONNREFUSED 127.0.0.1:9",
        f"⛔️ {OVERLAY} 'x' is missing",
        "⚠️ No space left on device",
        "⚠️",
        "⚠️  \u00a0",
        "error: file not found (searched at x)",
        "⚠️ x" + "x" * MAX_LINE,
    ],
)
def test_other_lines_stay(line: str) -> None:
    assert left(line) == [line]
    assert line in left("⚠️ paper.md:1 one", line, "⚠️ paper.md:2 two")


def test_whatever_begins_with_a_sign_is_something_odd() -> None:
    chance = random.Random(1)
    lines = [changed(line, chance) for line in SIGNED_EXAMPLES * 20]
    signed = [line for line in lines if SIGNED.match(encoded(line))]
    assert len(signed) > len(lines) / 2
    assert all(SOMETHING_ODD.pattern.search(line) for line in signed)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_left_out_would_change_nothing(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chance = random.Random(seed)
    few = chance.sample(SIGNED_EXAMPLES, 3)
    lines = [
        changed(chance.choice(few), chance)
        if (share := chance.random()) < 0.9
        else chance.choice(DULL)
        if share < 0.98
        else chance.choice(EXAMPLES)
        for _ in range(1500)
    ]
    found = read(lines, together := chance.choice((1, 7, 70, 700)))
    monkeypatch.setattr(clues, "without_surplus", lambda said: said.data)
    assert found == read(lines, together)


def test_a_complaint_below_an_exception_is_not_that_exception_again() -> None:
    trace = ["Traceback (most recent call last):", '  File "a.py", line 3, in x', "ValueError: x is negative"]
    for after in ([], FLOOD[:1]):
        found = Clues(FOLDER)
        told = found.see_many(1, "stderr", [*trace, *after, f"⛔️ {OVERLAY} 'x' is missing"])
        assert [clue.code for clue in told].count("python-error") == 1
