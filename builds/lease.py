"""The lease of a running build: renewed by a thread beside the stages, which also hears of a cancel and flushes the log."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType

from django.conf import settings
from django.db import connection

from builds import lifecycle
from builds.errors import BuildStopped
from builds.logs import FLUSH_SECONDS, LogWriter
from builds.models import Build
from builds.patience import DATABASE_AWAY
from builds.stages import Stop

logger = logging.getLogger(__name__)


class Lease:
    """Holds the build while the block runs. When it is lost, or a cancel is asked for, ``stop`` is set.

    A database that can't be reached doesn't end the lease by itself: it is lost when it has run out without a renewal, because from
    then on another worker may have been given the work.
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
            renewed_at = time.monotonic()
            while not self._done.wait(FLUSH_SECONDS):
                if time.monotonic() - renewed_at >= settings.LEASE_SECONDS / 4:
                    renewed_at = self._renew(renewed_at)
                self._flush()
        except Exception:
            logger.exception("the lease of build %s can't be kept", self._build.pk)
            self._stop.set("The lease of this build could not be kept.")
        finally:
            connection.close()

    def _renew(self, renewed_at: float) -> float:
        started_at = time.monotonic()
        try:
            reason = lifecycle.renew(self._build)
        except DATABASE_AWAY as error:
            logger.warning("the lease of build %s could not be renewed: %s", self._build.pk, error)
            connection.close_if_unusable_or_obsolete()
            if time.monotonic() - renewed_at > settings.LEASE_SECONDS:
                self._stop.set("The lease of this build ran out while the database was away.")
            return renewed_at
        if reason:
            self._stop.set(reason)
        return started_at

    def _flush(self) -> None:
        """Never waits for the database: the lease is more urgent, and the lines are kept for the next time."""
        try:
            self._log.flush_at_once()
        except BuildStopped as stopped:
            self._stop.set(str(stopped))
        except DATABASE_AWAY as error:
            logger.warning("the log of build %s could not be written: %s", self._build.pk, error)
            connection.close_if_unusable_or_obsolete()
