"""A build's log: lines are appended in batches, and can be read from any line on, from any host, while they are written.

A batch's records are text, one line each: milliseconds since 1970, stage, stream and text, parted by tabs. Batches are fenced: once
the build has ended, nothing can be added to its log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.db import transaction

from builds.errors import BuildError, BuildStopped
from builds.models import Build, LogBatch, State
from builds.patience import DATABASE_AWAY, patiently

BATCH_CHARACTERS = 64 * 1024
FLUSH_SECONDS = 0.25
WARNINGS_KEPT = 100
BATCHES_READ = 16

STREAMS = ("stdout", "stderr", "service", "warning")


@dataclass(frozen=True)
class LogLine:
    number: int
    time: datetime
    stage: str
    stream: str
    text: str


def read(build: Build, first_line: int = 1, last_line: int | None = None) -> Iterator[LogLine]:
    """The lines of a build's log from number ``first_line`` on, batch by batch: its whole is never in memory."""
    for batch in batches(build.pk, first_line, last_line):
        for number, record in enumerate(batch.records.split("\n")[: batch.line_count], batch.first_line):
            if last_line is not None and number > last_line:
                return
            if number >= first_line:
                yield _parse(number, record)


def batches(build_id: UUID, first_line: int = 1, last_line: int | None = None) -> Iterator[LogBatch]:
    """The batches that hold these lines.

    Some at a time, each time anew from where it stopped, so that a slow reader of a large log holds nothing in the database.
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


def _parse(number: int, record: str) -> LogLine:
    milliseconds, stage, stream, text = record.split("\t", 3)
    return LogLine(number, datetime.fromtimestamp(int(milliseconds) / 1000, UTC), stage, stream, text)


class LogWriter:
    """Appends to the log of one running build. Lines may come from one thread while another flushes.

    Raises (from :meth:`line` and :meth:`flush`):
        BuildStopped: the build has ended in the database; nothing more can be written to it.
        BuildError: the database took no write for a minute, or has no room for one.
    """

    def __init__(self, build: Build, redact: Callable[[str], str]) -> None:
        self.stage = ""
        self.even_full = False  # as for :func:`builds.patience.patiently`
        self.warnings: list[str] = list(build.warnings)
        self._build = build
        self._redact = redact
        self._lock = threading.RLock()
        self._records: list[str] = []
        self._size = 0
        self._written = build.log_lines

    def line(self, text: str, *, stream: str = "service") -> int:
        """Append a line and return its number."""
        clean = self._redact(text).replace("\n", " ").replace("\0", "").encode("utf-8", "replace").decode()
        with self._lock:
            self._records.append(f"{time.time_ns() // 1_000_000}\t{self.stage}\t{stream}\t{clean}")
            self._size += len(clean) + 32
            number = self._written + len(self._records)
            if self._size >= BATCH_CHARACTERS:
                self.flush()
        return number

    def warning(self, text: str) -> int:
        """Append a line that staff must see, and keep it on the build."""
        number = self.line(text, stream="warning")
        if len(self.warnings) < WARNINGS_KEPT:
            self.warnings.append(self._redact(text).replace("\0", ""))
            running = Build.objects.filter(pk=self._build.pk, state=State.RUNNING)
            patiently(lambda: running.update(warnings=self.warnings))
        return number

    def flush(self) -> None:
        """Write what has come since the last time, as one batch; wait for a database that is away."""
        with self._lock:
            try:
                patiently(self._write, even_full=self.even_full)
            except DATABASE_AWAY as error:
                raise BuildError(f"The log could not be written for a minute: {error}") from error

    def flush_at_once(self) -> None:
        """As :meth:`flush`, for who can't wait: nothing where another thread is writing, and one try only.

        Raises (too):
            OperationalError, InterfaceError: the database is away; the lines are kept for the next time.
        """
        if self._lock.acquire(blocking=False):
            try:
                self._write()
            finally:
                self._lock.release()

    def _write(self) -> None:
        if self._records:
            self._write_batch()
            self._written += len(self._records)
            self._records, self._size = [], 0

    @transaction.atomic
    def _write_batch(self) -> None:
        last = self._written + len(self._records)
        if not Build.objects.filter(pk=self._build.pk, state=State.RUNNING).update(log_lines=last):
            raise BuildStopped("The build has ended in the database.")
        # There already, where the database was cut off after it had taken the batch and before it said so. More lines may have come.
        LogBatch.objects.update_or_create(
            build=self._build,
            first_line=self._written + 1,
            defaults={"line_count": len(self._records), "records": "".join(f"{record}\n" for record in self._records)},
        )
