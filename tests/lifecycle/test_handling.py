"""What the desk does with a submission: who handles it, when it is put away, and when it comes back."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.utils import timezone

from builds import lifecycle
from builds.lifecycle import ActionRefused
from builds.models import Event, EventKind, Handling, HandlingState, Mode, State, Submission
from builds.record.erasure import ERASED, erase_account, erase_submission
from builds.staff.roles import EDITORS
from tests.lifecycle.helpers import CAUSE, claimed, ended, submit

pytestmark = pytest.mark.django_db
TODAY = timezone.now().date()


@pytest.fixture
def ann() -> User:
    user = User.objects.create_user("ann")
    user.groups.add(Group.objects.get(name=EDITORS))
    return user


def failed(job_id: str = "job-1", **changes: Any) -> Submission:
    return ended(submit(job_id, **changes), State.FAILED).submission


def state(submission: Submission) -> tuple[bool, str]:
    """Whether it is put away, and why."""
    submission.refresh_from_db()
    row = Handling.objects.filter(submission=submission).first()
    return submission.put_away, row.state if row else "-"


def newest_event(submission: Submission) -> tuple[str, str, str]:
    return submission.events.values_list("kind", "actor", "reason").latest("id")


def test_a_failure_is_untouched_until_a_person_touches_it() -> None:
    assert state(failed()) == (False, "-")


def test_one_person_takes_it_and_another_does_not_take_it_away(ann: User) -> None:
    submission, ben = failed(), User.objects.create_user("ben")
    lifecycle.take(submission, ann)
    with pytest.raises(ActionRefused, match="ann is already handling it"):
        lifecycle.take(submission, ben)
    lifecycle.give(submission, ben, actor="ann")
    assert newest_event(submission) == ("given to", "ann", "ben")
    assert Handling.objects.get().handler == ben
    lifecycle.drop(submission, actor="ben")
    with pytest.raises(ActionRefused, match="Nobody handles it"):
        lifecycle.drop(submission, actor="ben")
    assert state(submission) == (False, "")


@pytest.mark.parametrize("why", [HandlingState.WAITING, HandlingState.ASIDE, HandlingState.DONE])
def test_it_is_put_away_and_brought_back(why: HandlingState) -> None:
    submission = failed()
    lifecycle.put_away(submission, why, actor="ann", until=TODAY if why == HandlingState.ASIDE else None, reason="So.")
    assert state(submission) == (True, why)
    assert newest_event(submission)[2] == (f"Until {TODAY}. So." if why == HandlingState.ASIDE else "So.")
    lifecycle.bring_back(submission, actor="ben")
    assert state(submission) == (False, "")
    with pytest.raises(ActionRefused, match="not put away"):
        lifecycle.bring_back(submission, actor="ben")


def test_a_retry_brings_it_back() -> None:
    submission = failed()
    lifecycle.put_away(submission, HandlingState.DONE, actor="ann")
    lifecycle.retry(submission, Mode.LATEST, actor="ann")
    assert state(submission) == (False, "")


def test_it_is_not_put_away_before_its_attempt_and_automatic_retries_have_ended() -> None:
    submission = submit()
    build = claimed(submission)
    for now in ("running", "queued"):
        with pytest.raises(ActionRefused, match=f"It is still {now}"):
            lifecycle.put_away(submission, HandlingState.DONE, actor="ann")
        if now == "running":
            lifecycle.fail(build, CAUSE, retry_at=timezone.now())
    assert state(submission) == (False, "-")


def test_a_failure_is_put_away_once_a_later_submission_of_its_node_succeeds() -> None:
    first, other = failed("1"), failed("other", node_uuid="other.")
    second = submit("2")
    assert state(first) == (False, "-")
    ended(second, State.SUCCEEDED)
    assert (state(first), state(other), state(second)) == ((True, "-"), (False, "-"), (False, "-"))


def test_failures_from_before_the_upgrade_are_put_away_too() -> None:
    first, other = failed("1"), failed("other", node_uuid="other.")
    ended(submit("2"), State.SUCCEEDED)
    third = failed("3")
    Submission.objects.update(put_away=False)
    import_module("builds.migrations.0026_needs_me").put_away(apps, None)
    assert (state(first), state(other), state(third)) == ((True, "-"), (False, "-"), (False, "-"))


def test_a_success_puts_nothing_away_that_came_later() -> None:
    first, second = failed("1"), failed("2")
    lifecycle.retry(first, Mode.LATEST, actor="ann")
    ended(first, State.SUCCEEDED)
    assert state(second) == (False, "-")


def test_the_author_s_new_submission_brings_back_what_waited_for_the_author(ann: User) -> None:
    waits, aside = failed("1"), failed("2")
    lifecycle.take(waits, ann)
    lifecycle.put_away(waits, HandlingState.WAITING, actor="ann")
    lifecycle.put_away(aside, HandlingState.ASIDE, actor="ann", until=TODAY + timedelta(days=2))
    new = submit("3")
    assert (state(waits), state(aside)) == ((False, ""), (True, "aside"))
    assert newest_event(waits) == ("back on the desk", "desci-server", "The author has submitted again.")
    assert Handling.objects.get(submission=new).handler == ann
    assert newest_event(new) == ("given to", "jobsite", "ann")
    ended(new, State.SUCCEEDED)
    assert (state(waits), state(aside), state(new)) == ((True, "done"), (True, "done"), (False, ""))
    assert Handling.objects.get(submission=waits).set_by == "jobsite"


@pytest.mark.parametrize("why", [HandlingState.OPEN, HandlingState.WAITING, HandlingState.ASIDE])
def test_a_success_that_somebody_handles_is_settled_by_the_next_one(ann: User, why: HandlingState) -> None:
    with_problems, untouched = (ended(submit(job_id), State.SUCCEEDED).submission for job_id in ("1", "2"))
    lifecycle.take(with_problems, ann)
    if why:
        lifecycle.put_away(
            with_problems, why, actor="ann", until=TODAY + timedelta(days=2) if why == HandlingState.ASIDE else None
        )
    new = submit("3")
    assert state(with_problems) == ((True, "aside") if why == HandlingState.ASIDE else (False, ""))
    ended(new, State.SUCCEEDED)
    assert (state(with_problems), state(untouched), state(new)) == ((True, "done"), (False, "-"), (False, ""))


@pytest.mark.parametrize("why", ["closed", "no right"])
def test_nobody_gets_a_submission_who_may_not_handle_it_any_more(ann: User, why: str) -> None:
    lifecycle.take(failed("1"), ann)
    User.objects.update(is_active=why != "closed")
    if why == "no right":
        ann.groups.clear()
    assert not Handling.objects.filter(submission=submit("2")).exists()


def test_a_submission_of_another_node_brings_nothing_back() -> None:
    waits = failed()
    lifecycle.put_away(waits, HandlingState.WAITING, actor="ann")
    submit("2", node_uuid="other.")
    assert state(waits) == (True, "waiting")


def test_what_is_set_aside_comes_back_on_its_day() -> None:
    today, tomorrow = failed("1"), failed("2", node_uuid="other.")
    for submission, days in ((today, 0), (tomorrow, 1)):
        lifecycle.put_away(submission, HandlingState.ASIDE, actor="ann", until=TODAY + timedelta(days=days))
    lifecycle.wake_due()
    assert (state(today), state(tomorrow)) == ((False, ""), (True, "aside"))
    assert newest_event(today) == ("back on the desk", "jobsite", "The date has come.")


def test_an_erased_account_leaves_no_name(ann: User) -> None:
    submission = failed()
    lifecycle.take(submission, ann)
    lifecycle.put_away(submission, HandlingState.DONE, actor="ann")
    lifecycle.give(submission, ann, actor="ben")
    lifecycle.add_note(submission, "The author rang.", actor="ann")
    erase_account(ann)
    handling = Handling.objects.get()
    assert (handling.handler, handling.set_by) == (None, ERASED)
    assert not [event for event in Event.objects.all() if "ann" in (event.actor, event.reason)]
    assert Event.objects.get(kind=EventKind.NOTE).reason == "The author rang."


def test_an_erased_submission_takes_its_notes_along(ann: User) -> None:
    submission = failed()
    lifecycle.take(submission, ann)
    lifecycle.add_note(submission, "The author rang.", actor="ann")
    submission.status_updates.update(state="received")
    erase_submission(submission)
    assert not Handling.objects.exists()
    assert not Event.objects.exists()
