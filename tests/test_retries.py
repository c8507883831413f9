"""What Jobsite tries again by itself, when, and what of the build before it uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from builds import lifecycle, pipeline
from builds.clients.archive import ArchiveHost as ArchiveClient
from builds.errors import DesciServerDown
from builds.models import Build, Mode, State
from builds.sandbox import Mode as Shut
from builds.sandbox import Sandbox
from tests import quick
from tests.in_process import Bench, check_closed, during, opened, stages, statuses
from tests.rows import claim, lapse
from tests.test_sandbox import killed

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bench(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with opened(settings, monkeypatch) as bench:
        yield bench


def test_an_outside_cause_is_retried_by_itself(bench: Bench, settings: Any) -> None:
    settings.AUTOMATIC_RETRIES = 2
    submission = bench.submission()
    bench.desci.fail(500, where="receiveFiles")
    for number in (1, 2, 3):
        Build.objects.filter(state=State.QUEUED).update(not_before=None)
        build = bench.run(submission)
        check_closed(build)
        assert (build.number, build.cause_code) == (number, DesciServerDown.code)
    builds = list(submission.builds.order_by("number"))
    assert [build.mode for build in builds] == [Mode.LATEST, Mode.DELIVER, Mode.DELIVER]
    assert [build.automatic for build in builds] == [False, True, True]
    assert stages(builds[-1]) == [("deliver", "failed")]
    assert statuses(submission) == ["FAILED"], "only the last one is told"


def test_retries_by_itself_wait_longer_each_time(bench: Bench, settings: Any) -> None:
    settings.AUTOMATIC_RETRIES = 3
    submission = bench.submission()
    bench.desci.fail(500, where="receiveFiles")
    for delay in pipeline.RETRY_DELAYS:
        Build.objects.filter(state=State.QUEUED).update(not_before=None)
        ended = bench.run(submission).finished_at
        begins = submission.newest_build().not_before
        assert begins and ended
        assert abs(begins - ended - delay) < timedelta(seconds=5)


def test_an_archive_host_that_is_away_is_retried_at_the_same_commit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    submission = bench.submission()
    host = ArchiveClient(bench.archive.url, patience_seconds=0)
    bench.archive.fail("/archive/", status=503, times=100)
    build = bench.run(submission, archive_host=host)
    assert (build.fault, build.cause_code) == ("outside", "archive-host-down")
    newest = submission.newest_build()
    assert (newest.mode, newest.source_id) == (Mode.SAME_COMMIT, build.pk)
    bench.archive.mend()
    bench.archive.add("a", "b", quick.repository("exit 1"))
    Build.objects.filter(pk=newest.pk).update(not_before=None)
    second = bench.run(submission)
    assert (second.state, second.commit) == (State.SUCCEEDED, build.commit)


def test_a_sandbox_that_was_killed_is_retried_and_nobodys_manuscript_is_blamed(bench: Bench, tmp_path: Path) -> None:
    submission = bench.submission()
    run = bench.begun(submission)
    run.context = replace(
        run.context, sandbox=Sandbox(Shut.BUBBLEWRAP, run.context.workspace, bwrap=killed(tmp_path, "kill -9 $$"))
    )
    pipeline.execute(run)
    run.build.refresh_from_db()
    check_closed(run.build)
    assert (run.build.fault, run.build.cause_code, statuses(submission)) == ("service", "sandbox-lost", [])
    newest = submission.newest_build()
    assert (newest.state, newest.mode, newest.automatic) == (State.QUEUED, Mode.SAME_COMMIT, True)
    Build.objects.filter(pk=newest.pk).update(not_before=None)
    assert bench.run(submission).state == State.SUCCEEDED


def test_a_retry_of_a_retry_delivers_what_that_one_has_made(bench: Bench) -> None:
    """The first build pinned the commit and was lost; the second built it and could not deliver; the third delivers it."""
    submission = bench.submission()
    first = claim(submission)
    lifecycle.pin(first, commit=bench.archive.add("a", "b", quick.repository()), ref="main", path="myst.yml")
    lapse(first)
    lifecycle.lose(first)
    bench.desci.fail(500, where="receiveFiles")
    second = bench.run(submission)
    bench.desci.mend()
    Build.objects.filter(state=State.QUEUED).update(not_before=None)
    third = bench.run(submission)
    assert (third.mode, third.source_id, third.state) == (Mode.DELIVER, second.pk, State.SUCCEEDED)


def test_a_worker_that_is_told_to_end_hands_the_build_over(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    submission = bench.submission("sleep 60")
    run = bench.begun(submission)
    during(monkeypatch, "build", lambda: run.context.stop.set(pipeline.WORKER_ENDS))
    pipeline.execute(run)
    run.build.refresh_from_db()
    check_closed(run.build)
    assert (run.build.fault, run.build.cause_code) == ("service", "worker-stopped")
    newest = submission.newest_build()
    assert (newest.state, newest.mode, statuses(submission)) == (State.QUEUED, Mode.SAME_COMMIT, [])


def test_a_failure_that_comes_of_being_told_to_end_is_not_the_authors(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service manager may signal the build's processes as well."""
    submission = bench.submission("exit 1")
    run = bench.begun(submission)
    failed = pipeline._failed

    def told(*args: Any) -> None:
        run.context.stop.set(pipeline.WORKER_ENDS)
        failed(*args)

    monkeypatch.setattr(pipeline, "_failed", told)
    pipeline.execute(run)
    assert [build.cause_code for build in submission.builds.order_by("number")] == ["worker-stopped", ""]
