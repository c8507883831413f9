"""Searches a whole build log: for a text, or for lines that report an error.

Only the visible text of a line is searched: not its colours, time, stage or stream. A batch is first searched as a whole, and line by
line only if it contains a match: 1,000,000 lines take about a second. A log may be a hundred times as long, so a search runs for a
limited time, and the next request for the same search continues where it stopped.
"""

from __future__ import annotations

import re
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from builds.lib.text import COLOUR_BYTES
from builds.models import Build, LogBatch
from builds.record import logs

MAX_LINES = 2000
BATCHES_READ = 16
MAX_BATCHES_READ = 64
# Each keeps two numbers per batch that has a match: less than 1 MB for 100,000,000 short lines.
KEPT_SEARCHES = 16

# Every record of an error contains one of these in lower case, so records without them are skipped. Each word costs a tenth of a
# second in a log of 1,000,000 lines.
ERROR_WORDS = tuple(word.encode() for word in ("\tservice\t", "⛔", "err", "fatal", "exception", "panic"))
ERROR = re.compile(
    r"⛔|ERR!|^\s*(?:\[[\w:. -]+\]\s*)?(?:ERROR|FATAL)\s"
    r"|(?<![\w.-])(?:(?i:fatal)(?: error)?|(?i:uncaught )?(?i:exception)|[Pp]anic|PANIC|(?i:error))(?:\[\w+\])?:"
    r"|\b[A-Z]\w*(?:Error|Exception)\b(?::|$)"
)
SERVICE_ERROR = re.compile(r"^(?:exit code [1-9]|ended by signal|Failed to )")
NO_ERROR = re.compile(r"\b(?:no|0|without(?: any)?)\s+(?:errors?|exceptions?)\b", re.IGNORECASE)

Matches = Callable[[LogBatch], list[int]]


@dataclass(frozen=True)
class Hits:
    """The numbers of some of the lines found. ``total`` counts all of them, ``before`` those before the first of ``lines``."""

    total: int
    before: int
    lines: list[int]


def is_error(stream: str, text: str) -> bool:
    """Whether a line, without its colours, looks like an error. The build may still continue after it."""
    pattern = SERVICE_ERROR if stream == "service" else ERROR
    return bool(pattern.search(text)) and not NO_ERROR.search(text)


class Search:
    """How many lines of each batch match, in the part of the log that has been searched.

    Lines are only ever added to a log, so earlier counts stay valid. The last batch may have grown; then it is counted again.
    """

    def __init__(self, build_id: UUID, matches: Matches) -> None:
        self._build_id = build_id
        self._matches = matches
        self._lock = threading.Lock()
        self._next_line = 1
        # For each batch with a match: its first line, and the number of matches before it.
        self._firsts = array("Q")
        self._before = array("Q")
        self.total = 0

    @property
    def searched(self) -> int:
        """The number of lines that have been searched."""
        return self._next_line - 1

    def advance(self, last_line: int, *, seconds: float) -> bool:
        """Continue the search up to ``last_line`` or until time runs out. Returns whether it got that far.

        If another thread is searching, this one waits for it.
        """
        until = time.monotonic() + seconds
        if self.searched < last_line and self._lock.acquire(timeout=seconds):
            try:
                self._search(last_line, until)
            finally:
                self._lock.release()
        return self.searched >= last_line

    def _search(self, last_line: int, until: float) -> None:
        if self.searched >= last_line:
            return
        for batch in logs.batches(self._build_id, self._next_line, last_line):
            self._count(batch.first_line, len(self._matches(batch)))
            self._next_line = batch.first_line + batch.line_count
            if time.monotonic() > until:
                return
        # A batch at the end can be gone: there is nothing more to search up to this line.
        self._next_line = max(self._next_line, last_line + 1)

    def _count(self, first_line: int, matches: int) -> None:
        if self._firsts and self._firsts[-1] == first_line:
            self._firsts.pop()
            self.total = self._before.pop()
        if matches:
            self._firsts.append(first_line)
            self._before.append(self.total)
            self.total += matches

    def hits(self, *, start: int = 1, before: int | None = None) -> Hits:
        """The lines found from ``start`` on, or the last ones below ``before``; at most ``MAX_LINES``."""
        place = bisect_left(self._firsts, (start if before is None else before) + (before is None))
        if before is None:
            return self._from(start, max(place - 1, 0))
        return self._below(before, place)

    def _from(self, start: int, place: int) -> Hits:
        skipped, lines = 0, array("Q")
        for numbers in self._numbers(self._firsts[place : place + MAX_BATCHES_READ]):
            at = bisect_left(numbers, start)
            skipped += at
            lines.extend(numbers[at:])
            if len(lines) >= MAX_LINES:
                break
        first = self._before[place] if place < len(self._before) else self.total
        return Hits(self.total, first + skipped, list(lines[:MAX_LINES]))

    def _below(self, before: int, end: int) -> Hits:
        lines: list[int] = []
        place = end
        for numbers in self._numbers(self._firsts[max(end - MAX_BATCHES_READ, 0) : end][::-1]):
            lines[:0] = numbers[: bisect_left(numbers, before)]
            place -= 1
            if len(lines) >= MAX_LINES:
                break
        spare = max(len(lines) - MAX_LINES, 0)
        return Hits(self.total, (self._before[place] if place < len(self._before) else 0) + spare, lines[spare:])

    def _numbers(self, firsts: Iterable[int]) -> Iterator[list[int]]:
        """For each of these batches, the numbers of the lines that match."""
        wanted = list(firsts)
        for at in range(0, len(wanted), BATCHES_READ):
            some = wanted[at : at + BATCHES_READ]
            found = {batch.first_line: batch for batch in LogBatch.objects.filter(build=self._build_id, first_line__in=some)}
            yield from (self._matches(found[first]) for first in some if first in found)


# A reader steps from hit to hit, and each step repeats the search.
@lru_cache(maxsize=KEPT_SEARCHES)
def _for_text(build_id: UUID, text: str) -> Search:
    word = text.encode()

    def matches(batch: LogBatch) -> list[int]:
        lower = _bytes(batch.records if text.isascii() else batch.records.lower()).lower()
        if word not in lower:
            return []
        lines = enumerate(lower.split(b"\n"), batch.first_line)
        return [number for number, line in lines if word in line.split(b"\t", 3)[-1]]

    return Search(build_id, matches)


@lru_cache(maxsize=KEPT_SEARCHES)
def _for_errors(build_id: UUID, cause_line: int | None) -> Search:
    def matches(batch: LogBatch) -> list[int]:
        whole = _bytes(batch.records)
        lower = whole.lower()
        has_cause = cause_line is not None and 0 <= cause_line - batch.first_line < batch.line_count
        if not has_cause and not any(word in lower for word in ERROR_WORDS):
            return []
        lines = enumerate(zip(lower.split(b"\n"), whole.split(b"\n"), strict=True), batch.first_line)
        return [number for number, (low, record) in lines if number == cause_line or _reports_error(low, record)]

    return Search(build_id, matches)


def find(build: Build, text: str) -> Search:
    """The search for the lines that contain ``text``, in upper or lower case."""
    return _for_text(build.pk, text.lower())


def find_errors(build: Build) -> Search:
    """The search for the lines that report an error. The line that explains why the build failed is one of them."""
    return _for_errors(build.pk, build.cause_log_line)


def _bytes(records: str) -> bytes:
    """Without colours. Searching and lower-casing bytes is many times faster than text."""
    return COLOUR_BYTES.sub(b"", records.encode())


def _reports_error(lower: bytes, record: bytes) -> bool:
    if not any(word in lower for word in ERROR_WORDS):
        return False
    _time, _stage, stream, text = record.decode().split("\t", 3)
    return is_error(stream, text)
