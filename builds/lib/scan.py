"""Looks for any of many patterns in many lines at once.

RE2 reads a text once, however many patterns there are. The ``re`` of Python tries each alternative at each character: with the hundred
alternatives of a diagnosis, a line takes it three hundred times as long.

``\\d``, ``\\w`` and ``\\s`` stand for ASCII only, and ``^`` and ``$`` for the ends of a line. Halves of characters that cannot be sent as
UTF-8 count as question marks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

import re2

# Of the program and the cache of one pattern. RE2 is slower, not wrong, when its cache is full.
MAX_BYTES = 32 << 20


class Scan:
    """Finds the lines that match ``pattern``, in the syntax of RE2. No match may contain a newline."""

    def __init__(self, pattern: str) -> None:
        # A match takes in the rest of its line, so that each line is found once, however often it matches.
        self._pattern = re2.compile(rf"(?m)(?:{pattern})[^\n]*", _options())

    def finds(self, text: str) -> bool:
        """Whether any line of ``text`` matches."""
        return self._pattern.search(encoded(text)) is not None

    def matching(self, text: bytes) -> list[int]:
        """The indexes of the lines that match, in a text in UTF-8."""
        found: list[int] = []
        at = number = 0
        for match in self._pattern.finditer(text):
            start = match.start()
            number += text.count(b"\n", at, start)
            at = start
            if not found or found[-1] != number:  # an end of a line that matches by itself is found after the line
                found.append(number)
        return found


def needed(matching: Sequence[int], count: int, goes_on: Callable[[], bool]) -> Iterator[int]:
    """Of ``count`` lines, the indexes of those in ``matching``, and of each for which ``goes_on()`` is true when its turn has come."""
    at = 0
    while at < count:
        if not goes_on():
            position = bisect_left(matching, at)
            if position == len(matching):
                return
            at = matching[position]
        yield at
        at += 1


class Marks:
    """Finds out which of a few patterns match a line, in one look. The patterns are those of a :class:`Scan`."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._set = re2.Set.SearchSet(_options())
        for pattern in patterns:
            self._set.Add(f"(?m){pattern}")
        self._set.Compile()

    def of(self, line: bytes) -> Sequence[int]:
        """The indexes of the patterns that match the line, which is UTF-8, in any order."""
        return self._set.Match(line) or ()


class Candidates:
    """Finds the few of many patterns that may match a line: those of whose words the line has enough.

    The time depends on the line's length and not on the patterns, whatever the line is. An automaton of all patterns is as fast for usual
    lines, but takes milliseconds for a line that begins like many of them.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._filter = re2.Filter()
        for pattern in patterns:
            self._filter.Add(f"(?m){pattern}", _options())
        self._filter.Compile()

    def of(self, line: bytes) -> Sequence[int]:
        """The indexes of the patterns that may match the line, which is UTF-8, in their order."""
        return sorted(self._filter.Match(line, potential=True) or ())


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _options() -> re2.Options:
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    options.max_mem = MAX_BYTES
    return options
