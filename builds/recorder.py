"""Writes what a stage tells of itself (:class:`builds.stages.Report`) on its row."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence

from builds import lifecycle
from builds.models import Build, Stage, State
from builds.patience import patiently

PROGRESS_SECONDS = 0.5


class StageReport:
    """The report of one build; ``stage`` is the row that is open. Writes nothing once the build has ended."""

    def __init__(self, build: Build, redact: Callable[[str], str] = str) -> None:
        self._build, self._redact = build, redact
        self._next_progress_at = 0.0
        self.stage: Stage | None = None

    def detail(self, text: str) -> None:
        self._write(detail=self._redact(text)[:2000])

    def progress(self, done: int, total: int | None) -> None:
        """Bytes done of ``total``; the last one is always written, those between at most twice a second."""
        now = time.monotonic()
        if done == total or now >= self._next_progress_at:
            self._next_progress_at = now + PROGRESS_SECONDS
            self._write(progress_done=done, progress_total=total)

    def command(self, *, argv: Sequence[str], version: str = "") -> None:
        self._write(command=self._redact(shlex.join(argv)), command_version=version[:200])

    def exited(self, *, exit_code: int | None, peak_memory_bytes: int | None) -> None:
        self._write(exit_code=exit_code, peak_memory_bytes=peak_memory_bytes)

    def commit(self, *, commit: str, ref: str, path: str) -> None:
        patiently(lambda: lifecycle.pin(self._build, commit=commit, ref=ref, path=path))

    def _write(self, **fields: object) -> None:
        if self.stage:
            row = Stage.objects.filter(pk=self.stage.pk, build__state=State.RUNNING)
            patiently(lambda: row.update(**fields))
