"""Leases under clocks that step, and under a database that is away."""

from __future__ import annotations

import logging
import sqlite3
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from builds import lifecycle
from builds.models import Build, State
from builds.queue import workers
from builds.service.reconciler import LeaseWatch
from tests.support import made

pytestmark = pytest.mark.django_db

LEASE = 60


@pytest.fixture(autouse=True)
def lease(settings: Any) -> None:
    settings.LEASE_SECONDS = LEASE


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def look(watch: LeaseWatch, clock: Clock, build: Build, seconds: float) -> str:
    """The state of the build after another look, this much later."""
    clock.now += seconds
    watch.noticing_outages(watch.lose_lapsed)()
    return str(Build.objects.get(pk=build.pk).state)


def expire(build: Build, seconds: float = 3600) -> None:
    """As if this machine's clock had stepped forward."""
    Build.objects.filter(pk=build.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=seconds))


def test_a_step_forward_loses_no_build_that_is_renewed(clock: Clock) -> None:
    build, watch = made.running(), LeaseWatch(clock)
    for seconds in range(20):
        expire(build, 3600 - seconds)  # renewed by a worker whose clock is an hour behind
        assert look(watch, clock, build, LEASE / 4) == State.RUNNING


def test_a_worker_that_is_gone_is_noticed_when_its_lease_expires(clock: Clock) -> None:
    build, watch = made.running(), LeaseWatch(clock)
    assert look(watch, clock, build, 0) == State.RUNNING
    assert look(watch, clock, build, LEASE) == State.RUNNING
    expire(build, 1)
    assert look(watch, clock, build, 1) == State.RUNNING
    assert look(watch, clock, build, LEASE / 2) == State.FAILED


def test_after_a_step_back_a_lost_build_is_noticed_too(clock: Clock) -> None:
    build, watch = made.running(), LeaseWatch(clock)
    expire(build, -24 * 3600)
    assert look(watch, clock, build, 0) == State.RUNNING
    assert look(watch, clock, build, LEASE * 1.5) == State.FAILED


@pytest.mark.parametrize(
    ("later", "renewed", "excused"), [(LEASE / 2, False, True), (LEASE * 3, False, True), (LEASE, True, False)]
)
@pytest.mark.parametrize("met_by", ["lose_lapsed", "another repair"])
def test_losses_after_the_database_was_away_are_not_the_builds_fault(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, later: float, renewed: bool, excused: bool, met_by: str
) -> None:
    build, watch = made.running(), LeaseWatch(clock)

    def fail(*arguments: Any, **named: Any) -> Any:
        raise OperationalError("away")

    expire(build)
    assert look(watch, clock, build, 0) == State.RUNNING
    with monkeypatch.context() as patched, pytest.raises(OperationalError):
        patched.setattr(Build.objects, "filter", fail)
        if met_by == "lose_lapsed":
            look(watch, clock, build, LEASE)
        clock.now += LEASE
        watch.noticing_outages(fail)()
    Build.objects.filter(pk=build.pk).update(automatic=True)
    given: list[bool] = []
    monkeypatch.setattr(lifecycle, "lose", lambda build, *, was_watched, excused: given.append(excused))
    assert look(watch, clock, build, 0) == State.RUNNING, "a worker gets time to renew its lease"
    if renewed:
        expire(build, 1)
        assert look(watch, clock, build, 0) == State.RUNNING
    assert look(watch, clock, build, later) == State.RUNNING
    assert given == [excused]


@pytest.mark.django_db(transaction=True)
def test_while_the_database_is_locked_no_build_is_lost(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    if connection.vendor != "sqlite":
        pytest.skip("needs SQLite")
    build, watch = made.running(), LeaseWatch(clock)
    expire(build)
    assert look(watch, clock, build, 0) == State.RUNNING
    workers.shorten_lock_wait()
    holder = sqlite3.connect(connection.settings_dict["NAME"])
    holder.execute("BEGIN IMMEDIATE")
    assert look(watch, clock, build, LEASE) == State.RUNNING
    assert look(watch, clock, build, 2) == State.RUNNING
    holder.close()
    assert look(watch, clock, build, 0) == State.RUNNING, "a worker gets time to renew its lease"
    assert look(watch, clock, build, LEASE / 2) == State.FAILED
    # One round without a lock is usual beside many workers, two in a row are not.
    assert [record.levelname for record in caplog.records if "no lease was checked" in record.message] == ["INFO", "WARNING"]
