"""The lease of a running build: renewed by a thread beside the stages, which also hears of a cancel and flushes the log."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from django.conf import settings
from django.db import connection

from builds import lifecycle
from builds.errors import BuildStopped
from builds.logs import FLUSH_SECONDS, LogWriter
from builds.models import Build
from builds.patience import DATABASE_AWAY, is_full
from builds.stages import Stop

logger = logging.getLogger(__name__)


# So often desci-server is asked during a long stage whether it still wants the result: nobody calls us when it doesn't (CONTRACT §2).
ASK_SECONDS = 30.0
# So often it is looked whether the build is to be cancelled: who asked waits for its processes to end.
LOOK_SECONDS = 0.5
# Why a build stops when the database has no room: it makes room by ending.
NO_ROOM = "The disk of the service is full."


class Lease:
    """Holds the build while the block runs. When it is lost, or a cancel is asked for, ``stop`` is set.

    A database that can't be reached doesn't end the lease by itself: it is lost when it has run out without a renewal, because from
    then on another worker may have been given the work. ``stop`` knows until when it holds, and needs no thread to see that it is over.
    """

    def __init__(self, build: Build, log: LogWriter, stop: Stop) -> None:
        self._build, self._log, self._stop = build, log, stop
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        if kind is None:
            self._log.flush()

    def _keep(self) -> None:
        try:
            renew_at = look_at = time.monotonic()
            ask_at = renew_at + ASK_SECONDS
            while not self._done.wait(FLUSH_SECONDS):
                now = time.monotonic()
                if now >= renew_at:
                    renew_at = now + settings.LEASE_SECONDS / 4
                    self._renew()
                elif now >= look_at:
                    look_at = now + LOOK_SECONDS
                    self._look()
                if now >= ask_at:
                    ask_at = now + ASK_SECONDS
                    self._ask()
                self._flush()
        except Exception:
            logger.exception("the lease of build %s can't be kept", self._build.pk)
            self._stop.set("The lease of this build could not be kept.")
        finally:
            connection.close()

    def _renew(self) -> None:
        started_at = time.monotonic()
        with self._database_may_be_away("its lease could not be renewed"):
            if reason := lifecycle.renew(self._build):
                self._stop.set(reason)
            self._stop.hold_until(started_at + settings.LEASE_SECONDS)

    def _look(self) -> None:
        with self._database_may_be_away("it could not be asked whether it is to be cancelled"):
            if reason := lifecycle.cancel_asked(self._build):
                self._stop.set(reason)

    def _ask(self) -> None:
        with self._database_may_be_away("desci-server could not be asked whether it still wants it"):
            lifecycle.ask_whether_wanted(self._build)

    def _flush(self) -> None:
        """Never waits for the database: the lease is more urgent, and the lines are kept for the next time."""
        with self._database_may_be_away("its log could not be written"):
            try:
                self._log.flush_at_once()
            except BuildStopped as stopped:
                self._stop.set(str(stopped))

    @contextmanager
    def _database_may_be_away(self, what: str) -> Iterator[None]:
        try:
            yield
        except DATABASE_AWAY as error:
            logger.warning("build %s: %s: %s", self._build.pk, what, error)
            connection.close_if_unusable_or_obsolete()
            if is_full(error):
                self._stop.set(NO_ROOM)
