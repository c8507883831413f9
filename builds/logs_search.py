"""Looks through the whole of a build's log: for a text, and for lines that tell of an error.

A line is found by what a reader sees of it: colours are left out, and so are its time, stage and stream. A log of 1,000,000 lines is
looked through in about a second, because a batch is looked at as a whole first, and only where it holds a match line by line.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from builds import logs
from builds.models import Build
from builds.output import COLOUR

MOST_LINES = 2000
KEPT_ANSWERS = 4  # of each kind; one of 1,000,000 lines takes 4 MB

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


def find(build: Build, text: str) -> array[int]:
    """The numbers of all lines that hold ``text``, in upper or lower case. Not to be changed."""
    return _find(build.pk, build.log_lines, text.lower())


def find_errors(build: Build) -> array[int]:
    """The numbers of all lines that tell of an error, the one that explains why the build failed among them. Not to be changed."""
    return _find_errors(build.pk, build.log_lines, build.cause_log_line)


# A reader goes from hit to hit, and each time asks anew. Lines are only ever added, so with their number the answer is the same.
@lru_cache(maxsize=KEPT_ANSWERS)
def _find(build_id: UUID, _lines: int, text: str) -> array[int]:
    found = array("I")
    word = text.encode()
    for batch in logs.batches(build_id):
        lower = _bytes(batch.records if text.isascii() else batch.records.lower()).lower()
        if word in lower:
            lines = enumerate(lower.split(b"\n"), batch.first_line)
            found.extend(number for number, line in lines if word in line.split(b"\t", 3)[-1])
    return found


@lru_cache(maxsize=KEPT_ANSWERS)
def _find_errors(build_id: UUID, _lines: int, cause_line: int | None) -> array[int]:
    found = array("I")
    for batch in logs.batches(build_id):
        whole = _bytes(batch.records)
        lower = whole.lower()
        if any(word in lower for word in ERROR_WORDS):
            lines = enumerate(zip(lower.split(b"\n"), whole.split(b"\n"), strict=True), batch.first_line)
            found.extend(number for number, (low, record) in lines if _tells_of_error(low, record))
    return _with(cause_line, found)


def _bytes(records: str) -> bytes:
    """Without colours. Bytes are looked through, and made lower case, many times faster than text."""
    return (COLOUR.sub("", records) if "\x1b" in records else records).encode()


def _tells_of_error(lower: bytes, record: bytes) -> bool:
    if not any(word in lower for word in ERROR_WORDS):
        return False
    _time, _stage, stream, text = record.decode().split("\t", 3)
    return is_error(stream, text)


def _with(number: int | None, found: array[int]) -> array[int]:
    at = bisect_left(found, number or 0)
    if number and number not in found[at : at + 1]:
        found.insert(at, number)
    return found


def some(found: array[int], *, start: int = 1, before: int | None = None) -> Hits:
    """Of the numbers found those from ``start`` on, or the last ones below ``before``; not more than a page can use."""
    if before is None:
        first = bisect_left(found, start)
        end = first + MOST_LINES
    else:
        end = bisect_left(found, before)
        first = max(end - MOST_LINES, 0)
    return Hits(len(found), first, list(found[first:end]))
