"""Looks through the whole of a build's log: for a text, and for lines that tell of an error.

A line is found by what a reader sees of it: colours are left out, and so are its time, stage and stream. A batch is looked at as a whole
first, and only where it holds a match line by line: 1,000,000 lines take about a second. A log may have a hundred times as many, so
nobody waits for all of it: a search goes on for as long as it is given, and the next one that asks the same goes on from there.
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

from builds import logs
from builds.models import Build, LogBatch
from builds.output import COLOUR

MOST_LINES = 2000
BATCHES_READ = 16
MOST_BATCHES_READ = 64
# Each with two numbers for a batch that holds a match: of 100,000,000 short lines less than 1 MB.
KEPT_SEARCHES = 16

# One of these is in every record of an error, in lower case; most have none, and are not looked at more closely. Each costs a tenth
# of a second in a log of 1,000,000 lines.
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
    """The numbers of some lines that were found: there are ``total``, of which ``before`` come before the first one of ``lines``."""

    total: int
    before: int
    lines: list[int]


def is_error(stream: str, text: str) -> bool:
    """Whether a line, without its colours, tells of an error. By its look: a build may go on after it."""
    pattern = SERVICE_ERROR if stream == "service" else ERROR
    return bool(pattern.search(text)) and not NO_ERROR.search(text)


class Search:
    """How many lines of each batch match, as far as the log has been looked through.

    Lines are only ever added to a log, so what was found stays true. The last batch may have grown, and is then counted anew.
    """

    def __init__(self, build_id: UUID, matches: Matches) -> None:
        self._build_id = build_id
        self._matches = matches
        self._lock = threading.Lock()
        self._next_line = 1
        # Of each batch with a match the first line, and how many there are before it.
        self._firsts = array("Q")
        self._before = array("Q")
        self.total = 0

    @property
    def searched(self) -> int:
        """So many lines have been looked through."""
        return self._next_line - 1

    def go_on(self, last_line: int, *, seconds: float) -> bool:
        """Look on, up to ``last_line`` or until the time is over. Whether it came so far; while another thread looks, that one's way."""
        until = time.monotonic() + seconds
        if self.searched < last_line and self._lock.acquire(timeout=seconds):
            try:
                self._look(last_line, until)
            finally:
                self._lock.release()
        return self.searched >= last_line

    def _look(self, last_line: int, until: float) -> None:
        if self.searched >= last_line:
            return
        for batch in logs.batches(self._build_id, self._next_line, last_line):
            self._count(batch.first_line, len(self._matches(batch)))
            self._next_line = batch.first_line + batch.line_count
            if time.monotonic() > until:
                return

    def _count(self, first_line: int, matches: int) -> None:
        if self._firsts and self._firsts[-1] == first_line:
            self._firsts.pop()
            self.total = self._before.pop()
        if matches:
            self._firsts.append(first_line)
            self._before.append(self.total)
            self.total += matches

    def hits(self, *, start: int = 1, before: int | None = None) -> Hits:
        """Of the lines found those from ``start`` on, or the last ones below ``before``; not more than a page can use."""
        place = bisect_left(self._firsts, (start if before is None else before) + (before is None))
        if before is None:
            return self._from(start, max(place - 1, 0))
        return self._below(before, place)

    def _from(self, start: int, place: int) -> Hits:
        left_out, lines = 0, array("Q")
        for numbers in self._numbers(self._firsts[place : place + MOST_BATCHES_READ]):
            at = bisect_left(numbers, start)
            left_out += at
            lines.extend(numbers[at:])
            if len(lines) >= MOST_LINES:
                break
        first = self._before[place] if place < len(self._before) else self.total
        return Hits(self.total, first + left_out, list(lines[:MOST_LINES]))

    def _below(self, before: int, end: int) -> Hits:
        lines: list[int] = []
        place = end
        for numbers in self._numbers(self._firsts[max(end - MOST_BATCHES_READ, 0) : end][::-1]):
            lines[:0] = numbers[: bisect_left(numbers, before)]
            place -= 1
            if len(lines) >= MOST_LINES:
                break
        spare = max(len(lines) - MOST_LINES, 0)
        return Hits(self.total, (self._before[place] if place < len(self._before) else 0) + spare, lines[spare:])

    def _numbers(self, firsts: Iterable[int]) -> Iterator[list[int]]:
        """The numbers of the lines that match, of each of these batches."""
        wanted = list(firsts)
        for at in range(0, len(wanted), BATCHES_READ):
            some = wanted[at : at + BATCHES_READ]
            found = {batch.first_line: batch for batch in LogBatch.objects.filter(build=self._build_id, first_line__in=some)}
            yield from (self._matches(found[first]) for first in some if first in found)


# A reader goes from hit to hit, and each time asks anew.
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
        return [number for number, (low, record) in lines if number == cause_line or _tells_of_error(low, record)]

    return Search(build_id, matches)


def find(build: Build, text: str) -> Search:
    """The search for the lines that hold ``text``, in upper or lower case."""
    return _for_text(build.pk, text.lower())


def find_errors(build: Build) -> Search:
    """The search for the lines that tell of an error, the one that explains why the build failed among them."""
    return _for_errors(build.pk, build.cause_log_line)


def _bytes(records: str) -> bytes:
    """Without colours. Bytes are looked through, and made lower case, many times faster than text."""
    return (COLOUR.sub("", records) if "\x1b" in records else records).encode()


def _tells_of_error(lower: bytes, record: bytes) -> bool:
    if not any(word in lower for word in ERROR_WORDS):
        return False
    _time, _stage, stream, text = record.decode().split("\t", 3)
    return is_error(stream, text)
