"""The lease of a running build. A thread renews it, notices a cancel, and writes log and findings while the stages run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from django.conf import settings
from django.db import OperationalError, connection

from builds import lifecycle
from builds.errors import BuildStopped
from builds.lib.stop import Stop
from builds.models import Build, State
from builds.pipeline.stop_reason import StopReason
from builds.queue.workers import shorten_lock_wait
from builds.record.findings import FindingWriter
from builds.record.logs import FLUSH_SECONDS, LogWriter
from builds.record.patience import DATABASE_AWAY, is_full, is_locked

logger = logging.getLogger(__name__)

# How often a long stage asks desci-server whether it still wants the result: it does not report a cancel by itself (CONTRACT §2).
ASK_SECONDS = 30.0
# How often to check for a cancel: the person who asked for it waits until the processes have ended.
CANCEL_CHECK_SECONDS = 0.5
# How often new findings are written while a stage runs. All rows of the build are written again.
FINDINGS_SECONDS = 2.0


class Lease:
    """Holds the build while the block runs. Sets ``stop`` when the lease is lost or the build is being cancelled.

    An unreachable database alone does not end the lease. It is lost when it expires without a renewal, because another worker may have
    the build from then on. ``stop`` knows when the lease expires, so it does not depend on this thread.
    """

    def __init__(self, build: Build, log: LogWriter, findings: FindingWriter, stop: Stop) -> None:
        self._build, self._log, self._findings, self._stop = build, log, findings, stop
        # Whether the database could not be reached when the lease was to be renewed last before the build stopped.
        self.was_cut_off = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._hold, name="lease", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        if kind is None:
            self._log.flush()

    def _hold(self) -> None:
        try:
            renew_at = check_at = time.monotonic()
            ask_at = renew_at + ASK_SECONDS
            findings_at = renew_at + FINDINGS_SECONDS
            while not self._done.wait(FLUSH_SECONDS):
                now = time.monotonic()
                if now >= renew_at:
                    renew_at = now + settings.LEASE_SECONDS / 4
                    self._renew()
                elif now >= check_at:
                    check_at = now + CANCEL_CHECK_SECONDS
                    self._check_for_cancel()
                if now >= ask_at:
                    ask_at = now + ASK_SECONDS
                    self._ask()
                self._flush()
                if now >= findings_at:
                    findings_at = now + FINDINGS_SECONDS
                    self._write_findings()
        except Exception:
            logger.exception("the lease of the build could not be kept")
            self._stop.set("The lease of this build could not be kept.")
        finally:
            connection.close()

    def _renew(self) -> None:
        started_at, before, stopped = time.monotonic(), self.was_cut_off, self._stop.event.is_set()
        self.was_cut_off = True
        with self._database_may_be_away("could not renew its lease"):
            if reason := self._renew_or_look():
                self._stop.set(reason)
            self._stop.hold_until(started_at + settings.LEASE_SECONDS)
            self.was_cut_off = before and stopped

    def _renew_or_look(self) -> str:
        """As :func:`lifecycle.renew`. While others hold a lock, such as a migration, nobody can renew the lease and nobody can end it:
        it holds if the row still says so.
        """
        try:
            return lifecycle.renew(self._build)
        except OperationalError as error:
            if not (is_locked(error) and self._still_runs()):
                raise
            logger.warning("build %s could not renew its lease, because the database is locked; it goes on", self._build.pk)
            return ""

    def _still_runs(self) -> bool:
        try:
            return Build.objects.filter(pk=self._build.pk, state=State.RUNNING).exists()
        except OperationalError as error:  # PostgreSQL: the whole table is locked, for everybody
            return is_locked(error)

    def _check_for_cancel(self) -> None:
        with self._database_may_be_away("could not check whether it is being cancelled"):
            if reason := lifecycle.cancel_reason(self._build):
                self._stop.set(reason)

    def _ask(self) -> None:
        with self._database_may_be_away("could not ask desci-server whether it still wants the result"):
            lifecycle.ask_whether_wanted(self._build)

    def _flush(self) -> None:
        """Does not wait for the database: the lease is more urgent, and unwritten lines stay in memory."""
        with self._database_may_be_away("could not write its log"):
            try:
                self._log.flush_at_once()
            except BuildStopped as stopped:
                self._stop.set(str(stopped))

    def _write_findings(self) -> None:
        """So that they are there if the work-horse dies. The end of each stage waits for the database, and this does not."""
        with self._database_may_be_away("could not write its findings"):
            try:
                self._findings.write_at_once()
            except BuildStopped as stopped:
                self._stop.set(str(stopped))

    @contextmanager
    def _database_may_be_away(self, problem: str) -> Iterator[None]:
        try:
            if connection.connection is None:
                shorten_lock_wait()
            yield
        except DATABASE_AWAY as error:
            logger.warning("the build %s: %s", problem, error)
            connection.close_if_unusable_or_obsolete()
            if is_full(error):
                self._stop.set(StopReason.DISK_FULL)  # the build frees disk space by ending
