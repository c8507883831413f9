"""What a worker does from outside about its build, without the processes. ``tests/service/test_hung.py`` has them."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds import lifecycle
from builds.engine.process import tree
from builds.models import Build, State
from builds.pipeline import supervision
from builds.pipeline.supervision import CLEAN_UP_SECONDS, GRACE_SECONDS, START_SECONDS, Supervision
from builds.queue import workers
from tests.support.rows import claim, lapse, submit

pytestmark = pytest.mark.django_db(transaction=True)


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(supervision, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def after(clock: Clock, watched: Supervision, seconds: float) -> bool:
    clock.now += seconds
    return watched.must_kill()


@pytest.mark.parametrize("job", ["queued", "no build"])
def test_a_work_horse_that_does_not_claim_its_build_is_killed(clock: Clock, job: str) -> None:
    watched = Supervision(str(submit().newest_build().pk) if job == "queued" else job, worker="worker")
    assert not watched.must_kill()
    assert not after(clock, watched, START_SECONDS - 1)
    assert after(clock, watched, 2)


def test_a_work_horse_gets_time_to_clean_up_after_the_end(clock: Clock) -> None:
    build = claim(submit())
    watched = Supervision(str(build.pk), worker="worker")
    lifecycle.succeed(build)
    assert not watched.must_kill()
    assert not after(clock, watched, CLEAN_UP_SECONDS - 1)
    assert after(clock, watched, 2)


def test_while_the_database_is_away_no_work_horse_is_killed(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot write the end of its build either. Its time to do so begins again when the database is back."""
    build = claim(submit())
    lifecycle.request_cancel(build, actor="ada", reason="x")
    watched = Supervision(str(build.pk), worker="worker")
    assert not watched.must_kill()

    def fail(*arguments: Any) -> Any:
        raise OperationalError("away")

    with monkeypatch.context() as patched:
        patched.setattr(watched, "_find_build", fail)
        assert not after(clock, watched, GRACE_SECONDS + 1)
    assert not watched.must_kill()
    assert not after(clock, watched, GRACE_SECONDS - 1)
    assert after(clock, watched, 2)


def test_a_work_horse_that_ended_for_no_known_reason_is_a_loss() -> None:
    """The reconciler finds it by its lease. It is not handed over: a build that kills its work-horse would never end."""
    build = claim(submit())
    Supervision(str(build.pk), worker="worker").write_end(worker_stops=False)
    build.refresh_from_db()
    assert build.state == State.RUNNING


@pytest.mark.parametrize(("has_ended", "queries"), [(True, 0), (False, 1)])
def test_the_database_is_not_asked_again_after_a_build_that_had_ended(has_ended: bool, queries: int) -> None:
    build = claim(submit())
    if has_ended:
        lifecycle.succeed(build)
    watched = Supervision(str(build.pk), worker="worker")
    watched.log_exit(7, 0)
    with CaptureQueriesContext(connection) as seen:
        watched.write_end(worker_stops=False)
    assert len([query for query in seen if "builds_build" in query["sql"]]) == queries


def test_the_end_is_written_with_another_connection_than_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a build leaves behind is ended in between, which takes time: the database may restart meanwhile."""
    build = claim(submit())
    lifecycle.request_cancel(build, actor="ada", reason="x")
    watched, shorten, broken = Supervision(str(build.pk), worker="worker"), workers.shorten_lock_wait, [True]

    def fail_if_broken() -> None:
        if broken:
            raise InterfaceError("the connection is closed")
        shorten()

    watched.log_exit(7, 0)
    monkeypatch.setattr(workers, "shorten_lock_wait", fail_if_broken)
    monkeypatch.setattr(connections, "close_all", broken.clear)
    watched.write_end(worker_stops=False)
    build.refresh_from_db()
    assert build.state == State.CANCELLED


def test_another_workers_build_is_left_alone() -> None:
    build = claim(submit())
    Supervision(str(build.pk), worker="another").write_end(worker_stops=True)
    build.refresh_from_db()
    assert build.state == State.RUNNING


def test_the_lease_is_renewed_before_the_processes_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ending them may take longer than the lease, and the build must not be lost meanwhile."""
    build = claim(submit())
    lapse(build)
    valid: list[bool] = []

    def look(marker: str, *, grace_seconds: float) -> int:
        valid.append(Build.objects.filter(pk=build.pk, lease_expires_at__gt=timezone.now()).exists())
        return 0

    monkeypatch.setattr(tree, "end_tree", look)
    Supervision(str(build.pk), worker="worker").write_end(worker_stops=True)
    build.refresh_from_db()
    assert (valid, build.cause_code) == ([True], "worker-stopped")


def test_the_end_is_written_after_every_process_with_the_builds_marker_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    build = claim(submit())
    lifecycle.request_cancel(build, actor="ada", reason="x")
    left = subprocess.Popen(["sleep", "600"], env={tree.MARKER: str(build.pk)}, start_new_session=True)
    try:
        Supervision(str(build.pk), worker="worker").write_end(worker_stops=False)
        assert left.wait(20) == -15
    finally:
        left.kill()
    build.refresh_from_db()
    assert build.state == State.CANCELLED
