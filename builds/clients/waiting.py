"""Waiting for others: a blocking call that a cancel can leave, and pauses between tries."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol, TypeVar

T = TypeVar("T")

TICK_SECONDS = 0.25


class Stopper(Protocol):
    """What of :class:`builds.stages.Stop` is used here."""

    def check(self) -> None: ...

    def wait(self, seconds: float) -> None: ...


class NeverStops:
    """For calls outside a build."""

    def check(self) -> None:
        """Nothing stops."""

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


def until_stopped(stop: Stopper, work: Callable[[], T], *, tick: Callable[[], None] = lambda: None) -> T:
    """Call ``work`` in a thread of its own and return what it returns, or leave it when the build has to stop.

    ``tick`` is called in the caller's thread several times a second, as long as it lasts.
    """
    future: Future[T] = Future()
    threading.Thread(target=_settle, args=(future, work), daemon=True).start()
    while True:
        try:
            return future.result(timeout=TICK_SECONDS)
        except NotYet:
            if future.done():  # the work's own time limit
                return future.result()
            stop.check()
            tick()


def _settle(future: Future[T], work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


class Backoff:
    """The pauses between tries: 0.5 s, 1 s, 2 s … 30 s, each up to a quarter longer, until ``patience_seconds`` are over."""

    def __init__(self, patience_seconds: float, *, first: float = 0.5, longest: float = 30.0) -> None:
        self._ends_at = time.monotonic() + patience_seconds
        self._next, self._longest = first, longest

    def pause(self, stop: Stopper, *, asked_for: float | None = None) -> bool:
        """Wait before the next try; False where the patience does not reach so far (then nothing was waited)."""
        seconds = max(self._next * random.uniform(1, 1.25), asked_for or 0)  # noqa: S311 - spreads load, hides nothing
        self._next = min(self._next * 2, self._longest)
        if time.monotonic() + seconds > self._ends_at:
            return False
        stop.wait(seconds)
        return True


def retry_after(header: str | None) -> float | None:
    """A Retry-After header (RFC 9110 §10.2.3), in seconds from now; None without a readable one."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
