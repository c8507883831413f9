"""The verbs: what each may start from, and what it writes beside the state."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from builds import lifecycle
from builds.errors import Cause, CommandFailed, Fault
from builds.lifecycle import ActRefused, JobConflict, Request, StaleBuild
from builds.models import FINAL, Artifact, Build, Event, FrontMatter, Mode, Stage, State, Submission
from builds.outbox_models import StatusUpdate

pytestmark = pytest.mark.django_db(transaction=True)

CAUSE = CommandFailed("Failed to build the repo files: it broke.").cause


def request(job_id: str = "job-1", **changes: Any) -> Request:
    values: dict[str, Any] = {
        "job_id": job_id,
        "node_uuid": "node-1.",
        "url": "https://github.com/a/b/blob/main/myst.yml",
        "repository": "a/b",
        "document": {"title": "On builds", "authors": [{"name": "Ada", "orcid": "0000-0001"}], "exports": ["meca"]},
    }
    return Request(**{**values, **changes})


def submit(job_id: str = "job-1", **changes: Any) -> Submission:
    return lifecycle.submit(request(job_id, **changes))


def claimed(submission: Submission) -> Build:
    build = lifecycle.claim(str(submission.newest_build().pk), worker="w")
    assert build is not None
    return build


def ended(submission: Submission, state: State) -> Build:
    build = claimed(submission)
    if state == State.SUCCEEDED:
        lifecycle.succeed(build)
    elif state == State.FAILED:
        lifecycle.fail(build, CAUSE)
    else:
        lifecycle.request_cancel(build, actor="ed", reason="Not needed.")
        lifecycle.finish_cancel(build)
    return build


def told(submission: Submission) -> list[str]:
    return [f"{update.status} {update.message}" for update in submission.status_updates.all()]


def events(submission: Submission) -> list[tuple[str, str]]:
    return list(submission.events.values_list("kind", "actor"))


def test_submit_writes_submission_build_event_and_status_update() -> None:
    submission = submit()
    build = submission.newest_build()
    assert (submission.title, submission.authors) == ("On builds", "Ada (0000-0001)")
    assert (build.number, build.state, build.mode) == (1, State.QUEUED, Mode.LATEST)
    assert events(submission) == [("submitted", "desci-server")]
    assert told(submission) == [f"IN_PROGRESS Queued. {submission.link}"]
    assert FrontMatter.objects.get().exports == ("meca",)


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING])
def test_submit_again_starts_nothing_while_unfinished(state: State) -> None:
    submission = submit()
    if state == State.RUNNING:
        claimed(submission)
    submit()
    assert submission.builds.count() == 1
    assert len(told(submission)) == 1


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_submit_again_queues_a_new_build_after_a_failure(state: State) -> None:
    submission = submit()
    ended(submission, state)
    submit(document={"title": "Mended", "exports": []})
    build = submission.newest_build()
    submission.refresh_from_db()
    assert (build.number, build.state, build.mode) == (2, State.QUEUED, Mode.LATEST)
    assert (submission.state, submission.title) == (State.QUEUED, "Mended")
    assert FrontMatter.objects.get().exports == ()


def keep_an_export(build: Build) -> None:
    build.exports_folder.mkdir(parents=True)
    Path(build.exports_folder / "1-pdf.pdf").write_bytes(b"%PDF")
    Artifact.objects.create(build=build, role="pdf", name="a.pdf", file="1-pdf.pdf", size=4, sha256="0" * 64, position=1)


def test_submit_again_delivers_again_after_success() -> None:
    submission = submit()
    build = ended(submission, State.SUCCEEDED)
    keep_an_export(build)
    submit()
    newest = submission.newest_build()
    assert (newest.mode, newest.source_id) == (Mode.DELIVER, build.pk)


def test_submit_again_builds_the_same_commit_where_the_exports_are_gone() -> None:
    submission = submit()
    build = ended(submission, State.SUCCEEDED)
    submit()
    newest = submission.newest_build()
    assert (newest.mode, newest.source_id) == (Mode.SAME_COMMIT, build.pk)


def test_submit_again_during_a_cancel_queues_after_it() -> None:
    submission = submit()
    build = claimed(submission)
    lifecycle.request_cancel(build, actor="desci-server", reason="gone")
    submit()
    assert submission.builds.count() == 1
    lifecycle.finish_cancel(build)
    assert [b.state for b in submission.builds.order_by("number")] == [State.CANCELLED, State.QUEUED]


@pytest.mark.parametrize("change", [{"node_uuid": "other."}, {"url": "https://github.com/a/b/blob/dev/myst.yml"}])
def test_submit_refuses_a_known_job_with_other_content(change: dict[str, str]) -> None:
    submit()
    with pytest.raises(JobConflict):
        submit(**change)
    assert (Submission.objects.count(), Build.objects.count(), Event.objects.count()) == (1, 1, 1)


def test_submit_supersedes_the_unfinished_submission_of_the_node() -> None:
    queued, running = submit("job-1"), submit("job-2", node_uuid="node-2.")
    build = claimed(running)
    submit("job-3"), submit("job-4", node_uuid="node-2.")
    queued.refresh_from_db()
    build.refresh_from_db()
    assert queued.state == State.CANCELLED
    assert (build.state, build.cancel_requested_by) == (State.RUNNING, "desci-server")
    assert told(queued)[-1].startswith("FAILED Cancelled by desci-server: Superseded by the newer submission job-3.")


def test_claim_succeeds_once_among_many() -> None:
    build_id = str(submit().newest_build().pk)
    claims: list[Build | None] = []

    def claim() -> None:
        claims.append(lifecycle.claim(build_id, worker="w"))
        connection.close()

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claim is not None for claim in claims) == [False] * 7 + [True]


def test_claim_refuses_a_build_that_must_wait() -> None:
    build = submit().newest_build()
    Build.objects.filter(pk=build.pk).update(not_before=timezone.now() + timedelta(hours=1))
    assert lifecycle.claim(str(build.pk), worker="w") is None


def test_failure_is_told_with_cause_and_link() -> None:
    submission = submit()
    build = ended(submission, State.FAILED)
    build.refresh_from_db()
    assert (build.fault, build.cause) == ("manuscript", CAUSE.sentence)
    assert told(submission)[-1] == f"FAILED {CAUSE.sentence} {CAUSE.advice} {submission.link}"


def test_failure_that_is_retried_is_not_told() -> None:
    submission = submit()
    lifecycle.fail(claimed(submission), CAUSE, retry_at=timezone.now() + timedelta(minutes=1))
    newest = submission.newest_build()
    assert (newest.number, newest.automatic, newest.state) == (2, True, State.QUEUED)
    assert [line.split()[0] for line in told(submission)] == ["IN_PROGRESS", "IN_PROGRESS"]


def test_success_is_told_in_the_words_of_the_old_service(settings: Any) -> None:
    submission = submit()
    ended(submission, State.SUCCEEDED)
    assert told(submission)[-1] == "COMPLETED Files exported successfully"


def test_success_is_not_told_where_that_is_turned_off(settings: Any) -> None:
    settings.REPORT_COMPLETED = False
    submission = submit()
    ended(submission, State.SUCCEEDED)
    assert len(told(submission)) == 1


@pytest.mark.parametrize("state", FINAL)
def test_nothing_moves_a_build_that_has_ended(state: State) -> None:
    build = ended(submit(), state)
    before = Build.objects.values().get(pk=build.pk)
    for verb in (lifecycle.succeed, lambda b: lifecycle.fail(b, CAUSE), lifecycle.finish_cancel, lifecycle.lose):
        with pytest.raises(StaleBuild):
            verb(build)
    with pytest.raises(StaleBuild):
        lifecycle.request_cancel(build, actor="ed", reason="late")
    assert lifecycle.claim(str(build.pk), worker="w") is None
    assert Build.objects.values().get(pk=build.pk) == before


def test_cancel_of_a_queued_build_is_at_once() -> None:
    submission = submit()
    lifecycle.request_cancel(submission.newest_build(), actor="ed", reason="Wrong file.")
    assert submission.newest_build().state == State.CANCELLED
    assert told(submission)[-1] == f"FAILED Cancelled by ed: Wrong file. {submission.link}"


def test_cancel_of_a_running_build_is_a_request_first() -> None:
    build = claimed(submit())
    lifecycle.request_cancel(build, actor="ed", reason="Wrong file.")
    build.refresh_from_db()
    assert build.state == State.RUNNING
    assert lifecycle.renew(build) == "Wrong file."
    with pytest.raises(StaleBuild):
        lifecycle.enter_stage(build, "fetch")


def test_nobody_waits_cancels_and_says_nothing_more() -> None:
    submission = submit()
    build = claimed(submission)
    lifecycle.nobody_waits(submission, answer="404: Job not found")
    build.refresh_from_db()
    lifecycle.finish_cancel(build)
    assert set(submission.status_updates.values_list("state", flat=True)) == {StatusUpdate.State.UNWANTED}
    assert submission.newest_build().state == State.CANCELLED


def lapse(build: Build) -> None:
    Build.objects.filter(pk=build.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


def test_a_lost_build_is_queued_once_more_and_a_second_loss_is_final() -> None:
    submission = submit()
    for number in (1, 2):
        build = claimed(submission)
        lapse(build)
        lifecycle.lose(build)
        assert submission.builds.get(number=number).cause_code == "worker-lost"
    assert [b.state for b in submission.builds.all()] == [State.FAILED, State.FAILED]
    assert [line.split()[0] for line in told(submission)] == ["IN_PROGRESS", "IN_PROGRESS", "FAILED"]


def test_a_build_with_a_living_lease_is_not_lost() -> None:
    build = claimed(submit())
    with pytest.raises(StaleBuild):
        lifecycle.lose(build)
    assert lifecycle.renew(build) == ""


def test_a_lost_build_that_was_to_be_cancelled_is_cancelled() -> None:
    submission = submit()
    build = claimed(submission)
    lifecycle.request_cancel(build, actor="ed", reason="x")
    lapse(build)
    lifecycle.lose(build)
    assert [b.state for b in submission.builds.all()] == [State.CANCELLED]


def test_renew_tells_a_worker_that_its_build_was_lost() -> None:
    build = claimed(submit())
    lapse(build)
    lifecycle.lose(build)
    assert lifecycle.renew(build) == "The lease of this build was lost."
    with pytest.raises(StaleBuild):
        lifecycle.pin(build, commit="a" * 40, ref="main", path="myst.yml")


def test_the_end_of_a_build_ends_its_stage() -> None:
    build = claimed(submit())
    lifecycle.enter_stage(build, "fetch")
    lifecycle.fail(build, CAUSE)
    assert Stage.objects.get().state == Stage.State.FAILED


@pytest.mark.parametrize("mode", Mode)
def test_retry_is_refused_while_unfinished(mode: Mode) -> None:
    with pytest.raises(ActRefused):
        lifecycle.retry(submit(), mode, actor="ed")


@pytest.mark.parametrize(("mode", "words"), [(Mode.DELIVER, "no kept exports"), (Mode.SAME_COMMIT, "found its commit")])
def test_retry_is_refused_where_there_is_nothing_to_reuse(mode: Mode, words: str) -> None:
    submission = submit()
    ended(submission, State.FAILED)
    with pytest.raises(ActRefused, match=words):
        lifecycle.retry(submission, mode, actor="ed")


def test_retry_of_the_same_commit_names_the_build_that_found_it() -> None:
    submission = submit()
    build = claimed(submission)
    lifecycle.pin(build, commit="a" * 40, ref="main", path="myst.yml")
    lifecycle.fail(build, Cause(Fault.OUTSIDE, "x", "It was outside."))
    assert lifecycle.retry(submission, Mode.SAME_COMMIT, actor="ed", reason="again").source_id == build.pk
    assert events(submission)[-1] == ("retried (same-commit)", "ed")


@pytest.mark.parametrize(
    "row",
    [
        {"state": "running", "number": 2},
        {"state": "failed", "number": 2, "cause": "x"},
        {"state": "queued", "number": 2, "finished_at": timezone.now()},
        {"state": "queued", "number": 1},
        {"state": "queued", "number": 2},
    ],
    ids=["running without lease", "final without end", "queued with end", "number twice", "two unfinished"],
)
def test_the_database_refuses_what_cannot_be(row: dict[str, Any]) -> None:
    submission = submit()
    with pytest.raises(IntegrityError), transaction.atomic():
        Build.objects.create(submission=submission, requested_by="x", **row)
