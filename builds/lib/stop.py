"""A request to stop that one thread sets and another checks: a build was cancelled, lost its lease, or exceeded a time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from builds.errors import BuildError, BuildStopped

# How long to wait for the renewal of a lease that has expired. Its process may have been paused while the worker renewed the lease.
RENEWAL_SECONDS = 5.0


class Stop:
    """Whether the build has to stop. Set once, by the thread that renews the lease; never unset.

    It sets itself when the lease has expired and is not renewed: a process that was paused learns that from the clock, and does nothing
    else before it knows.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.reason = ""
        self._holds_until = float("inf")
        self._time_limits: list[tuple[float, BuildError]] = []

    def hold_until(self, moment: float) -> None:
        """The lease is valid until ``moment`` on the monotonic clock."""
        self._holds_until = moment

    @contextmanager
    def within(self, seconds: float, error: BuildError) -> Iterator[None]:
        """Limit the time of a block: once ``seconds`` have passed, :meth:`check` raises ``error`` inside it."""
        limit = (time.monotonic() + seconds, error)
        self._time_limits.append(limit)
        try:
            yield
        finally:
            self._time_limits.remove(limit)

    def set(self, reason: str) -> None:
        """Stop the build. Only the first reason is kept."""
        self.reason = self.reason or reason
        self.event.set()

    @property
    def is_set(self) -> bool:
        return self._is_requested() or self._exceeded() is not None

    def check(self) -> None:
        """Return if the build may go on.

        Raises:
            BuildStopped: the build has to stop.
            BuildError: the error of a time limit that was exceeded.
        """
        if self._is_requested():
            raise BuildStopped(self.reason)
        if error := self._exceeded():
            raise error

    def wait(self, seconds: float) -> None:
        """Sleep for ``seconds``, or until the build has to stop; then raise as :meth:`check` does."""
        ends = [at - time.monotonic() for at, _error in self._time_limits]
        self.event.wait(max(min([seconds, *ends]), 0))
        self.check()

    def _is_requested(self) -> bool:
        if time.monotonic() > self._holds_until and not self._is_renewed_soon():
            self.set("The lease of this build ran out.")
        return self.event.is_set()

    def _is_renewed_soon(self) -> bool:
        """Wait for the thread that renews the lease. Whether the lease is valid again, or the thread has said why not."""
        give_up_at = time.monotonic() + RENEWAL_SECONDS
        while not self.event.wait(0.05):
            if time.monotonic() < self._holds_until:
                return True
            if time.monotonic() > give_up_at:
                return False
        return True

    def _exceeded(self) -> BuildError | None:
        return next((error for at, error in self._time_limits if time.monotonic() > at), None)
