"""Writes the reports of a running stage (:class:`builds.engine.context.Report`) to its row."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from builds import lifecycle
from builds.models import Build, Stage, State
from builds.record import metrics, packages
from builds.record.patience import DATABASE_AWAY, retry_while_away

PROGRESS_SECONDS = 0.5


class StageReport:
    """The reports of one build. Writes nothing once the build has ended."""

    def __init__(self, build: Build, redact: Callable[[str], str] = str) -> None:
        self._build, self._redact = build, redact
        self._next_progress_at = self._processor_seconds = 0.0
        self.stage: Stage | None = None

    def begin(self, stage: Stage) -> None:
        """What follows is about ``stage``, which is open."""
        self.stage, self._next_progress_at = stage, time.monotonic() + PROGRESS_SECONDS

    def detail(self, text: str) -> None:
        self._write(detail=self._redact(text)[:2000])

    def progress(self, done: int, total: int | None) -> None:
        """Bytes done of ``total``. Written twice a second at most, and not for what takes no time; the final value is always written."""
        now = time.monotonic()
        if done == total or now >= self._next_progress_at:
            self._next_progress_at = now + PROGRESS_SECONDS
            self._write(progress_done=done, progress_total=total)

    def command(self, *, argv: Sequence[str], version: str = "") -> None:
        self._write(command=self._redact(shlex.join(argv)), command_version=version[:200])

    def exited(self, *, exit_code: int | None, peak_memory_bytes: int | None) -> None:
        self._write(exit_code=exit_code, peak_memory_bytes=peak_memory_bytes)

    def used(self, processor_seconds: float) -> None:
        """Tried once: a build that has to stop must not wait for the database. The next command writes the sum again."""
        self._processor_seconds += processor_seconds
        with suppress(*DATABASE_AWAY):
            row = Build.objects.filter(pk=self._build.pk, state=State.RUNNING)
            row.update(processor_seconds=self._processor_seconds)

    def looked_up(self, cache: str, *, hits: int, misses: int) -> None:
        retry_while_away(lambda: metrics.count_lookups(cache, hits=hits, misses=misses))

    def commit(self, *, commit: str, ref: str, path: str) -> None:
        retry_while_away(lambda: lifecycle.pin(self._build, commit=commit, ref=ref, path=path))

    def packages(self, versions: Mapping[str, str]) -> None:
        retry_while_away(lambda: packages.keep(self._build, versions))

    def _write(self, **fields: object) -> None:
        if self.stage:
            row = Stage.objects.filter(pk=self.stage.pk, state=Stage.State.RUNNING)  # the end of a build closes its stages
            retry_while_away(lambda: row.update(**fields))
