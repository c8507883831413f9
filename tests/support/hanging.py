"""Fails a test that hangs when its guard is broken, instead of waiting with it for ever."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from tests.support.waiting import SECONDS


@pytest.fixture
def must_end() -> Iterator[None]:
    """Fail the test if it still runs after SECONDS, whatever its main thread waits for."""

    def fail(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"The test has hung for {SECONDS} s.")  # not an Exception, so the code under test does not handle it

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
