"""The actions of staff on a submission, for the desk's pages and the admin alike.

The verbs of :mod:`builds.lifecycle` decide what a state allows. Here an action gets its texts, its form, and a check that the submission
has not changed since the person chose the action: pressed twice, or by two people, it happens once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.db import transaction

from builds import lifecycle
from builds.lifecycle import ActionRefused, StaleBuild
from builds.models import UNFINISHED, Build, Mode, State, StatusUpdate, Submission

# More at once is probably an accident.
MAX_AT_ONCE = 200

MODES = (
    (Mode.LATEST, "Build the newest commit of the branch"),
    (Mode.SAME_COMMIT, "Build the same commit as before"),
    (Mode.CLEAN, "Build the newest commit from scratch, without caches"),
    (Mode.DELIVER, "Do not build: deliver the kept exports"),
)


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=500,
        label="Why",
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Kept in the history for others to read.",
        error_messages={"required": "Give a reason in a few words."},
    )


class OptionalReasonForm(ReasonForm):
    reason = forms.CharField(
        max_length=500,
        label="Why (optional)",
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Kept in the history for others to read.",
    )


class RetryForm(OptionalReasonForm):
    mode = forms.ChoiceField(choices=MODES, widget=forms.RadioSelect, initial=Mode.LATEST, label="What to build")
    field_order = ("mode", "reason")

    def offer(self, submission: Submission) -> None:
        """Show only the modes that have something to reuse. The form still accepts all: the verb says what is missing."""
        offered = [(mode, label) for mode, label in MODES if not reuse_refusal(submission, mode)]
        cast(forms.ChoiceField, self.fields["mode"]).choices = offered


@dataclass(frozen=True)
class Action:
    """An action on one submission.

    ``verb`` gets the submission, the form's data and the actor, and raises ActionRefused if it is not possible. ``refusal`` says
    beforehand why it is not possible.
    """

    name: str
    label: str
    done: str
    consequence: str
    form: type[forms.Form]
    verb: Callable[[Submission, dict[str, Any], str], object]
    refusal: Callable[[Build], str]
    destroys: bool = False
    needs: str = ""
    """The permission, if it is not the one that is named after the action."""
    describe: Callable[[Submission], str] | None = None
    """What is true of the submission after the action, if that is not the state of its newest attempt."""

    @property
    def permission(self) -> str:
        return self.needs or f"builds.{self.name}_submission"


def _retry(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    lifecycle.retry(submission, Mode(answer["mode"]), actor=actor, reason=answer["reason"])


def _deliver(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    lifecycle.retry(submission, Mode.DELIVER, actor=actor, reason=answer["reason"])


def _cancel(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    build = submission.newest_build()
    if refusal := cancel_refusal(build):
        raise ActionRefused(refusal)
    try:
        lifecycle.request_cancel(build, actor=actor, reason=answer["reason"])
    except StaleBuild as stale:
        raise ActionRefused("It has already ended; there is nothing to cancel.") from stale


def _build_next(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    lifecycle.build_next(submission.newest_build(), actor=actor, reason=answer["reason"])


def _push(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    newest = submission.status_updates.order_by("-id").first()
    if newest is None:
        raise ActionRefused("It has no status update.")
    lifecycle.push(newest, actor=actor, reason=answer["reason"])


# --- why an action is not possible now, for a page that offers it. The verb checks again.


def retry_refusal(build: Build) -> str:
    return f"It is already {build.state}. Cancel it first, or wait until it ends." if build.state in UNFINISHED else ""


def deliver_refusal(build: Build) -> str:
    return retry_refusal(build) or reuse_refusal(build.submission, Mode.DELIVER)


def reuse_refusal(submission: Submission, mode: Mode) -> str:
    """Why a retry in this mode has nothing to reuse; empty if it has, or needs nothing."""
    try:
        lifecycle.retry_source(submission, mode)
    except ActionRefused as refusal:
        return str(refusal)
    return ""


def cancel_refusal(build: Build) -> str:
    if build.state not in UNFINISHED:
        return f"It has already ended ({build.state}); there is nothing to cancel."
    return f"{build.cancel_requested_by} is already cancelling it." if build.cancel_requested_at else ""


def push_refusal(build: Build) -> str:
    newest = StatusUpdate.objects.filter(submission=build.submission_id).order_by("-id").first()
    if newest and newest.state == StatusUpdate.State.PENDING:
        return ""
    return "Every status update is settled: desci-server has received it or no longer wants it."


RETRY = Action(
    "retry",
    "Retry",
    "queued for a new attempt",
    "This queues a new attempt. Earlier attempts keep their logs and exports. desci-server is notified that the submission is in "
    "progress again.",
    RetryForm,
    _retry,
    retry_refusal,
)
CANCEL = Action(
    "cancel",
    "Cancel",
    "cancelled, or being cancelled",
    "A queued build is cancelled at once. A running build is stopped and its results are discarded; it is shown as cancelled once none "
    "of its processes runs. desci-server is notified that it failed.",
    ReasonForm,
    _cancel,
    cancel_refusal,
    destroys=True,
)
DELIVER = Action(
    "deliver",
    "Deliver again",
    "queued for delivery",
    "The kept exports are delivered to desci-server again, without a new build.",
    OptionalReasonForm,
    _deliver,
    deliver_refusal,
)
PUSH = Action(
    "push",
    "Send status update again",
    "sent to desci-server as soon as it answers",
    "Pending status updates are sent now instead of at their next scheduled try.",
    OptionalReasonForm,
    _push,
    push_refusal,
)
BUILD_NEXT = Action(
    "next",
    "Build this next",
    "moved to the front of the queue",
    "It starts before everything else that is queued, as soon as a worker is free, even if its owner has as many builds running as "
    "BUILDS_PER_OWNER allows. If it waits for its next automatic retry, it need not wait any more. Running builds are not stopped.",
    OptionalReasonForm,
    _build_next,
    lifecycle.next_refusal,
    needs="builds.pause_queue",
)
ACTIONS = (RETRY, CANCEL, DELIVER, PUSH, BUILD_NEXT)
BY_NAME = {action.name: action for action in ACTIONS}


@transaction.atomic
def perform(action: Action, submission: Submission, answer: dict[str, Any], *, actor: str, seen: int | None = None) -> None:
    """Perform the action if the newest build still has the number ``seen`` that the person saw. ``answer`` is the form's data.

    Raises:
        ActionRefused: there is a newer build, or the state does not allow the action. Nothing is changed.
    """
    lifecycle.lock_node(submission.node_uuid)
    lifecycle.lock(submission.pk)
    newest = submission.newest_build()
    if seen is not None and newest.number != seen:
        raise ActionRefused(f"{newest.requested_by} has queued attempt {newest.number} in the meantime. Look at it first.")
    action.verb(submission, answer, actor)


def describe_next(action: Action, submission: Submission) -> str:
    """One sentence about what happens with the submission after the action."""
    if action.describe:
        return action.describe(submission)
    if action is PUSH:
        return "desci-server gets the update as soon as it answers."
    build = submission.newest_build()
    if build.state == State.QUEUED:
        return f"Attempt {build.number} waits for a worker."
    if build.state == State.RUNNING and build.cancel_requested_at:
        return f"Attempt {build.number} is being stopped; it is shown as cancelled once none of its processes runs."
    if build.state == State.RUNNING:
        return f"Attempt {build.number} is running."
    return f"Attempt {build.number} is {build.state}."
