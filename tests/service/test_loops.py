"""The loop that the outbox and the messenger share."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import OperationalError

from builds.service import loops
from builds.service.loops import Pauses, attempt, repeat


@pytest.mark.parametrize("error", [OperationalError("away"), OSError("no space"), ZeroDivisionError("a bug")])
@pytest.mark.django_db
def test_no_error_ends_a_loop(error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(loops, "ERROR_SECONDS", 0.001)
    stop, rounds = threading.Event(), []

    def step() -> None:
        rounds.append(1)
        if len(rounds) < 3:
            raise error
        stop.set()

    repeat(step, stop, 0.001)
    assert len(rounds) == 3
    assert [str(error) in caplog.text, "step" in caplog.text] == [True, True]


@pytest.mark.django_db
def test_only_a_bug_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    for error in (OperationalError("away"), ZeroDivisionError("a bug")):

        def step(error: Exception = error) -> None:
            raise error

        assert not attempt(step)
    assert [(record.levelname, bool(record.exc_info)) for record in caplog.records] == [("WARNING", False), ("ERROR", True)]


def test_the_loop_waits_after_an_error_however_short_its_period() -> None:
    waits: list[float | None] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            self.set()
            return True

    def fail() -> None:
        raise OSError

    for step, period in ((lambda: None, 0.2), (fail, 0.2), (fail, 60)):
        repeat(step, Stop(), period)
    assert waits == [0.2, loops.ERROR_SECONDS, 60]


def test_pauses_double_up_to_the_longest() -> None:
    pauses = Pauses(timedelta(seconds=10), timedelta(minutes=1))
    assert [pauses.after(tries).total_seconds() for tries in (1, 2, 3, 4, 100_000)] == [10, 20, 40, 60, 60]
