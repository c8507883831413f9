"""Blocking calls that a stop can interrupt, and pauses between tries."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from builds.lib.stop import Stop

T = TypeVar("T")

TICK_SECONDS = 0.25
# Another service that asks to wait for longer is not believed.
MAX_ASKED_SECONDS = 24 * 3600.0
NUMBER = re.compile(r"[0-9]{1,18}")


def until_stopped(stop: Stop, work: Callable[[], T], *, tick: Callable[[], None] = lambda: None) -> T:
    """Call ``work`` in a new thread and return its result. Abandons it and raises when ``stop`` is set.

    ``tick`` is called in the caller's thread several times a second until then.
    """
    future: Future[T] = Future()
    threading.Thread(target=_settle, args=(future, work), daemon=True).start()
    while True:
        try:
            return future.result(timeout=TICK_SECONDS)
        except NotYet:
            if future.done():  # work itself raised TimeoutError
                return future.result()
            stop.check()
            tick()


def _settle(future: Future[T], work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


class Backoff:
    """Pauses between tries: 0.5 s, 1 s, 2 s … 30 s, each up to a quarter longer, for at most ``patience_seconds`` in total."""

    def __init__(self, patience_seconds: float, *, first: float = 0.5, max_pause: float = 30.0) -> None:
        self._ends_at = time.monotonic() + patience_seconds
        self._next, self._max_pause = first, max_pause

    def pause(self, stop: Stop, *, asked_for: float | None = None) -> bool:
        """Wait before the next try, at least ``asked_for`` seconds. Returns False without waiting if no time is left for it."""
        seconds = max(self._next * random.uniform(1, 1.25), asked_for or 0)  # noqa: S311 - spreads load, hides nothing
        self._next = min(self._next * 2, self._max_pause)
        if time.monotonic() + seconds > self._ends_at:
            return False
        stop.wait(seconds)
        return True


def retry_after(header: str | None) -> float | None:
    """The value of a Retry-After header (RFC 9110 §10.2.3) in seconds from now; None if it is missing, invalid or over a day."""
    if not header:
        return None
    if NUMBER.fullmatch(header.strip()):
        return _within_a_day(float(header))
    try:
        at = parsedate_to_datetime(header)
        return _within_a_day((at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def limit_reset(header: str | None) -> float | None:
    """The value of an X-RateLimit-Reset header (seconds since 1970) in seconds from now; None as for :func:`retry_after`."""
    if not header or not NUMBER.fullmatch(header.strip()):
        return None
    return _within_a_day(float(header) - time.time())


def _within_a_day(seconds: float) -> float | None:
    return max(0.0, seconds) if seconds <= MAX_ASKED_SECONDS else None
