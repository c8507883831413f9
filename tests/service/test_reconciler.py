"""The reconciler repairs what crashes and restarts leave behind, once, and changes nothing else."""

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
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus

from builds import lifecycle
from builds.engine.process import tree
from builds.engine.process.tree import MARKER
from builds.errors import ProcessesLeft
from builds.lifecycle import pausing
from builds.models import Build, Mode, State, Submission
from builds.pipeline import isolation
from builds.queue import store as queue
from builds.record.workspaces import workspace_of
from builds.service import reconciler
from tests.support import made
from tests.support.kept import folder_of
from tests.support.rows import claim, lapse, submit

pytestmark = pytest.mark.django_db(transaction=True)


def queued(*numbers: int) -> list[str]:
    """Submissions that were accepted a while ago. Returns the ids of their builds."""
    ids = [str(submit(f"job-{number}").newest_build().pk) for number in numbers]
    Build.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    return ids


def in_queue() -> list[str]:
    return queue.build_queue().get_job_ids()


def test_a_round_with_nothing_to_repair_writes_nothing(store: Redis) -> None:
    """On SQLite, a statement that changes no row waits for the lock too, and gives up after a second."""
    queued(1)
    for repair in reconciler.repairs():
        with CaptureQueriesContext(connection) as asked:
            repair()
        words = [query["sql"].split()[0] for query in asked.captured_queries]
        assert not {"INSERT", "UPDATE", "DELETE"} & {*words}, repair.__name__


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


def test_a_valid_lease_is_left_alone() -> None:
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


# --- builds that the queue store has forgotten


def test_builds_that_the_queue_store_forgot_are_queued_again(store: Redis) -> None:
    ids = queued(1, 2, 3)
    assert sorted(in_queue()) == sorted(ids)
    store.flushall()
    reconciler.enqueue_forgotten()
    assert sorted(in_queue()) == sorted(ids)


@pytest.mark.parametrize("lost", ["list", "hash", "both"])
def test_part_of_the_queue_stores_data_may_be_lost(store: Redis, lost: str) -> None:
    [build_id] = queued(1)
    if lost in ("list", "both"):
        store.delete(queue.build_queue().key)
    if lost in ("hash", "both"):
        store.delete(Job.key_for(build_id))
    reconciler.enqueue_forgotten()
    worker_takes = Queue.dequeue_any([queue.build_queue()], timeout=None, connection=store)
    if lost == "hash":  # a list entry without a job: RQ drops it, and the next round notices that it is missing
        assert worker_takes is None
        reconciler.enqueue_forgotten()
        worker_takes = Queue.dequeue_any([queue.build_queue()], timeout=None, connection=store)
    assert worker_takes is not None
    assert worker_takes[0].id == build_id


def test_builds_are_queued_again_in_their_order(store: Redis) -> None:
    ids = queued(1, 2, 3)
    for age, build_id in enumerate(ids):
        Build.objects.filter(pk=build_id).update(created_at=timezone.now() - timedelta(hours=1 + age))
    store.flushall()
    reconciler.enqueue_forgotten()
    assert in_queue() == list(reversed(ids))


def test_nothing_is_enqueued_while_the_queue_is_paused(store: Redis) -> None:
    ids = queued(1, 2)
    pausing.pause(actor="ada", reason="x")
    store.flushall()
    reconciler.enqueue_forgotten()
    assert in_queue() == []
    pausing.resume(actor="ada")
    queue._enqueuer().submit(lambda: None).result(20)
    assert sorted(in_queue()) == sorted(ids)
    pausing.pause(actor="ada", reason="x")
    pausing.resume(actor="ada")
    queue._enqueuer().submit(lambda: None).result(20)
    assert sorted(in_queue()) == sorted(ids), "nothing is queued twice"


def test_nothing_is_queued_twice(store: Redis) -> None:
    queued(1, 2)
    for _ in range(3):
        reconciler.enqueue_forgotten()
    assert len(in_queue()) == 2


def test_a_job_on_its_way_to_a_worker_is_not_queued_again(store: Redis) -> None:
    [build_id] = queued(1)
    store.lmove(queue.build_queue().key, queue.build_queue().intermediate_queue_key, "LEFT", "RIGHT")
    reconciler.enqueue_forgotten()
    assert in_queue() == []
    assert store.lrange(queue.build_queue().intermediate_queue_key, 0, -1) == [build_id.encode()]


@pytest.mark.parametrize(("status", "again"), [(JobStatus.STARTED, False), (JobStatus.FAILED, True), (JobStatus.FINISHED, True)])
def test_only_a_job_that_was_started_is_still_known(store: Redis, status: JobStatus, again: bool) -> None:
    [build_id] = queued(1)
    store.delete(queue.build_queue().key)
    Job.fetch(build_id, connection=store).set_status(status)
    reconciler.enqueue_forgotten()
    assert in_queue() == ([build_id] if again else [])


def test_a_new_row_gets_time_to_arrive(store: Redis) -> None:
    submit()
    store.flushall()
    reconciler.enqueue_forgotten()
    assert in_queue() == []


def test_a_delayed_build_is_queued_when_its_time_has_come(store: Redis) -> None:
    [build_id] = queued(1)
    store.flushall()
    Build.objects.update(not_before=timezone.now() + timedelta(minutes=1))
    reconciler.enqueue_forgotten()
    assert in_queue() == []
    Build.objects.update(not_before=timezone.now() - timedelta(seconds=1))
    reconciler.enqueue_forgotten()
    assert in_queue() == [build_id]


def test_jobs_whose_build_is_not_queued_are_deleted(store: Redis) -> None:
    ids = queued(1, 2, 3)
    lifecycle.request_cancel(Build.objects.get(pk=ids[0]), actor="ed", reason="x")
    claim(Submission.objects.get(job_id="job-2"))
    queue.enqueue(strange := str(uuid.uuid4()))
    store.rpush(queue.build_queue().key, "no-job-at-all")
    reconciler.forget_jobs()
    assert in_queue() == ids[1:], "a running build may be on its way to its worker"
    assert not Job.exists(strange, connection=store)
    assert not Job.exists(ids[0], connection=store)


def test_a_queue_store_outage_does_not_stop_the_other_repairs(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    queued(1)
    lapse(claim(submit("job-2")))
    settings.LEASE_SECONDS = 0  # so that one look is enough to see that a lease is not renewed
    one_round()
    assert "enqueue_forgotten" in caplog.text
    assert Submission.objects.get(job_id="job-2").builds.count() == 2


@pytest.mark.parametrize("error", [OperationalError("away"), ProcessesLeft(), ZeroDivisionError(), psutil.AccessDenied()])
def test_a_repair_that_fails_does_not_stop_the_others(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
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
    """Starts a process that has a build's marker and ignores SIGTERM."""
    started: list[subprocess.Popen[bytes]] = []

    def start(build_id: object) -> subprocess.Popen[bytes]:
        program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(300)"
        child = subprocess.Popen(
            [sys.executable, "-c", program],
            env={MARKER: str(build_id)},
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
def test_control_groups_of_an_ended_build_are_removed_with_their_processes(stray: Any) -> None:
    """Including a process without the build's marker."""
    build = claim(submit())
    group = isolation.groups().make(str(build.pk), isolation.ceilings())
    assert group is not None
    child = stray("thrown away")
    group.add(child.pid)
    reconciler.remove_groups()
    assert child.poll() is None, "its build runs"
    lifecycle.succeed(build)
    reconciler.remove_groups()
    assert (child.wait(20), str(build.pk) in isolation.groups().strays()) == (-9, False)


def test_processes_of_another_jobsites_builds_are_left_alone(stray: Any) -> None:
    others = [stray(uuid.uuid4()), stray("terminal-jobsite-x")]
    reconciler.end_strays()
    assert [child.poll() for child in others] == [None, None]


def test_a_lost_build_is_cancelled_only_when_none_of_its_processes_runs(stray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_worker_that_renews_its_lease_at_the_last_moment_keeps_its_commands(
    stray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that is killed by us looks like one that failed, and the manuscript would be blamed."""
    build = claim(submit())
    child = stray(build.pk)
    lapse(build)
    lose = lifecycle.lose

    def renewed_before(build: Build, **how: bool) -> None:
        assert lifecycle.renew(build) == ""
        lose(build, **how)

    monkeypatch.setattr(lifecycle, "lose", renewed_before)
    reconciler.lose_lapsed()
    build.refresh_from_db()
    assert (build.state, child.poll()) == (State.RUNNING, None)


def test_a_lease_cannot_be_renewed_once_a_process_of_its_build_is_killed(stray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    build = claim(submit())
    child = stray(build.pk)
    lapse(build)
    end_tree, renewals = tree.end_tree, []

    def renewed_meanwhile(marker: str, **how: float) -> int:
        renewals.append(lifecycle.renew(build))
        return end_tree(marker, **how)

    monkeypatch.setattr(tree, "end_tree", renewed_meanwhile)
    reconciler.lose_lapsed()
    build.refresh_from_db()
    assert renewals == ["The lease of this build was lost."]
    assert (build.state, build.cause_code, child.wait(20)) == (State.FAILED, "worker-lost", -9)


def test_a_cancel_that_comes_while_a_build_is_lost_waits_for_its_processes(stray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    build = claim(submit())
    child = stray(build.pk)
    lapse(build)
    lose = lifecycle.lose

    def cancelled_before(read: Build, **how: bool) -> None:
        lifecycle.request_cancel(Build.objects.get(pk=read.pk), actor="ed", reason="x")
        lose(read, **how)

    with monkeypatch.context() as patched:
        patched.setattr(lifecycle, "lose", cancelled_before)
        reconciler.lose_lapsed()
    build.refresh_from_db()
    assert (build.state, child.poll()) == (State.RUNNING, None), "cancelled is shown only when nothing of it runs"
    reconciler.lose_lapsed()
    build.refresh_from_db()
    assert (build.state, child.wait(20)) == (State.CANCELLED, -9)


def test_processes_that_a_crash_spared_are_ended_in_the_next_round(stray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    build = claim(submit())
    child = stray(build.pk)
    lapse(build)

    def crash(marker: str, **how: float) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(tree, "end_tree", crash)
        reconciler.lose_lapsed()
    assert child.poll() is None
    one_round()
    assert child.wait(20) == -9


def test_processes_that_cannot_be_ended_do_not_keep_the_other_lost_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    builds = [claim(submit(f"job-{number}")) for number in (1, 2, 3)]
    lifecycle.request_cancel(builds[0], actor="ed", reason="x")
    for build in builds:
        lapse(build)

    def fail(marker: str, **how: float) -> int:
        raise ProcessesLeft("They are stuck.")

    monkeypatch.setattr(tree, "end_tree", fail)
    reconciler.lose_lapsed()
    states = [Build.objects.get(pk=build.pk).state for build in builds]
    assert states == [State.RUNNING, State.FAILED, State.FAILED]


def test_processes_that_cannot_be_ended_do_not_keep_those_of_other_ended_builds(
    stray: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    builds = [claim(submit(f"job-{number}")) for number in (1, 2)]
    children = {str(build.pk): stray(build.pk) for build in builds}
    for build in builds:
        lifecycle.succeed(build)
    stuck, other = [marker for marker in tree.strays() if marker in children]
    end_tree = tree.end_tree

    def fail(marker: str, **how: float) -> int:
        if marker == stuck:
            raise ProcessesLeft("They are stuck.")
        return end_tree(marker, **how)

    monkeypatch.setattr(tree, "end_tree", fail)
    reconciler.end_strays()
    assert children[other].wait(20) == -9
    assert [(record.message, record.__dict__["build"]) for record in caplog.records if record.levelname == "ERROR"] == [
        ("They are stuck.", stuck)
    ]


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


# --- folders


def old_folder(kind: str, name: str, *, age: float = 3600) -> Path:
    folder = workspace_of(name).parent.parent / kind / name
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


def test_old_kept_exports_are_removed(settings: Any) -> None:
    settings.EXPORTS_KEPT_DAYS = 10
    ended = [claim(submit(f"job-{number}")) for number in (1, 2)]
    running = claim(submit("job-3"))
    for build in ended:
        lifecycle.succeed(build)
    for build, days in zip(ended, (11, 9), strict=True):
        Build.objects.filter(pk=build.pk).update(finished_at=timezone.now() - timedelta(days=days))
    folders = [folder_of(build) for build in (*ended, running)]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "1-pdf.pdf").write_text("")
    now = [0.0]
    sweep = reconciler.ExportsSweep(lambda: now[0])
    sweep.remove_old_exports()
    assert [folder.exists() for folder in folders] == [False, True, True]
    Build.objects.filter(pk=ended[1].pk).update(finished_at=timezone.now() - timedelta(days=11))
    sweep.remove_old_exports()
    assert folders[1].exists(), "not before the hour is over"
    now[0] += 3600
    sweep.remove_old_exports()
    assert not folders[1].exists()
    shutil.rmtree(folders[2])


def test_the_oldest_exports_are_removed_where_all_are_too_large(settings: Any) -> None:
    settings.EXPORTS_KEPT_MAX_BYTES = 25
    ended = [claim(submit(f"job-{number}")) for number in range(4)]
    for days, build in enumerate(ended):
        build.artifacts.create(role="pdf", name="a.pdf", file="1-pdf.pdf", size=10, sha256="", position=1)
        lifecycle.succeed(build)
        Build.objects.filter(pk=build.pk).update(finished_at=timezone.now() - timedelta(days=days))
        folder_of(build).mkdir(parents=True)
        (folder_of(build) / "1-pdf.pdf").write_text("x" * 10)
    reconciler.ExportsSweep().remove_old_exports()
    assert [folder_of(build).exists() for build in ended] == [True, True, False, False]
    for build in ended[:2]:
        shutil.rmtree(folder_of(build))


def test_what_a_worker_of_an_older_release_fails_is_repeated_at_its_submission() -> None:
    """It writes the state and the cause of its build. What the submission had of an earlier failure stays."""
    settled, older, stale, retried = (made.failed(name) for name in ("1", "2", "3", "4"))
    Submission.objects.filter(pk=older.submission_id).update(cause_code="", fingerprint="")
    Submission.objects.filter(pk=stale.submission_id).update(cause_code="worker-lost", fingerprint="0" * 16)
    lifecycle.retry(retried.submission, Mode.LATEST, actor="ed")
    watch = reconciler.OlderRelease()
    watch.complete()
    watch.complete()  # not again within the minute
    kept = dict(Submission.objects.values_list("pk", "cause_code"))
    assert [kept[build.submission_id] for build in (settled, older, stale, retried)] == ["build-failed"] * 3 + [""]
    stale.refresh_from_db()
    assert Submission.objects.get(pk=stale.submission_id).fingerprint == stale.fingerprint != ""


def test_no_older_failure_is_read_for_that() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("the plan of SQLite")
    with CaptureQueriesContext(connection) as captured:
        lifecycle.repeat_causes(timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {captured.captured_queries[0]['sql']}")
        plan = [step[3] for step in cursor.fetchall()]
    assert "SEARCH builds_build USING INDEX build_ended (finished_at>?)" in plan, plan
