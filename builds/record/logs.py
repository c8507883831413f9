"""A build's log. Lines are appended in batches, and any host can read them from any line on while the build still writes.

A batch's records are text, one line each: milliseconds since 1970, stage, stream and text, separated by tabs. Nothing can be added to
the log of a build that has ended.

A batch can be gone: an operator deleted it, or a restored database lacks it. Each of its lines is then read as one that says so, so that
every other line keeps its number.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from django.db import transaction

from builds.errors import BuildStopped, DatabaseAway
from builds.lib.text import storable_text
from builds.models import Build, LogBatch, State
from builds.record.patience import DATABASE_AWAY, retry_while_away

BATCH_CHARACTERS = 64 * 1024
FLUSH_SECONDS = 0.25
# How much is written in one transaction while lines come faster than the batches of FLUSH_SECONDS.
FLUSH_CHARACTERS = 1024 * 1024
# Lines that are put into one batch together, so that no batch of short lines has many more than others.
LINES_TOGETHER = 1000
BATCHES_READ = 16
MISSING = "This line is missing: its part of the log is no longer in the database."


@dataclass(frozen=True)
class LogLine:
    """``stream`` is ``stdout``, ``stderr``, ``service`` or ``warning``; ``missing`` for a line that is gone, whose ``time`` is None."""

    number: int
    time: datetime | None
    stage: str
    stream: str
    text: str


def read(build: Build, first_line: int = 1, last_line: int | None = None) -> Iterator[LogLine]:
    """The lines of a build's log from ``first_line`` on. Reads batch by batch, so the whole log is never in memory."""
    next_line = first_line = max(first_line, 1)
    for batch in batches(build.pk, first_line, last_line):
        for number, record in enumerate(batch.records.split("\n")[: batch.line_count], batch.first_line):
            if last_line is not None and number > last_line:
                break
            if number >= first_line:
                yield from _missing(next_line, number - 1)
                yield _parse(number, record)
                next_line = number + 1
    yield from _missing(next_line, build.log_lines if last_line is None else min(last_line, build.log_lines))


def batches(build_id: UUID, first_line: int = 1, last_line: int | None = None) -> Iterator[LogBatch]:
    """The batches that contain these lines.

    A few per query, so that a slow reader of a large log keeps no cursor open in the database.
    """
    rows = LogBatch.objects.filter(build=build_id).order_by("first_line")
    next_line = rows.filter(first_line__lte=first_line).values_list("first_line", flat=True).last() or 1
    if last_line is not None:
        rows = rows.filter(first_line__lte=last_line)
    while some := list(rows.filter(first_line__gte=next_line)[:BATCHES_READ]):
        yield from some
        next_line = some[-1].first_line + some[-1].line_count
        if last_line is not None and next_line > last_line:
            return


def lines_gone(build: Build) -> int:
    """How many lines are gone from the beginning of the log: they were removed because they are old."""
    first = LogBatch.objects.filter(build=build).order_by("first_line").values_list("first_line", flat=True).first()
    return min((first or build.log_lines + 1) - 1, build.log_lines) if build.finished_at else 0


def _missing(first: int, last: int) -> Iterator[LogLine]:
    return (LogLine(number, None, "", "missing", MISSING) for number in range(first, last + 1))


def _parse(number: int, record: str) -> LogLine:
    milliseconds, stage, stream, text = record.split("\t", 3)
    return LogLine(number, datetime.fromtimestamp(int(milliseconds) / 1000, UTC), stage, stream, text)


@dataclass
class _Batch:
    """Lines that are to be written as one row. ``size`` is in characters."""

    first_line: int
    line_count: int = 0
    records: list[str] = field(default_factory=list)
    size: int = 0

    def add(self, records: str, count: int) -> None:
        self.records.append(records)
        self.line_count += count
        self.size += len(records)


class LogWriter:
    """Appends to the log of one running build. Lines may come from one thread while another flushes.

    Raises (from :meth:`line`, :meth:`write_lines` and :meth:`flush`):
        BuildStopped: the build has ended in the database, so nothing more can be written.
        DatabaseAway, DiskFull: the database rejected writes for a minute, or its disk is full.
    """

    def __init__(self, build: Build, redact: Callable[[str], str]) -> None:
        self.stage = ""
        self.even_full = False  # see :func:`builds.record.patience.retry_while_away`
        self._build = build
        self._redact = redact
        self._lock = threading.RLock()
        self._batches: list[_Batch] = []
        self._next_line = build.log_lines + 1

    def line(self, text: str, *, stream: str = "service") -> int:
        """Append a line and return its number."""
        return self._append([self._redact(text).replace("\n", " ")], stream)

    def write_lines(self, texts: Sequence[str], *, stream: str) -> int:
        """Append lines, which contain no newlines, and return the number of the first one."""
        numbers = [
            self._append(self._masked(some), stream)
            for start in range(0, len(texts), LINES_TOGETHER)
            for some in [texts[start : start + LINES_TOGETHER]]
        ]
        return numbers[0] if numbers else self._next_line

    def _masked(self, lines: Sequence[str]) -> Sequence[str]:
        """The lines, each redacted by itself, because no secret spans two lines. Where nothing is masked, one look at all is enough."""
        text = "\n".join(lines)
        return lines if self._redact(text) == text else [*map(self._redact, lines)]

    def _append(self, lines: Sequence[str], stream: str) -> int:
        begins = f"{time.time_ns() // 1_000_000}\t{self.stage}\t{stream}\t"
        between = f"\n{begins}"
        records = storable_text(f"{begins}{between.join(lines)}\n")
        with self._lock:
            number, self._next_line = self._next_line, self._next_line + len(lines)
            if not self._batches or self._batches[-1].size >= BATCH_CHARACTERS:
                self._batches.append(_Batch(number))
            self._batches[-1].add(records, len(lines))
            if sum(each.size for each in self._batches) >= FLUSH_CHARACTERS:
                self.flush()
        return number

    def flush(self) -> None:
        """Write the new lines as one batch. Waits while the database is unavailable."""
        with self._lock:
            try:
                retry_while_away(self._write, even_full=self.even_full)
            except DATABASE_AWAY as error:
                raise DatabaseAway from error

    def flush_at_once(self) -> None:
        """Like :meth:`flush`, but without waiting: one try, and none while another thread is writing.

        Raises, too:
            OperationalError, InterfaceError: the database is unavailable; the lines stay in memory for the next call.
        """
        if self._lock.acquire(blocking=False):
            try:
                self._write()
            finally:
                self._lock.release()

    def _write(self) -> None:
        if self._batches:
            self._write_batches()
            self._batches = []

    @transaction.atomic
    def _write_batches(self) -> None:
        if not Build.objects.filter(pk=self._build.pk, state=State.RUNNING).update(log_lines=self._next_line - 1):
            raise BuildStopped("The build has ended in the database.")
        # There already, where the database was cut off after it had taken them and before it said so. More lines may have come.
        LogBatch.objects.bulk_create(
            [
                LogBatch(build=self._build, first_line=b.first_line, line_count=b.line_count, records="".join(b.records))
                for b in self._batches
            ],
            update_conflicts=True,
            unique_fields=["build", "first_line"],
            update_fields=["line_count", "records"],
        )
