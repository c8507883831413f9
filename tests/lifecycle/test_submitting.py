"""Submitting: for the first time, and again in each state."""

from __future__ import annotations

import pytest

from builds import lifecycle
from builds.errors import Cause, Fault
from builds.lifecycle import ActionRefused, JobConflict
from builds.models import Artifact, Build, Event, FrontMatter, Mode, State, Submission
from tests.lifecycle.helpers import claimed, ended, events, messages, submit
from tests.support.kept import folder_of

pytestmark = pytest.mark.django_db(transaction=True)


def test_submit_writes_submission_build_event_and_status_update() -> None:
    submission = submit()
    build = submission.newest_build()
    assert (submission.title, submission.authors) == ("On builds", "Ada (0000-0001)")
    assert (build.number, build.state, build.mode) == (1, State.QUEUED, Mode.LATEST)
    assert events(submission) == [("submitted", "desci-server")]
    assert messages(submission) == [f"IN_PROGRESS Queued. {submission.link}"]
    assert FrontMatter.objects.get().exports == ("meca",)


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING])
def test_submit_again_starts_nothing_while_unfinished(state: State) -> None:
    submission = submit()
    if state == State.RUNNING:
        claimed(submission)
    submit()
    assert submission.builds.count() == 1
    assert len(messages(submission)) == 1


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
    folder_of(build).mkdir(parents=True)
    (folder_of(build) / "1-pdf.pdf").write_bytes(b"%PDF")
    Artifact.objects.create(build=build, role="pdf", name="a.pdf", file="1-pdf.pdf", size=4, sha256="0" * 64, position=1)


def test_submit_again_delivers_again_after_success() -> None:
    submission = submit()
    build = ended(submission, State.SUCCEEDED)
    keep_an_export(build)
    submit()
    newest = submission.newest_build()
    assert (newest.mode, newest.source_id) == (Mode.DELIVER, build.pk)


def test_submit_again_builds_the_same_commit_if_the_exports_are_gone() -> None:
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
    assert messages(queued)[-1].startswith("FAILED Cancelled by desci-server: Superseded by the newer submission job-3.")


@pytest.mark.parametrize("mode", Mode)
def test_retry_is_refused_while_unfinished(mode: Mode) -> None:
    with pytest.raises(ActionRefused):
        lifecycle.retry(submit(), mode, actor="ed")


@pytest.mark.parametrize(("mode", "words"), [(Mode.DELIVER, "no kept exports"), (Mode.SAME_COMMIT, "found its commit")])
def test_retry_is_refused_if_there_is_nothing_to_reuse(mode: Mode, words: str) -> None:
    submission = submit()
    ended(submission, State.FAILED)
    with pytest.raises(ActionRefused, match=words):
        lifecycle.retry(submission, mode, actor="ed")


def test_retry_of_the_same_commit_names_the_build_that_found_it() -> None:
    submission = submit()
    build = claimed(submission)
    lifecycle.pin(build, commit="a" * 40, ref="main", path="myst.yml")
    lifecycle.fail(build, Cause(Fault.OUTSIDE, "x", "It was outside."))
    assert lifecycle.retry(submission, Mode.SAME_COMMIT, actor="ed", reason="again").source_id == build.pk
    assert events(submission)[-1] == ("retried (same-commit)", "ed")
