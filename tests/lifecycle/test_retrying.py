"""Automatic retries: what is retried, when, and what a retry reuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from builds import lifecycle
from builds.engine.clients.archive import ArchiveHost as ArchiveClient
from builds.engine.context import Limits
from builds.engine.sandbox.bubblewrap import Bubblewrap
from builds.errors import ArchiveHostDown, DesciServerDown, DiskFull
from builds.lifecycle.retrying import MIN_FAILURES, RETRY_DELAYS
from builds.models import Build, Mode, State, StatusUpdate, Submission
from builds.pipeline import outcome
from builds.pipeline.run import execute
from builds.pipeline.stop_reason import StopReason
from builds.record import kept_exports
from tests.engine.sandbox.test_sandbox import fake_bubblewrap
from tests.support import quick
from tests.support.in_process import Bench, check_closed, during, opened, stages, statuses
from tests.support.rows import claim, lapse

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def bench(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with opened(settings, monkeypatch) as bench:
        yield bench


def start_now(submission: Submission) -> None:
    Build.objects.filter(submission=submission, state=State.QUEUED).update(not_before=None)


def age(submission: Submission, by: timedelta) -> None:
    """Move the ends of all builds into the past."""
    Build.objects.filter(submission=submission, finished_at__isnull=False).update(finished_at=F("finished_at") - by)


def test_an_outside_cause_is_retried_automatically(bench: Bench, settings: Any) -> None:
    settings.AUTOMATIC_RETRIES = 2
    submission = bench.submission()
    bench.archive.fail("/archive/", status=503, times=99)
    host = ArchiveClient(bench.archive.url, patience_seconds=0)
    for number in (1, 2, 3):
        start_now(submission)
        build = bench.run(submission, archive_host=host)
        check_closed(build)
        assert (build.number, build.cause_code) == (number, ArchiveHostDown.code)
    builds = list(submission.builds.order_by("number"))
    assert [build.mode for build in builds] == [Mode.LATEST, Mode.SAME_COMMIT, Mode.SAME_COMMIT]
    assert [build.automatic for build in builds] == [False, True, True]
    assert statuses(submission) == ["FAILED"], "only the last failure is reported"


def test_automatic_retries_wait_longer_each_time(bench: Bench, settings: Any) -> None:
    settings.AUTOMATIC_RETRIES = 3
    submission = bench.submission()
    bench.archive.fail("/archive/", status=503, times=99)
    host = ArchiveClient(bench.archive.url, patience_seconds=0)
    for delay in RETRY_DELAYS:
        start_now(submission)
        ended = bench.run(submission, archive_host=host).finished_at
        begins = submission.newest_build().not_before
        assert begins and ended
        assert abs(begins - ended - delay) < timedelta(seconds=5)


FAULTS: dict[str, tuple[Any, str]] = {
    "500": (lambda desci: desci.fail(500, where="receiveFiles"), "desci-server-down"),
    "down": (lambda desci: desci.down(), "desci-server-down"),
    "login page": (lambda desci: desci.lie("receiveFiles"), "desci-server-down"),
    "not ok": (lambda desci: desci.lie("receiveFiles", html=False), "desci-server-down"),
    "job failed": (
        lambda desci: desci.fail(400, where="receiveFiles", body={"message": "Job failed"}),
        "desci-server-job-failed",
    ),
    "another secret": (lambda desci: desci.fail(401, where="receiveFiles", body={"message": "Unauthorized"}), "secret-refused"),
}


@pytest.mark.parametrize(("fault", "code"), FAULTS.values(), ids=FAULTS)
def test_a_delivery_is_retried_without_a_worker_for_its_patience(bench: Bench, settings: Any, fault: Any, code: str) -> None:
    settings.DELIVERY_PATIENCE, settings.AUTOMATIC_RETRIES = 900, 0
    submission = bench.submission()
    fault(bench.desci)
    pauses = []
    while submission.builds.unfinished().exists():
        start_now(submission)
        build = bench.run(submission, limits=Limits(delivery_seconds=0))
        check_closed(build)
        assert build.cause_code == code
        if submission.builds.unfinished().exists():
            assert statuses(submission) == [], "the failure is not reported before the patience is used up"
            at = submission.newest_build().not_before
            assert at and build.finished_at
            pauses.append((at - build.finished_at).total_seconds())
            age(submission, at - build.finished_at)
    # Each pause is as long as all before it together and the time that the builds of this test take.
    assert 9 < pauses[0] < 15
    assert 4 <= len(pauses) <= 8
    assert pauses[:-1] == sorted(pauses[:-1])
    assert 600 < sum(pauses) < 901
    assert statuses(submission) == ["FAILED"]
    builds = list(submission.builds.order_by("number"))
    assert [build.mode for build in builds] == [Mode.LATEST, *[Mode.DELIVER] * len(pauses)]
    assert all(stages(build) == [("deliver", "failed")] for build in builds[1:])
    assert kept_exports.has_exports(builds[-1])


def test_a_retried_delivery_succeeds_when_desci_server_is_back(bench: Bench, settings: Any) -> None:
    settings.DELIVERY_PATIENCE = 900
    submission = bench.submission()
    bench.desci.down()
    assert bench.run(submission, limits=Limits(delivery_seconds=0)).cause_code == DesciServerDown.code
    bench.desci.up()
    start_now(submission)
    build = bench.run(submission)
    assert (build.state, build.mode, statuses(submission)) == (State.SUCCEEDED, Mode.DELIVER, ["COMPLETED"])
    assert len(bench.desci.deliveries["job-1"]) == 1


def test_retries_of_a_delivery_do_not_count_as_retries_of_other_failures(bench: Bench, settings: Any) -> None:
    settings.DELIVERY_PATIENCE, settings.AUTOMATIC_RETRIES = 900, 1
    submission = bench.submission()
    bench.desci.down()
    for _ in range(3):
        start_now(submission)
        build = bench.run(submission, limits=Limits(delivery_seconds=0))
    assert build.number == 3
    start_now(submission)
    fourth = claim(submission)
    assert lifecycle.automatic_retry_at(fourth, DiskFull().cause) is not None


def test_a_persons_retry_gets_the_whole_patience(bench: Bench, settings: Any) -> None:
    settings.DELIVERY_PATIENCE = 900
    submission = bench.submission()
    bench.desci.down()
    for _ in range(MIN_FAILURES):
        age(submission, timedelta(hours=1))
        start_now(submission)
        first = bench.run(submission, limits=Limits(delivery_seconds=0))
    assert statuses(submission) == ["FAILED"]
    lifecycle.retry(submission, Mode.DELIVER, actor="ed")
    third = bench.run(submission, limits=Limits(delivery_seconds=0))
    waiting = lifecycle.waiting_for(third, third.cause_code)
    assert waiting
    assert waiting.since == third.finished_at
    assert first.finished_at
    assert submission.builds.unfinished().exists()


def test_updates_are_sent_before_a_delivery(bench: Bench) -> None:
    """The outbox may be in a long pause, and the files are accepted only after the status update of the attempt."""
    submission = bench.submission()
    build = claim(submission)
    StatusUpdate.objects.update(next_try_at=timezone.now() + timedelta(minutes=5))
    lifecycle.enter_stage(build, "deliver")
    assert not StatusUpdate.objects.filter(next_try_at__gt=timezone.now()).exists()


def test_a_rate_limit_is_waited_for_as_long_as_the_host_says(bench: Bench) -> None:
    submission = bench.submission()
    bench.archive.limit("/archive/", seconds=1800, times=1)
    build = bench.run(submission)
    check_closed(build)
    assert (build.fault, build.cause_code) == ("outside", "archive-host-limit")
    newest = submission.newest_build()
    assert newest.not_before and build.finished_at
    assert abs(newest.not_before - build.finished_at - timedelta(seconds=1800)) < timedelta(seconds=30)
    assert statuses(submission) == []
    start_now(submission)
    assert bench.run(submission).state == State.SUCCEEDED


def test_a_rate_limit_is_waited_for_within_a_day(bench: Bench, settings: Any) -> None:
    settings.AUTOMATIC_RETRIES = 0
    submission = bench.submission()
    bench.archive.limit("/archive/", seconds=5 * 3600)
    waits = []
    while submission.builds.unfinished().exists():
        start_now(submission)
        build = bench.run(submission)
        if submission.builds.unfinished().exists():
            at = submission.newest_build().not_before
            assert at and build.finished_at
            waits.append(round((at - build.finished_at) / timedelta(hours=1)))
            age(submission, at - build.finished_at)
    assert waits == [5, 5, 5, 5, 4]
    assert (build.cause_code, statuses(submission)) == ("archive-host-limit", ["FAILED"])


def test_a_host_that_is_down_and_says_for_how_long_is_retried_after_that(bench: Bench) -> None:
    submission = bench.submission()
    bench.archive.fail("/archive/", status=503, headers={"Retry-After": "600"})
    build = bench.run(submission)
    at = submission.newest_build().not_before
    assert at and build.finished_at
    assert (build.cause_code, at - build.finished_at > timedelta(seconds=550)) == ("archive-host-down", True)


@pytest.mark.parametrize("location", ["http://[::1", "https://github.com:\xb2/"])
def test_a_garbled_redirect_is_not_an_internal_error(bench: Bench, location: str) -> None:
    submission = bench.submission()
    bench.archive.fail("/archive/", action="redirect", location=location, times=9)
    build = bench.run(submission)
    assert (build.fault, build.cause_code) == ("outside", "archive-host-refused")


def test_an_archive_host_that_is_down_is_retried_at_the_same_commit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    submission = bench.submission()
    host = ArchiveClient(bench.archive.url, patience_seconds=0)
    bench.archive.fail("/archive/", status=503, times=100)
    build = bench.run(submission, archive_host=host)
    assert (build.fault, build.cause_code) == ("outside", "archive-host-down")
    newest = submission.newest_build()
    assert (newest.mode, newest.source_id) == (Mode.SAME_COMMIT, build.pk)
    bench.archive.end_faults()
    bench.archive.add("a", "b", quick.repository("exit 1"))
    Build.objects.filter(pk=newest.pk).update(not_before=None)
    second = bench.run(submission)
    assert (second.state, second.commit) == (State.SUCCEEDED, build.commit)


def test_a_killed_sandbox_is_retried_and_the_manuscript_is_not_blamed(bench: Bench, tmp_path: Path) -> None:
    submission = bench.submission()
    run = bench.start(submission)
    run.context = replace(run.context, sandbox=Bubblewrap(run.context.workspace, bwrap=fake_bubblewrap(tmp_path, "kill -9 $$")))
    execute(run)
    run.build.refresh_from_db()
    check_closed(run.build)
    assert (run.build.fault, run.build.cause_code, statuses(submission)) == ("service", "sandbox-lost", [])
    newest = submission.newest_build()
    assert (newest.state, newest.mode, newest.automatic) == (State.QUEUED, Mode.SAME_COMMIT, True)
    Build.objects.filter(pk=newest.pk).update(not_before=None)
    assert bench.run(submission).state == State.SUCCEEDED


def test_a_retry_of_a_retry_delivers_its_exports(bench: Bench, settings: Any) -> None:
    """The first build pinned the commit and was lost; the second built it and could not deliver; the third delivers it."""
    submission = bench.submission()
    first = claim(submission)
    lifecycle.pin(first, commit=bench.archive.add("a", "b", quick.repository()), ref="main", path="myst.yml")
    lapse(first)
    lifecycle.lose(first)
    settings.DELIVERY_PATIENCE = 900
    bench.desci.fail(500, where="receiveFiles")
    second = bench.run(submission, limits=Limits(delivery_seconds=0))
    bench.desci.end_faults()
    Build.objects.filter(state=State.QUEUED).update(not_before=None)
    third = bench.run(submission)
    assert (third.mode, third.source_id, third.state) == (Mode.DELIVER, second.pk, State.SUCCEEDED)


def test_a_stopping_worker_hands_the_build_over(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    submission = bench.submission("sleep 60")
    run = bench.start(submission)
    during(monkeypatch, "build", lambda: run.context.stop.set(StopReason.WORKER_STOPPED))
    execute(run)
    run.build.refresh_from_db()
    check_closed(run.build)
    assert (run.build.fault, run.build.cause_code) == ("service", "worker-stopped")
    newest = submission.newest_build()
    assert (newest.state, newest.mode, statuses(submission)) == (State.QUEUED, Mode.SAME_COMMIT, [])


def test_a_failure_caused_by_a_stopping_worker_is_not_the_authors(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service manager may signal the build's processes as well."""
    submission = bench.submission("exit 1")
    run = bench.start(submission)
    fail = outcome.fail

    def stopped_first(*args: Any) -> None:
        run.context.stop.set(StopReason.WORKER_STOPPED)
        fail(*args)

    monkeypatch.setattr(outcome, "fail", stopped_first)
    execute(run)
    assert [build.cause_code for build in submission.builds.order_by("number")] == ["worker-stopped", ""]
