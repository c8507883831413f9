"""What the desk does with a submission: notes, who handles it, and whether it is put away, so that the list *Needs me* can become empty."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from builds.lifecycle.rows import DESCI_SERVER, JOBSITE, ActionRefused, lock, lock_node, record_event
from builds.models import UNFINISHED, Build, EventKind, Handling, HandlingState, State, Submission, clock

EVENTS = {
    HandlingState.WAITING: EventKind.WAITING,
    HandlingState.ASIDE: EventKind.SET_ASIDE,
    HandlingState.DONE: EventKind.DEALT_WITH,
}
DATE_HAS_COME = "The date has come."
# Without the new submission's job id: nothing of that may be left when it is erased.
SUBMITTED_AGAIN = "The author has submitted again."
HANDLE = "builds.handle_submission"
# Whether a submission of the node has a row of its handling.
IS_HANDLED = (
    "EXISTS (SELECT 1 FROM builds_submission JOIN builds_handling ON builds_handling.submission_id = builds_submission.id"
    " WHERE builds_submission.node_uuid = %s)"
)
WOKEN_AT_ONCE = 100


@transaction.atomic
def add_note(submission: Submission, text: str, *, actor: str) -> None:
    """Keep a note in the history."""
    lock(submission.pk)
    record_event(submission.newest_build(), EventKind.NOTE, actor, text)


@transaction.atomic
def take(submission: Submission, user: User) -> None:
    """Let ``user`` handle the submission.

    Raises:
        ActionRefused: somebody handles it already.
    """
    lock(submission.pk)
    if handler := handler_of(submission):
        raise ActionRefused(f"{handler.username} is already handling it. Assign it instead.")
    _hand(submission, user, EventKind.TAKEN, user.username, "")


@transaction.atomic
def give(submission: Submission, user: User, *, actor: str) -> None:
    """Let ``user`` handle the submission, whoever did before. The event's reason is the user's name and nothing else, so that it can be
    erased."""
    lock(submission.pk)
    _hand(submission, user, EventKind.GIVEN, actor, user.username)


@transaction.atomic
def drop(submission: Submission, *, actor: str) -> None:
    """Let nobody handle the submission.

    Raises:
        ActionRefused: nobody does.
    """
    lock(submission.pk)
    if handler_of(submission) is None:
        raise ActionRefused("Nobody handles it.")
    _hand(submission, None, EventKind.DROPPED, actor, "")


def handler_of(submission: Submission) -> User | None:
    """Who handles the submission."""
    row = Handling.objects.filter(submission=submission).select_related("handler").first()
    return row.handler if row else None


@transaction.atomic
def put_away(submission: Submission, state: HandlingState, *, actor: str, until: date | None = None, reason: str = "") -> None:
    """Take the submission off the list *Needs me*: dealt with, waiting for the author, or set aside until a day (UTC).

    It comes back if a new attempt is asked for or the day comes, and, if it waits, when the author submits the node again.

    Raises:
        ActionRefused: its newest attempt has not ended.
    """
    lock(submission.pk)
    newest = submission.newest_build()
    if refusal := away_refusal(newest):
        raise ActionRefused(refusal)
    _write(submission, state=state, until=until, set_by=actor[:200], set_at=clock.now())
    Submission.objects.filter(pk=submission.pk).update(put_away=True)
    why = " ".join(filter(None, (f"Until {until}." if until else "", reason)))
    record_event(newest, EVENTS[state], actor, why)


def away_refusal(build: Build) -> str:
    """Why a submission with this newest attempt can't be put away; empty if it can. Nobody would see that a running one fails."""
    return f"It is still {build.state}. Put it away once it has ended." if build.state in UNFINISHED else ""


@transaction.atomic
def bring_back(submission: Submission, *, actor: str, reason: str = "") -> None:
    """Put the submission back on the list *Needs me*.

    Raises:
        ActionRefused: it is not put away.
    """
    lock(submission.pk)
    if not reopen(submission):
        raise ActionRefused("It is not put away.")
    record_event(submission.newest_build(), EventKind.BACK, actor, reason)


def reopen(submission: Submission) -> bool:
    """Put the submission back on the desk, in the caller's transaction and without an event. Returns whether it was put away."""
    if not Submission.objects.filter(pk=submission.pk, put_away=True).update(put_away=False):
        return False
    Handling.objects.filter(submission=submission).update(state=HandlingState.OPEN, until=None, set_by="", set_at=clock.now())
    return True


def follow_earlier(submission: Submission) -> None:
    """Called when the author has submitted a node again that the desk has handled before, in the caller's transaction.

    Submissions that wait for the author come back. Whoever handled the newest one handles this one too, if they still may.
    """
    earlier = Handling.objects.filter(submission__node_uuid=submission.node_uuid).exclude(submission=submission)
    for row in earlier.filter(state=HandlingState.WAITING).select_related("submission"):
        bring_back(row.submission, actor=DESCI_SERVER, reason=SUBMITTED_AGAIN)
    newest = earlier.exclude(handler=None).order_by("-submission").select_related("handler").first()
    if newest and newest.handler and newest.handler.has_perm(HANDLE):  # nobody whose account is closed has it
        give(submission, newest.handler, actor=JOBSITE)


def settle_earlier(build: Build) -> None:
    """A build of a node has succeeded: nobody has to look at the node's earlier submissions that have ended.

    An earlier success is on no list unless somebody has handled it, so others are left as they are.
    """
    before = Submission.objects.filter(node_uuid=build.submission.node_uuid, pk__lt=build.submission_id)
    earlier = before.exclude(state__in=UNFINISHED)
    open_rows = Handling.objects.exclude(state=HandlingState.DONE)
    needs_nobody = ~Q(state=State.SUCCEEDED) | Exists(open_rows.filter(submission=OuterRef("pk")))
    earlier.filter(needs_nobody, put_away=False).update(put_away=True)
    handled = open_rows.filter(submission__in=earlier)
    handled.update(state=HandlingState.DONE, until=None, set_by=JOBSITE, set_at=clock.now())


def wake_due() -> None:
    """Bring back submissions that were set aside until a day that has come."""
    due = Handling.objects.filter(state=HandlingState.ASIDE, until__lte=clock.now().date())
    for submission in Submission.objects.filter(pk__in=list(due.values_list("pk", flat=True)[:WOKEN_AT_ONCE])):
        _wake(submission)


@transaction.atomic
def _wake(submission: Submission) -> None:
    lock_node(submission.node_uuid)
    lock(submission.pk)
    # Another reconciler, or a person, may have been first.
    if Handling.objects.filter(submission=submission, state=HandlingState.ASIDE, until__lte=clock.now().date()).exists():
        bring_back(submission, actor=JOBSITE, reason=DATE_HAS_COME)


def _hand(submission: Submission, user: User | None, kind: EventKind, actor: str, reason: str) -> None:
    _write(submission, handler=user)
    record_event(submission.newest_build(), kind, actor, reason)


def _write(submission: Submission, **fields: Any) -> None:
    Handling.objects.update_or_create(submission=submission, defaults=fields)
