"""Looks for any of many patterns in many lines at once.

RE2 reads a text once, however many patterns there are. The ``re`` of Python tries each alternative at each character: with the hundred
alternatives of a diagnosis, a line takes it three hundred times as long.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

import re2

# Of the program and the cache of one pattern. RE2 is slower, not wrong, when its cache is full.
MAX_BYTES = 32 << 20


class Scan:
    """Finds the lines that match ``pattern``, in the syntax of RE2. ``^`` and ``$`` stand for the ends of a line.

    No match may contain a newline. ``\\d``, ``\\w`` and ``\\s`` stand for ASCII only. Halves of characters that cannot be sent as UTF-8
    count as question marks.
    """

    def __init__(self, pattern: str) -> None:
        options = re2.Options()
        options.never_capture = True
        options.log_errors = False
        options.max_mem = MAX_BYTES
        self._pattern = re2.compile(f"(?m){pattern}", options)

    def finds(self, text: str) -> bool:
        """Whether any line of ``text`` matches."""
        return self._pattern.search(_encoded(text)) is not None

    def matching(self, lines: Sequence[str]) -> list[int]:
        """The indexes of the lines that match."""
        text, found, at, number = _encoded("\n".join(lines)), [], 0, 0
        while match := self._pattern.search(text, at):
            number += text.count(b"\n", at, match.start())
            found.append(number)
            at = text.find(b"\n", match.end()) + 1
            if not at:
                break
            number += 1
        return found

    def needed(self, lines: Sequence[str], goes_on: Callable[[], bool]) -> Iterator[int]:
        """The indexes of the lines that match, and of each line for which ``goes_on()`` is true when its turn has come."""
        matching, at = self.matching(lines), 0
        while at < len(lines):
            if not goes_on():
                position = bisect_left(matching, at)
                if position == len(matching):
                    return
                at = matching[position]
            yield at
            at += 1


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
