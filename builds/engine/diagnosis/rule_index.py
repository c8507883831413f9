"""Finds the rules that may match a line without trying each of them: a log can have a million lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache

from builds.engine.diagnosis.rule import Rule
from builds.lib.scan import Candidates

# For how many lines each rule is tried: to prepare the faster way takes as long as that.
LINES_BEFORE = 150
# Of the last different lines that may mean something, what was found.
LINES_REMEMBERED = 256
PART = re.compile(r"\\u[0-9a-f]{4}|\\.|\[\^?\]?|\]|\(\?P<\w+>|\(\?P=\w+\)|\(\?<?[=!]|\(|\)|.", re.DOTALL)
# RE2 takes these for ASCII only. Classes of all letters would take seconds to compile.
WIDER = {escape: rf"{escape}\v\x{{80}}-\x{{10ffff}}" for escape in (r"\w", r"\d", r"\s")}
CHANGED = {r"\b": "", r"\Z": "$"}


class RuleIndex:
    """The rules that may match a line, in their order. RE2 reads the line for all of them at once."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._lines = 0
        self._found = lru_cache(LINES_REMEMBERED)(self._find)

    def candidates(self, line: bytes) -> Iterable[Rule]:
        """The rules for a line, which is UTF-8."""
        if self._lines < LINES_BEFORE:
            self._lines += 1
            return self._rules
        return self._found(line)

    def of_any(self, lines: bytes) -> Sequence[Rule]:
        """The rules for any of several lines, which are UTF-8."""
        return self._find(lines)

    def _find(self, line: bytes) -> Sequence[Rule]:
        return [self._rules[at] for at in self._scan.of(line)]

    @cached_property
    def _scan(self) -> Candidates:
        return Candidates(loosened(rule.pattern.pattern) for rule in self._rules)


def loosened(pattern: str) -> str:
    """A pattern for RE2 that matches whatever ``pattern`` matches in Python, and more: it looks neither ahead nor behind."""
    made: list[str] = []
    in_class, depth, ignored_from = "", 0, 0
    for part in PART.findall(pattern):
        if not in_class:
            depth += part.startswith("(") and not part.endswith(")")
            ignored_from = ignored_from or (depth if part.startswith(("(?=", "(?!", "(?<=", "(?<!")) else 0)
        if not ignored_from:
            made.append(_loosened_part(part, in_class))
        if in_class:
            in_class = "" if part == "]" else in_class
        elif part.startswith("["):
            in_class = part[:2].removesuffix("]")
        elif part == ")":
            ignored_from = 0 if ignored_from == depth else ignored_from
            depth -= 1
    return "".join(made)


def _loosened_part(part: str, in_class: str) -> str:
    """``in_class`` is how the class of characters begins that the part is in: with ``[`` or ``[^``, which leaves out less in RE2."""
    if part.startswith(r"\u"):
        return rf"\x{{{part[2:]}}}"
    if in_class:
        return WIDER.get(part, part) if in_class == "[" else part
    if part.startswith("(?P"):
        return "(?:" if part.startswith("(?P<") else ".*"
    return f"[{WIDER[part]}]" if part in WIDER else CHANGED.get(part, part)
