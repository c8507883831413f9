"""What crashes and restarts leave behind is mended: once, and nothing that is in order is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus

from builds import isolation, lifecycle, pipeline, process_tree, queue, queue_control, reconciler
from builds.models import Build, State, Submission
from tests.rows import claim, lapse, submit

pytestmark = pytest.mark.django_db(transaction=True)


def queued(*numbers: int) -> list[str]:
    """Submissions that were accepted a while ago; gives their builds' ids."""
    ids = [str(submit(f"job-{number}").newest_build().pk) for number in numbers]
    Build.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    return ids


def in_queue() -> list[str]:
    return queue.builds().get_job_ids()


# --- lapsed leases


def test_a_lost_build_is_queued_once_more_and_a_second_loss_is_final() -> None:
    submission = submit()
    for _ in range(2):
        lapse(claim(submission))
        reconciler.lose_lapsed()
        reconciler.lose_lapsed()
    builds = submission.builds.order_by("number")
    assert [(build.state, build.cause_code) for build in builds] == [("failed", "worker-lost")] * 2
    assert [update.status for update in submission.status_updates.all()] == ["IN_PROGRESS", "IN_PROGRESS", "FAILED"]


def test_a_living_lease_is_left_alone() -> None:
    build = claim(submit())
    reconciler.lose_lapsed()
    build.refresh_from_db()
    assert build.state == State.RUNNING


def test_reconcilers_at_once_lose_a_build_once() -> None:
    submission = submit()
    lapse(claim(submission))

    def lose() -> None:
        reconciler.lose_lapsed()
        connection.close()

    threads = [threading.Thread(target=lose) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert submission.builds.count() == 2
    assert submission.events.filter(kind="failed").count() == 1


# --- what the queue store has forgotten


def test_what_the_queue_store_forgot_is_queued_again(store: Redis) -> None:
    ids = queued(1, 2, 3)
    assert sorted(in_queue()) == sorted(ids)
    store.flushall()
    reconciler.enqueue_forgotten()
    assert sorted(in_queue()) == sorted(ids)


@pytest.mark.parametrize("lost", ["list", "hash", "both"])
def test_part_of_the_queue_stores_data_may_be_lost(store: Redis, lost: str) -> None:
    [build_id] = queued(1)
    if lost in ("list", "both"):
        store.delete(queue.builds().key)
    if lost in ("hash", "both"):
        store.delete(Job.key_for(build_id))
    reconciler.enqueue_forgotten()
    worker_takes = Queue.dequeue_any([queue.builds()], timeout=None, connection=store)
    if lost == "hash":  # the list's entry without a job: RQ drops it, and the next round finds it missing
        assert worker_takes is None
        reconciler.enqueue_forgotten()
        worker_takes = Queue.dequeue_any([queue.builds()], timeout=None, connection=store)
    assert worker_takes is not None
    assert worker_takes[0].id == build_id


def test_they_are_queued_in_the_order_in_which_they_came(store: Redis) -> None:
    ids = queued(1, 2, 3)
    for age, build_id in enumerate(ids):
        Build.objects.filter(pk=build_id).update(created_at=timezone.now() - timedelta(hours=1 + age))
    store.flushall()
    reconciler.enqueue_forgotten()
    assert in_queue() == list(reversed(ids))


def test_a_paused_queue_is_told_nothing_until_it_is_resumed(store: Redis) -> None:
    ids = queued(1, 2)
    queue_control.pause(actor="ada", reason="x")
    store.flushall()
    reconciler.enqueue_forgotten()
    assert in_queue() == []
    queue_control.resume(actor="ada")
    queue._enqueuer().submit(lambda: None).result(20)
    assert sorted(in_queue()) == sorted(ids)
    queue_control.pause(actor="ada", reason="x")
    queue_control.resume(actor="ada")
    queue._enqueuer().submit(lambda: None).result(20)
    assert sorted(in_queue()) == sorted(ids), "nothing is queued twice"


def test_nothing_is_queued_twice(store: Redis) -> None:
    queued(1, 2)
    for _ in range(3):
        reconciler.enqueue_forgotten()
    assert len(in_queue()) == 2


def test_a_job_on_its_way_to_a_worker_is_not_queued_again(store: Redis) -> None:
    [build_id] = queued(1)
    store.lmove(queue.builds().key, queue.builds().intermediate_queue_key, "LEFT", "RIGHT")
    reconciler.enqueue_forgotten()
    assert in_queue() == []
    assert store.lrange(queue.builds().intermediate_queue_key, 0, -1) == [build_id.encode()]


@pytest.mark.parametrize(("status", "again"), [(JobStatus.STARTED, False), (JobStatus.FAILED, True), (JobStatus.FINISHED, True)])
def test_only_a_job_that_was_started_is_still_known(store: Redis, status: JobStatus, again: bool) -> None:
    [build_id] = queued(1)
    store.delete(queue.builds().key)
    Job.fetch(build_id, connection=store).set_status(status)
    reconciler.enqueue_forgotten()
    assert in_queue() == ([build_id] if again else [])


def test_a_new_row_is_given_time_to_arrive(store: Redis) -> None:
    submit()
    store.flushall()
    reconciler.enqueue_forgotten()
    assert in_queue() == []


def test_what_must_wait_is_queued_when_its_time_has_come(store: Redis) -> None:
    [build_id] = queued(1)
    store.flushall()
    Build.objects.update(not_before=timezone.now() + timedelta(minutes=1))
    reconciler.enqueue_forgotten()
    assert in_queue() == []
    Build.objects.update(not_before=timezone.now() - timedelta(seconds=1))
    reconciler.enqueue_forgotten()
    assert in_queue() == [build_id]


def test_jobs_whose_build_does_not_wait_any_more_are_forgotten(store: Redis) -> None:
    ids = queued(1, 2, 3)
    lifecycle.request_cancel(Build.objects.get(pk=ids[0]), actor="ed", reason="x")
    claim(Submission.objects.get(job_id="job-2"))
    queue.enqueue(strange := str(uuid.uuid4()))
    store.rpush(queue.builds().key, "no-job-at-all")
    reconciler.forget_jobs()
    assert in_queue() == ids[1:], "a running one may be on its way to its worker"
    assert not Job.exists(strange, connection=store)
    assert not Job.exists(ids[0], connection=store)


def test_the_queue_store_away_keeps_no_other_mend_from_its_work(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    queued(1)
    lapse(claim(submit("job-2")))
    one_round()
    assert "enqueue_forgotten" in caplog.text
    assert Submission.objects.get(job_id="job-2").builds.count() == 2


@pytest.mark.parametrize(
    "error", [OperationalError("away"), process_tree.ProcessesLeft(), ZeroDivisionError(), psutil.AccessDenied()]
)
def test_a_mend_that_fails_keeps_no_other_from_its_work(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(reconciler, "lose_lapsed", fail)
    folder = old_folder("workspaces", str(claim(submit()).pk))
    lifecycle.succeed(Build.objects.get())
    one_round()
    assert not folder.exists()


def one_round() -> None:
    stop = threading.Event()
    stop.wait = lambda timeout=None: stop.set() or True  # type: ignore[method-assign,func-returns-value]
    reconciler.run(stop)


# --- strays


@pytest.fixture
def stray(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Starts a process that carries a build's marker and ignores SIGTERM."""
    started: list[subprocess.Popen[bytes]] = []

    def start(build_id: object) -> subprocess.Popen[bytes]:
        program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(300)"
        child = subprocess.Popen(
            [sys.executable, "-c", program],
            env={process_tree.MARKER: str(build_id)},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(child)
        assert child.stdout
        child.stdout.readline()
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


def test_processes_of_an_ended_build_are_ended(stray: Any) -> None:
    build = claim(submit())
    child = stray(build.pk)
    reconciler.end_strays()
    assert child.poll() is None, "its build runs"
    lifecycle.succeed(build)
    reconciler.end_strays()
    assert child.wait(20) == -9


@pytest.mark.skipif(not isolation.groups(), reason=" ".join(isolation.groups().problems) or "none")
def test_control_groups_of_an_ended_build_are_removed_with_what_is_in_them(stray: Any) -> None:
    """Also what has thrown its marker away."""
    build = claim(submit())
    group = isolation.groups().make(str(build.pk), isolation.ceilings())
    assert group is not None
    child = stray("thrown away")
    group.take_in(child.pid)
    reconciler.remove_groups()
    assert child.poll() is None, "its build runs"
    lifecycle.succeed(build)
    reconciler.remove_groups()
    assert (child.wait(20), str(build.pk) in isolation.groups().strays()) == (-9, False)


def test_processes_of_another_jobsites_builds_are_left_alone(stray: Any) -> None:
    others = [stray(uuid.uuid4()), stray("terminal-jobsite-x")]
    reconciler.end_strays()
    assert [child.poll() for child in others] == [None, None]


def test_a_lost_build_is_cancelled_only_when_nothing_of_it_runs(stray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    build = claim(submit())
    child = stray(build.pk)
    lifecycle.request_cancel(build, actor="ed", reason="x")
    lapse(build)
    finish = lifecycle.finish_cancel
    ended: list[bool] = []

    def observed(build: Build) -> None:
        ended.append(not is_running(child.pid))
        finish(build)

    monkeypatch.setattr("builds.lifecycle.ending.finish_cancel", observed)
    reconciler.lose_lapsed()
    build.refresh_from_db()
    assert (build.state, ended) == (State.CANCELLED, [True])


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


# --- folders


def old_folder(kind: str, name: str, *, age: float = 3600) -> Path:
    folder = pipeline.workspace_of(name).parent.parent / kind / name
    (folder / "inside").mkdir(parents=True)
    then = time.time() - age
    os.utime(folder, (then, then))
    return folder


def test_workspaces_of_ended_builds_are_removed_and_no_others() -> None:
    running, ended = claim(submit("job-1")), claim(submit("job-2"))
    lifecycle.succeed(ended)
    kept = old_folder("workspaces", str(running.pk))
    young = old_folder("workspaces", str(uuid.uuid4()), age=0)
    strange = old_folder("workspaces", "not-a-build")
    gone = [old_folder("workspaces", str(ended.pk)), old_folder("workspaces", str(uuid.uuid4()))]
    reconciler.remove_workspaces()
    assert [folder.exists() for folder in (kept, young, strange, *gone)] == [True, True, True, False, False]
    for folder in (kept, young, strange):
        shutil.rmtree(folder)


def test_kept_exports_are_removed_after_their_time(settings: Any) -> None:
    settings.EXPORTS_KEPT_DAYS = 10
    ended = [claim(submit(f"job-{number}")) for number in (1, 2)]
    running = claim(submit("job-3"))
    for build in ended:
        lifecycle.succeed(build)
    day = 24 * 3600
    old, young = (old_folder("exports", str(build.pk), age=age * day) for build, age in zip(ended, (11, 9), strict=True))
    in_use = old_folder("exports", str(running.pk), age=11 * day)
    reconciler.remove_old_exports()
    assert [folder.exists() for folder in (old, young, in_use)] == [False, True, True]
    for folder in (young, in_use):
        shutil.rmtree(folder)
