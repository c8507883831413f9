"""One build from claim to final state, with the real stages between the two stand-ins, without a worker."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connection

from builds import isolation, lease, lifecycle, logs, patience, pipeline, storage, tasks
from builds.models import Build, Mode, State, Submission
from builds.outbox_models import StatusUpdate
from builds.stages import Context
from builds.stages.deliver import deliver
from tests import quick
from tests.in_process import STAGES, Bench, check_closed, during, last_line, opened, stages, statuses
from tests.rows import lapse, submit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bench(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with opened(settings, monkeypatch) as bench:
        yield bench


def test_success(bench: Bench) -> None:
    submission = bench.submission()
    build = bench.run(submission)
    check_closed(build)
    assert build.state == State.SUCCEEDED
    assert stages(build) == [(name, "succeeded") for name in STAGES]
    assert len(build.commit) == 40
    assert [artifact.path.is_file() for artifact in build.artifacts.all()] == [True, True]
    [delivery] = bench.desci.deliveries["job-1"]
    assert delivery.parts[-1].filename == "index.json"
    assert statuses(submission) == ["COMPLETED"]


@pytest.mark.parametrize(
    ("before", "fault", "code", "stage"),
    [
        ("exit 3", "manuscript", "build-failed", "build"),
        ("trap 'rm exports/article.meca.zip' EXIT", "manuscript", "export-not-made", "collect"),
        ("echo broken > ready/article.zip", "manuscript", "export-broken", "collect"),
        ("echo '[]' > ready/index.json", "manuscript", "export-broken", "collect"),
    ],
)
def test_a_failure_of_the_manuscript(bench: Bench, before: str, fault: str, code: str, stage: str) -> None:
    submission = bench.submission(before)
    build = bench.run(submission)
    check_closed(build)
    assert (build.state, build.fault, build.cause_code) == (State.FAILED, fault, code)
    assert stages(build)[-1] == (stage, "failed")
    assert build.cause in last_line(build)
    assert statuses(submission) == ["FAILED"]
    assert submission.builds.count() == 1, "an author's failure is not retried by itself"
    assert not bench.desci.deliveries["job-1"]


def test_an_export_that_is_a_link_is_kept_as_the_file_that_it_leads_to(bench: Bench) -> None:
    """Moved as a link to where exports are kept, this one would lead to the service's database."""
    bench.submission("mkdir -p exports/a; echo '= Text' > jobsite.sqlite3; ln -s ../../jobsite.sqlite3 exports/a/b.typ")
    submission = submit("job-2", exports=[{"format": "typst", "output": "exports/a/b.typ"}, *quick.EXPORTS])
    build = bench.run(submission)
    assert build.state == State.SUCCEEDED
    kept = build.artifacts.get(role="typst").path
    assert (kept.is_symlink(), kept.read_text()) == (False, "= Text\n")


def test_a_kill_is_taken_for_lack_of_memory_only_where_nothing_tells_better(bench: Bench) -> None:
    build = bench.run(bench.submission("kill -9 $$"))
    assert (build.fault, build.cause_code) == ("manuscript", "build-failed" if isolation.groups() else "limit-hit")


def test_limits_are_told_by_name(bench: Bench, settings: Any) -> None:
    settings.BUILD_TIMEOUT, settings.LOG_MAX_BYTES = 1, 10_000
    assert bench.run(bench.submission("sleep 60")).cause_code == "build-timeout"
    lifecycle.retry(Submission.objects.get(), Mode.LATEST, actor="ed")
    settings.BUILD_TIMEOUT = 60
    bench.archive.add("a", "b", quick.repository("yes | head -c 100000"))
    assert bench.run(Submission.objects.get()).cause_code == "limit-hit"


def test_what_is_cut_of_the_output_is_said_where_it_is_cut(bench: Bench, settings: Any) -> None:
    settings.LOG_MAX_BYTES = 10_000
    build = bench.run(bench.submission("yes | head -c 1000000"))
    *_, cut, _, last = (line.text for line in logs.read(build))
    assert cut == "Cut here: the build had written more than the 10 kB of output that it may. What came after is not kept."
    assert last == f"{build.cause} {build.advice}"
    assert "wrote more than the 10 kB of output that it may" in last


@pytest.mark.parametrize(
    ("name", "fault", "code"),
    [
        ("fetch", "outside", "fetch-timeout"),
        ("unpack", "service", "stage-timeout"),
        ("collect", "service", "stage-timeout"),
        ("deliver", "outside", "delivery-timeout"),
    ],
)
def test_each_stage_has_a_time_limit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, settings: Any, name: str, fault: str, code: str
) -> None:
    settings.STAGE_TIMEOUT, settings.AUTOMATIC_RETRIES = 2, 0
    run = bench.begun(bench.submission())
    during(monkeypatch, name, lambda: run.context.stop.wait(60))
    pipeline.execute(run)
    run.build.refresh_from_db()
    check_closed(run.build)
    assert (run.build.state, run.build.fault, run.build.cause_code) == (State.FAILED, fault, code)
    assert run.build.cause == f"The {name} stage took longer than the 2.0 s that it may."


def test_a_host_that_hangs_is_tried_again_when_its_time_is_over(bench: Bench, settings: Any) -> None:
    settings.STAGE_TIMEOUT = 1
    submission = bench.submission()
    bench.archive.fail("zip", action="hang")
    build = bench.run(submission)
    assert (build.fault, build.cause_code, stages(build)) == ("outside", "fetch-timeout", [("fetch", "failed")])
    assert submission.builds.count() == 2


def test_all_stages_together_have_a_time_limit(bench: Bench, settings: Any) -> None:
    settings.ATTEMPT_TIMEOUT = 3
    build = bench.run(bench.submission("sleep 60"))
    check_closed(build)
    assert (build.fault, build.cause_code) == ("manuscript", "build-timeout")
    assert build.cause == "The attempt took longer than the 3.0 s that it may. It ended in its build stage."


def test_what_is_not_there_is_the_authors(bench: Bench) -> None:
    build = bench.run(submit(repository="no/such"))
    check_closed(build)
    assert (build.fault, build.cause_code, stages(build)) == ("manuscript", "archive-not-found", [("fetch", "failed")])


@pytest.mark.parametrize("require", [True, False])
def test_exports_that_must_be_declared_fail_at_once(bench: Bench, settings: Any, require: bool) -> None:
    settings.REQUIRE_DECLARED_EXPORTS = require
    bench.archive.add("a", "b", quick.repository("exit 1"))
    build = bench.run(submit(exports=["docx", {"format": "tex"}]))
    check_closed(build)
    assert build.cause_code == ("exports-not-declared" if require else "build-failed")
    assert bool(bench.archive.requests) is not require


@pytest.mark.parametrize("name", STAGES)
def test_cancel_during_each_stage(bench: Bench, monkeypatch: pytest.MonkeyPatch, settings: Any, name: str) -> None:
    settings.LEASE_SECONDS = 1
    submission = bench.submission()
    run = bench.begun(submission)

    def cancel() -> None:
        lifecycle.request_cancel(Build.objects.get(), actor="ed", reason="Wrong branch.")
        assert run.context.stop.event.wait(20)

    during(monkeypatch, name, cancel)
    pipeline.execute(run)
    run.build.refresh_from_db()
    check_closed(run.build)
    assert run.build.state == State.CANCELLED
    assert stages(run.build)[-1][0] == name
    assert stages(run.build)[-1][1] in ("cancelled", "succeeded")
    assert last_line(run.build) == "Cancelled by ed: Wrong branch."
    assert statuses(submission) == ["FAILED"]
    assert not bench.desci.deliveries["job-1"]


def test_a_cancel_that_comes_after_the_delivery_is_too_late(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    submission = bench.submission()

    def delivered(context: Context, exports: Any) -> None:
        deliver(context, exports)
        lifecycle.request_cancel(Build.objects.get(), actor="ed", reason="x")
        context.stop.set("x")

    monkeypatch.setattr(pipeline, "deliver", delivered)
    assert bench.run(submission).state == State.SUCCEEDED
    assert statuses(submission) == ["COMPLETED"]


@pytest.mark.parametrize("gone", ["job", "node"])
def test_nobody_waits(bench: Bench, gone: str) -> None:
    submission = bench.submission()
    if gone == "job":
        bench.desci.forget("job-1")
    else:
        bench.desci.forget_node("node-job-1.")
    build = bench.run(submission)
    check_closed(build)
    assert (build.state, build.cancel_requested_by) == (State.CANCELLED, "desci-server")
    assert statuses(submission) == []
    assert not StatusUpdate.objects.pending().exists()


@pytest.mark.parametrize("name", STAGES)
def test_a_build_that_was_lost_writes_nothing_more(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    submission = bench.submission()
    before: list[Any] = []

    def lose() -> None:
        build = Build.objects.get()
        lapse(build)
        lifecycle.lose(build)
        before.append(record(build))

    during(monkeypatch, name, lose)
    monkeypatch.setattr(pipeline, "deliver", lambda *_: pytest.fail("delivered")) if name != "deliver" else None
    run = bench.begun(submission)
    pipeline.execute(run)
    assert [record(run.build)] == before
    assert [build.state for build in submission.builds.order_by("number")] == [State.FAILED, State.QUEUED]
    assert not run.context.workspace.exists()
    assert statuses(submission) == []


def test_a_worker_that_comes_back_from_a_pause_does_nothing_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease is over by the clock, and nobody has told it yet: neither another worker nor the thread that renews."""
    run = bench.begun(bench.submission())
    during(monkeypatch, "deliver", lambda: run.context.stop.hold_until(time.monotonic() - 1))
    monkeypatch.setattr(lease, "FLUSH_SECONDS", 30)
    pipeline.execute(run)
    run.build.refresh_from_db()
    assert run.build.state == State.RUNNING, "the reconciler will lose it"
    assert not bench.desci.deliveries["job-1"]
    assert statuses(run.build.submission) == []


@pytest.mark.parametrize(
    ("reason", "code", "again"), [(pipeline.WORKER_ENDS, "worker-stopped", True), (pipeline.WORKER_DIED, "worker-lost", False)]
)
def test_a_second_loss_is_final_and_a_stop_counts_as_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, reason: str, code: str, again: bool
) -> None:
    submission = bench.submission()
    for _ in range(2):
        run = bench.begun(submission)
        with monkeypatch.context() as patched:
            during(patched, "build", partial(run.context.stop.set, reason))
            pipeline.execute(run)
        run.build.refresh_from_db()
        assert (run.build.state, run.build.cause_code) == (State.FAILED, code)
    assert submission.builds.unfinished().exists() is again
    assert statuses(submission) == ([] if again else ["FAILED"])


def test_desci_server_is_asked_during_a_long_stage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it still wants the result: at first with the stage, then every half minute; not while a word waits anyway."""
    monkeypatch.setattr(lease, "ASK_SECONDS", 0.1)
    submission = bench.submission("sleep 2")
    asked = threading.Event()

    def heard() -> None:
        StatusUpdate.objects.pending().update(state=StatusUpdate.State.RECEIVED)
        asked.set()

    during(monkeypatch, "build", heard)
    bench.run(submission)
    assert asked.is_set()
    said = [update.message.split(" http")[0] for update in submission.status_updates.all()]
    assert said.count("Attempt 1: build goes on.") == 1, said


def record(build: Build) -> Any:
    rows = (build.stages, build.log_batches, build.artifacts, build.events)
    return (Build.objects.values().get(pk=build.pk), [list(manager.values()) for manager in rows])


def test_a_defect_is_ours(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    during(monkeypatch, "unpack", lambda: 1 / 0)
    submission = bench.submission()
    build = bench.run(submission)
    check_closed(build)
    assert (build.fault, build.cause_code) == ("service", "internal-error")
    assert submission.builds.count() == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_ours(bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full() -> None:
        raise OSError(number, os.strerror(number))

    during(monkeypatch, "collect", full)
    submission = bench.submission()
    build = bench.run(submission)
    check_closed(build)
    assert build.fault == "service"
    assert build.cause_code == ("system-error" if number == errno.EIO else "disk-full")
    assert submission.builds.count() == (1 if number == errno.EIO else 2)  # room may be made


def test_exports_that_could_not_be_kept_leave_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage, "_record", full)
    build = bench.run(bench.submission())
    assert build.cause_code == "disk-full"
    assert not build.exports_folder.exists()


def test_a_build_that_cannot_be_begun_has_failed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM,)}
    submission = bench.submission()
    monkeypatch.setattr(tasks, "_context", lambda *_: 1 / 0)
    try:
        tasks.build(str(submission.newest_build().pk))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    build = submission.newest_build()
    assert (build.state, build.fault) == (State.FAILED, "service")


def test_the_database_away_for_a_moment_ends_no_build(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.01)
    for name in ("enter_stage", "leave_stage", "succeed", "pin"):
        monkeypatch.setattr(lifecycle, name, away_once(getattr(lifecycle, name)))
    assert bench.run(bench.submission()).state == State.SUCCEEDED


def away_once(verb: Callable[..., Any]) -> Callable[..., Any]:
    away = [True]

    def tried(*args: Any, **named: Any) -> Any:
        if away and away.pop():
            raise OperationalError("database is locked")
        return verb(*args, **named)

    return tried


def test_deliver_takes_kept_exports_without_a_build(bench: Bench) -> None:
    submission = bench.submission()
    bench.run(submission)
    asked = len(bench.archive.requests)
    lifecycle.retry(submission, Mode.DELIVER, actor="ed")
    build = bench.run(submission)
    assert (build.state, stages(build)) == (State.SUCCEEDED, [("deliver", "succeeded")])
    assert len(bench.archive.requests) == asked
    first, second = bench.desci.deliveries["job-1"]
    assert [(p.filename, p.sha256) for p in first.parts] == [(p.filename, p.sha256) for p in second.parts]
    assert build.artifacts.count() == 2


def test_deliver_where_the_exports_are_gone_is_ours(bench: Bench) -> None:
    submission = bench.submission()
    storage_of = bench.run(submission)
    lifecycle.retry(submission, Mode.DELIVER, actor="ed")
    storage.remove(storage_of.exports_folder)
    build = bench.run(submission)
    check_closed(build)
    assert (build.fault, "gone" in build.cause) == ("service", True)


def test_nothing_of_a_build_is_left_when_its_lines_come_from_two_threads(bench: Bench) -> None:
    """A log of many lines, flushed by the lease's thread while the build writes: numbered without gaps."""
    build = bench.run(bench.submission("i=0; while [ $i -lt 4000 ]; do echo line $i; i=$((i+1)); done"))
    check_closed(build)
    shown = [line.text for line in logs.read(build) if line.stream == "stdout"]
    assert shown == [*(f"line {number}" for number in range(4000)), "made"]
    assert threading.active_count() < 20
    connection.close()
