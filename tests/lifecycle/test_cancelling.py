"""Cancelling queued, running, unwanted and lost builds."""

from __future__ import annotations

import pytest

from builds import lifecycle
from builds.lifecycle import StaleBuild
from builds.models import State, StatusUpdate
from tests.lifecycle.helpers import claimed, lapse, messages, submit

pytestmark = pytest.mark.django_db(transaction=True)


def test_cancel_of_a_queued_build_is_at_once() -> None:
    submission = submit()
    lifecycle.request_cancel(submission.newest_build(), actor="ed", reason="Wrong file.")
    assert submission.newest_build().state == State.CANCELLED
    assert messages(submission)[-1] == f"FAILED Cancelled by ed: Wrong file. {submission.link}"


def test_cancel_of_a_running_build_is_a_request_first() -> None:
    build = claimed(submit())
    lifecycle.request_cancel(build, actor="ed", reason="Wrong file.")
    build.refresh_from_db()
    assert build.state == State.RUNNING
    assert lifecycle.renew(build) == "Wrong file."
    with pytest.raises(StaleBuild):
        lifecycle.enter_stage(build, "fetch")


def test_an_unwanted_build_is_cancelled_without_further_updates() -> None:
    submission = submit()
    build = claimed(submission)
    lifecycle.mark_unwanted(submission, answer="404: Job not found")
    build.refresh_from_db()
    lifecycle.finish_cancel(build)
    assert set(submission.status_updates.values_list("state", flat=True)) == {StatusUpdate.State.UNWANTED}
    assert submission.newest_build().state == State.CANCELLED


def test_a_lost_build_with_a_cancel_request_is_cancelled() -> None:
    submission = submit()
    build = claimed(submission)
    lifecycle.request_cancel(build, actor="ed", reason="x")
    lapse(build)
    lifecycle.lose(build)
    assert [b.state for b in submission.builds.all()] == [State.CANCELLED]
