"""One build from claim to final state, with the real stages and the two stand-ins, without a worker."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connection

from builds import lifecycle, tasks
from builds.engine.context import Context
from builds.engine.findings.catalogue.repository import LFS_POINTER
from builds.engine.process.spare import Spare
from builds.engine.stages.deliver import deliver
from builds.lib import release
from builds.models import Article, Build, EventKind, Mode, State, StatusUpdate, Submission
from builds.pipeline import assembly, isolation, lease
from builds.pipeline import run as pipeline_run
from builds.pipeline.run import execute
from builds.pipeline.stop_reason import StopReason
from builds.record import kept_exports, logs, patience
from builds.record.workspaces import remove_folder
from tests.support import bombs, quick
from tests.support.counted import scrape_here
from tests.support.in_process import STAGES, Bench, check_closed, during, last_line, opened, stages, statuses
from tests.support.kept import folder_of, path_of
from tests.support.rows import lapse, submit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


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
    assert 0 < (build.processor_seconds or 0) < 60
    assert scrape_here()("jobsite_build_processor_seconds_total") == pytest.approx(build.processor_seconds, abs=1e-6)
    assert [path_of(artifact).is_file() for artifact in build.artifacts.all()] == [True, True]
    [delivery] = bench.desci.deliveries["job-1"]
    assert delivery.parts[-1].filename == "index.json"
    assert Article.objects.get(submission=submission).title == "Ready"
    assert statuses(submission) == ["COMPLETED"]


@pytest.mark.parametrize(
    ("before", "fault", "code", "stage"),
    [
        ("exit 3", "manuscript", "command-silent", "build"),
        ("echo 'All is well'; exit 3", "manuscript", "command-gave-no-reason", "build"),
        ("kill -SEGV $$", "unknown", "tool-crashed", "build"),
        ("echo 'ValueError: x is negative'; exit 1", "manuscript", "python-error", "build"),
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
    assert submission.builds.count() == 1, "an author's failure is not retried automatically"
    assert not bench.desci.deliveries["job-1"]


def test_a_sandbox_is_made_ahead_twice_and_ended_if_it_is_not_needed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(Spare, "make", lambda self, command: calls.append("make"))
    monkeypatch.setattr(Spare, "close", lambda self: calls.append("close"))
    build = bench.run(bench.submission())
    assert (build.state, calls) == (State.SUCCEEDED, ["make", "close", "make", "close"])  # before the command, and at the end
    calls.clear()
    bench.archive.add("a", "b", {"README": "no project file"})
    build = bench.run(submit("job-2"))
    assert (build.cause_code, calls) == ("project-file-missing", ["make", "close"])


TYPST = [{"format": "typst", "output": "exports/a.typ"}]


@pytest.mark.parametrize("when", ["before", "after"])
def test_aliases_without_end_end_the_build_as_the_manuscript_s_failure(bench: Bench, when: str) -> None:
    """The project file of 2 kB stands for 10^30 values. It is read before the command, and rewritten after it."""
    files = {"myst.yml": bombs.aliases()} if when == "before" else {}
    bench.archive.add("a", "b", quick.repository(bombs.leave_aliases() if when == "after" else "", **files))
    build = bench.run(submit(exports=TYPST))
    check_closed(build)
    assert (build.state, build.fault, build.cause_code) == (State.FAILED, "manuscript", "project-file-invalid")
    assert build.cause.startswith("Failed to build the repo files: myst.yml is too complex to read")
    assert (bombs.TOC_BUG in [line.text for line in logs.read(build)]) == (when == "after")


LISTS = """python3 -I -c 'print("{\\"exports\\":[" + "[]," * 2_500_000 + "[]]}")' > lists.json
mkdir -p _build/logs; cp lists.json _build/logs/myst.build.json; cp lists.json ready/index.json
trap 'cp lists.json _build/site/config.json' EXIT"""


def test_lists_without_end_in_the_files_of_myst_are_read_elsewhere(bench: Bench) -> None:
    """This process would need 200 MB for each of the three files."""
    tracemalloc.start()
    try:
        build = bench.run(bench.submission(LISTS))
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()
    check_closed(build)
    assert (build.state, build.cause) == (State.SUCCEEDED, "")


def test_an_export_that_is_a_link_is_kept_as_its_target_file(bench: Bench) -> None:
    """As a link in the folder of kept exports, this one would point to the service's database."""
    bench.submission("mkdir -p exports/a; echo '= Text' > jobsite.sqlite3; ln -s ../../jobsite.sqlite3 exports/a/b.typ")
    submission = submit("job-2", exports=[{"format": "typst", "output": "exports/a/b.typ"}, *quick.EXPORTS])
    build = bench.run(submission)
    assert build.state == State.SUCCEEDED
    kept = path_of(build.artifacts.get(role="typst"))
    assert (kept.is_symlink(), kept.read_text()) == (False, "= Text\n")


def test_a_kill_counts_as_lack_of_memory_only_without_control_groups(bench: Bench) -> None:
    build = bench.run(bench.submission("kill -9 $$"))
    assert (build.fault, build.cause_code) == ("manuscript", "build-failed" if isolation.groups() else "limit-hit")


def test_limits_have_their_own_causes(bench: Bench, settings: Any) -> None:
    settings.BUILD_TIMEOUT, settings.LOG_MAX_BYTES = 1, 10_000
    assert bench.run(bench.submission("sleep 60")).cause_code == "build-timeout"
    lifecycle.retry(Submission.objects.get(), Mode.LATEST, actor="ed")
    settings.BUILD_TIMEOUT = 60
    bench.archive.add("a", "b", quick.repository("yes | head -c 100000"))
    assert bench.run(Submission.objects.get()).cause_code == "limit-hit"


def test_the_log_says_where_the_output_was_cut(bench: Bench, settings: Any) -> None:
    settings.LOG_MAX_BYTES = 10_000
    build = bench.run(bench.submission("yes | head -c 1000000"))
    *_, cut, _, last = (line.text for line in logs.read(build))
    assert cut == "Cut here: the build wrote more than its output limit of 10 kB. The rest is not kept."
    assert last == f"{build.cause} {build.advice}"
    assert "wrote more than its output limit of 10 kB" in last


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
    settings.AUTOMATIC_RETRIES = 0
    run = bench.start(bench.submission())

    def shorten() -> None:
        """From the next stage on: the others must not depend on how fast the machine is."""
        run.context = replace(run.context, limits=replace(run.context.limits, stage_seconds=2))

    before = {"unpack": "fetch", "collect": "build", "deliver": "collect"}
    if name in before:
        during(monkeypatch, before[name], shorten)
    else:
        shorten()
    during(monkeypatch, name, lambda: run.context.stop.wait(60))
    execute(run)
    run.build.refresh_from_db()
    check_closed(run.build)
    assert (run.build.state, run.build.fault, run.build.cause_code) == (State.FAILED, fault, code)
    assert run.build.cause == f"The {name} stage exceeded its time limit of 2.0 s."


def test_a_host_that_hangs_is_retried_after_the_time_limit(bench: Bench, settings: Any) -> None:
    settings.STAGE_TIMEOUT = 1
    submission = bench.submission()
    bench.archive.fail("zip", action="hang")
    build = bench.run(submission)
    assert (build.fault, build.cause_code, stages(build)) == ("outside", "fetch-timeout", [("fetch", "failed")])
    assert submission.builds.count() == 2


def test_all_stages_together_have_a_time_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run = bench.start(bench.submission("sleep 60"))

    def shorten() -> None:
        """When the build begins: what came before took as long as this machine needs."""
        run.started_at = time.monotonic()
        run.context = replace(run.context, limits=replace(run.context.limits, attempt_seconds=5))

    during(monkeypatch, "unpack", shorten)
    execute(run)
    run.build.refresh_from_db()
    check_closed(run.build)
    assert (run.build.fault, run.build.cause_code) == ("manuscript", "build-timeout")
    assert run.build.cause == "The attempt exceeded its time limit of 5.0 s. It ended in the build stage."


def test_a_missing_repository_is_the_authors_fault(bench: Bench) -> None:
    build = bench.run(submit(repository="no/such"))
    check_closed(build)
    assert (build.fault, build.cause_code, stages(build)) == ("manuscript", "archive-not-found", [("fetch", "failed")])


@pytest.mark.parametrize("require", [True, False])
def test_missing_declared_exports_fail_at_once(bench: Bench, settings: Any, require: bool) -> None:
    settings.REQUIRE_DECLARED_EXPORTS = require
    bench.archive.add("a", "b", quick.repository("exit 1"))
    build = bench.run(submit(exports=["docx", {"format": "tex"}]))
    check_closed(build)
    assert build.cause_code == ("exports-not-declared" if require else "command-silent")
    assert bool(bench.archive.requests) is not require


@pytest.mark.parametrize("name", STAGES)
def test_cancel_during_each_stage(bench: Bench, monkeypatch: pytest.MonkeyPatch, settings: Any, name: str) -> None:
    settings.LEASE_SECONDS = 1
    submission = bench.submission()
    run = bench.start(submission)

    def cancel() -> None:
        lifecycle.request_cancel(Build.objects.get(), actor="ed", reason="Wrong branch.")
        assert run.context.stop.event.wait(20)

    during(monkeypatch, name, cancel)
    execute(run)
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

    monkeypatch.setattr(pipeline_run, "deliver", delivered)
    assert bench.run(submission).state == State.SUCCEEDED
    assert statuses(submission) == ["COMPLETED"]


@pytest.mark.parametrize("gone", ["job", "node"])
def test_a_job_that_desci_server_no_longer_has_is_cancelled(bench: Bench, gone: str) -> None:
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
def test_a_lost_build_writes_nothing_more(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    submission = bench.submission()
    before: list[Any] = []

    def lose() -> None:
        build = Build.objects.get()
        lapse(build)
        lifecycle.lose(build)
        before.append(record(build))

    during(monkeypatch, name, lose)
    monkeypatch.setattr(pipeline_run, "deliver", lambda *_: pytest.fail("delivered")) if name != "deliver" else None
    run = bench.start(submission)
    execute(run)
    assert [record(run.build)] == before
    assert [build.state for build in submission.builds.order_by("number")] == [State.FAILED, State.QUEUED]
    assert not run.context.workspace.exists()
    assert statuses(submission) == []


def test_a_worker_that_resumes_after_its_lease_does_nothing_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease has expired by the clock, but neither another worker nor the renewing thread has noticed yet."""
    run = bench.start(bench.submission())
    during(monkeypatch, "deliver", lambda: run.context.stop.hold_until(time.monotonic() - 1))
    monkeypatch.setattr(lease, "FLUSH_SECONDS", 3600)
    execute(run)
    run.build.refresh_from_db()
    assert run.build.state == State.RUNNING, "the reconciler will lose it"
    assert not bench.desci.deliveries["job-1"]
    assert statuses(run.build.submission) == []


def test_a_database_that_fails_in_a_stage_is_not_the_builds_fault(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OperationalError("server closed the connection unexpectedly")

    run = bench.start(bench.submission())
    during(monkeypatch, "deliver", fail)
    execute(run)
    check_interrupted(run.build)


def test_a_lease_that_ran_out_in_an_outage_is_no_loss(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run = bench.start(bench.submission())

    def run_out() -> None:
        run.lease.was_cut_off = True
        run.context.stop.hold_until(time.monotonic() - 1)

    during(monkeypatch, "deliver", run_out)
    monkeypatch.setattr(lease, "FLUSH_SECONDS", 3600)  # the thread renews nothing
    monkeypatch.setattr("builds.lib.stop.RENEWAL_SECONDS", 0.1)
    execute(run)
    check_interrupted(run.build)


def check_interrupted(build: Build) -> None:
    build.refresh_from_db()
    assert (build.state, build.cause_code, build.fault) == (State.FAILED, "database-away", "service")
    assert build.submission.builds.unfinished().exists()
    assert statuses(build.submission) == []


@pytest.mark.parametrize(
    ("reason", "code", "again"),
    [(StopReason.WORKER_STOPPED, "worker-stopped", True), (StopReason.WORKER_DIED, "worker-lost", False)],
)
def test_a_second_loss_is_final_and_a_stop_does_not_count(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, reason: StopReason, code: str, again: bool
) -> None:
    submission = bench.submission()
    for _ in range(2):
        run = bench.start(submission)
        with monkeypatch.context() as patched:
            during(patched, "build", partial(run.context.stop.set, reason))
            execute(run)
        run.build.refresh_from_db()
        assert (run.build.state, run.build.cause_code) == (State.FAILED, code)
    assert submission.builds.unfinished().exists() is again
    assert statuses(submission) == ([] if again else ["FAILED"])


def test_desci_server_is_asked_during_a_long_stage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked when the stage starts and then every half minute, but not while an update is pending anyway."""
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
    assert said.count("Attempt 1: build is still running.") == 1, said


def record(build: Build) -> Any:
    rows = (build.stages, build.log_batches, build.artifacts, build.events)
    return (Build.objects.values().get(pk=build.pk), [list(manager.values()) for manager in rows])


def test_a_bug_is_the_services_fault(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    during(monkeypatch, "unpack", lambda: 1 / 0)
    submission = bench.submission()
    build = bench.run(submission)
    check_closed(build)
    assert (build.fault, build.cause_code) == ("service", "internal-error")
    assert submission.builds.count() == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_the_services_fault(bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full() -> None:
        raise OSError(number, os.strerror(number))

    during(monkeypatch, "collect", full)
    submission = bench.submission()
    build = bench.run(submission)
    check_closed(build)
    assert build.fault == "service"
    assert build.cause_code == ("system-error" if number == errno.EIO else "disk-full")
    assert submission.builds.count() == (1 if number == errno.EIO else 2)  # disk space may become free


def test_exports_that_could_not_be_recorded_are_removed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept_exports, "_record", full)
    build = bench.run(bench.submission())
    assert build.cause_code == "disk-full"
    assert not folder_of(build).exists()


def test_a_build_that_cannot_start_has_failed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM,)}
    submission = bench.submission()
    monkeypatch.setattr(assembly, "_context", lambda *_: 1 / 0)
    try:
        tasks.build(str(submission.newest_build().pk))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    build = submission.newest_build()
    assert (build.state, build.fault) == (State.FAILED, "service")


def test_a_build_that_an_upgrade_broke_is_queued_again_and_not_reported(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    submission = bench.submission()
    monkeypatch.setattr(assembly, "_context", lambda *_: 1 / 0)
    answers = iter([False, True])  # the release is replaced once the build has begun
    monkeypatch.setattr(release, "has_changed", lambda: next(answers))
    handler = signal.getsignal(signal.SIGTERM)
    try:
        tasks.build(str(submission.newest_build().pk))
    finally:
        signal.signal(signal.SIGTERM, handler)
    first, second = submission.builds.order_by("number")
    assert (first.state, first.cause_code, second.state) == (State.FAILED, "release-replaced", State.QUEUED)
    assert statuses(submission) == []


def test_a_worker_of_the_release_before_starts_no_build(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    submission = bench.submission()
    monkeypatch.setattr(release, "has_changed", lambda: True)
    tasks.build(str(submission.newest_build().pk))
    assert submission.newest_build().state == State.QUEUED


def test_a_build_survives_a_short_database_outage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_success_with_problems_names_them_also_when_its_exports_are_delivered_again(bench: Bench) -> None:
    submission = bench.submission(**quick.WITHOUT_FIGURE)
    build = bench.run(submission)
    assert (build.state, build.problems) == (State.SUCCEEDED, 1)
    found = build.findings.get(code="image-lfs-pointer")
    assert "fig.png" in {line.number: line.text for line in logs.read(build)}[found.log_line or 0]
    lifecycle.retry(submission, Mode.DELIVER, actor="ed")
    again = bench.run(submission)
    assert (again.state, again.problems) == (State.SUCCEEDED, 1)
    assert [row.code for row in again.findings.all()] == [row.code for row in build.findings.all()]
    assert again.findings.get(code="image-lfs-pointer").log_line is None
    assert [update.message.partition(":")[0] for update in submission.status_updates.filter(status="COMPLETED")] == [
        "Files exported successfully, with 1 problem"
    ] * 2


def test_a_failed_build_keeps_its_findings(bench: Bench) -> None:
    build = bench.run(bench.submission("exit 3", **quick.WITHOUT_FIGURE))
    assert (build.state, build.problems) == (State.FAILED, 1)
    assert build.findings.filter(code="image-lfs-pointer").exists()
    build.submission.refresh_from_db()
    assert build.submission.problems == 0, "only successes count as succeeded with problems"


def test_a_finding_fails_the_build_if_the_operators_chose_so(bench: Bench, settings: Any) -> None:
    settings.FAILING_FINDINGS = ["image-lfs-pointer"]
    submission = bench.submission(**quick.WITHOUT_FIGURE)
    build = bench.run(submission)
    found = build.findings.get(code="image-lfs-pointer")
    assert (build.state, build.fault, build.cause_code, build.cause_file) == (
        *(State.FAILED, "manuscript", "image-lfs-pointer"),
        found.file,
    )
    assert stages(build)[-1] == ("collect", "failed")
    assert "LFS" in (build.cause + last_line(build))
    assert not bench.desci.deliveries["job-1"]
    assert statuses(submission) == ["FAILED"]


def test_findings_are_written_while_a_stage_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its work-horse may die before the stage ends."""
    monkeypatch.setattr(lease, "FINDINGS_SECONDS", 0.0)
    run = bench.start(bench.submission())

    def wait() -> None:
        run.context.find(LFS_POINTER, names="fig.png")
        give_up_at = time.monotonic() + 60
        while not run.build.findings.exists() and time.monotonic() < give_up_at:
            time.sleep(0.05)
        seen.append(run.build.findings.exists())

    seen: list[bool] = []
    during(monkeypatch, "build", wait)
    execute(run)
    assert seen == [True]


def test_kept_exports_that_are_gone_are_built_again_from_the_same_commit(bench: Bench) -> None:
    submission = bench.submission()
    source = bench.run(submission)
    lifecycle.retry(submission, Mode.DELIVER, actor="ed")
    bench.archive.add("a", "b", quick.repository("echo a newer commit"))
    remove_folder(folder_of(source))
    build = bench.run(submission)
    check_closed(build)
    assert (build.state, build.mode, build.commit) == (State.SUCCEEDED, Mode.SAME_COMMIT, source.commit)
    assert stages(build) == [(name, "succeeded") for name in STAGES]
    assert [event.reason for event in submission.events.filter(kind=EventKind.EXPORTS_GONE)] == [pipeline_run.EXPORTS_GONE]
    assert statuses(submission) == ["COMPLETED", "COMPLETED"]


def test_lines_from_two_threads_are_numbered_without_gaps(bench: Bench) -> None:
    """A log of many lines that the lease's thread flushes while the build writes."""
    build = bench.run(bench.submission("i=0; while [ $i -lt 4000 ]; do echo line $i; i=$((i+1)); done"))
    check_closed(build)
    shown = [line.text for line in logs.read(build) if line.stream == "stdout"]
    assert shown == [*(f"line {number}" for number in range(4000)), "made"]
    assert threading.active_count() < 20
    connection.close()
