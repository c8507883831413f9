"""What staff may do with a submission, wherever they do it: on the desk's pages or in the admin.

The verbs of :mod:`builds.lifecycle` decide what a state allows. Here an act gets its words, its form, and the check that it is done to
what was seen when it was chosen: pressed twice, or by two people, it happens once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.db import transaction

from builds import lifecycle
from builds.lifecycle import ActRefused, StaleBuild
from builds.models import UNFINISHED, Build, Mode, State, Submission
from builds.outbox_models import StatusUpdate

# More at once is an accident rather than a wish.
MOST_AT_ONCE = 200

NO_REASON = "No reason given."
MODES = (
    (Mode.LATEST, "Build the newest commit of the branch"),
    (Mode.SAME_COMMIT, "Build the same commit as before"),
    (Mode.CLEAN, "Build the newest commit, and reuse nothing that was kept"),
    (Mode.DELIVER, "Do not build: deliver the exports that are kept"),
)


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=500,
        label="Why",
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Kept in the history, for whoever asks later.",
        error_messages={"required": "Say why, in a few words."},
    )


class OptionalReasonForm(ReasonForm):
    reason = forms.CharField(
        max_length=500,
        label="Why (may stay empty)",
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Kept in the history, for whoever asks later.",
    )


class RetryForm(OptionalReasonForm):
    mode = forms.ChoiceField(choices=MODES, widget=forms.RadioSelect, initial=Mode.LATEST, label="What is built")
    field_order = ("mode", "reason")

    def offer(self, submission: Submission) -> None:
        """Only the modes for which there is something to reuse. All of them are taken: the verb says what is missing."""
        offered = [(mode, words) for mode, words in MODES if not nothing_to_reuse(submission, mode)]
        cast(forms.ChoiceField, self.fields["mode"]).choices = offered


@dataclass(frozen=True)
class Act:
    """An act on one submission. ``verb`` gets it, the answered form and who acts; it raises ActRefused where it can't be done."""

    name: str
    words: str
    done: str
    consequence: str
    form: type[forms.Form]
    verb: Callable[[Submission, dict[str, Any], str], object]
    refusal: Callable[[Build], str]
    destroys: bool = False

    @property
    def permission(self) -> str:
        return f"builds.{self.name}_submission"


def _retry(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    lifecycle.retry(submission, Mode(answer["mode"]), actor=actor, reason=answer["reason"])


def _deliver(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    lifecycle.retry(submission, Mode.DELIVER, actor=actor, reason=answer["reason"])


def _cancel(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    build = submission.newest_build()
    if refusal := not_to_be_cancelled(build):
        raise ActRefused(refusal)
    try:
        lifecycle.request_cancel(build, actor=actor, reason=answer["reason"])
    except StaleBuild as stale:
        raise ActRefused("It has ended already; there is nothing to cancel.") from stale


def _push(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    newest = submission.status_updates.order_by("-id").first()
    if newest is None:
        raise ActRefused("It has no status update.")
    lifecycle.push(newest, actor=actor, reason=answer["reason"])


# --- why an act makes no sense now, for a page that offers it; the verb is asked all the same


def not_to_be_retried(build: Build) -> str:
    return f"It is {build.state} already; cancel it first, or wait for its end." if build.state in UNFINISHED else ""


def not_to_be_delivered(build: Build) -> str:
    return not_to_be_retried(build) or nothing_to_reuse(build.submission, Mode.DELIVER)


def nothing_to_reuse(submission: Submission, mode: Mode) -> str:
    try:
        lifecycle.retry_source(submission, mode)
    except ActRefused as refusal:
        return str(refusal)
    return ""


def not_to_be_cancelled(build: Build) -> str:
    if build.state not in UNFINISHED:
        return f"It has ended already ({build.state}); there is nothing to cancel."
    return f"It is being cancelled already: {build.cancel_requested_by} asked for it." if build.cancel_requested_at else ""


def not_to_be_pushed(build: Build) -> str:
    newest = StatusUpdate.objects.filter(submission=build.submission_id).order_by("-id").first()
    if newest and newest.state == StatusUpdate.State.PENDING:
        return ""
    return "Every status update is settled: desci-server has it, or nobody waits for it any more."


RETRY = Act(
    "retry",
    "Retry",
    "queued for a new attempt",
    "A new attempt is queued. The ones before keep their logs and exports. desci-server hears that it is in progress again.",
    RetryForm,
    _retry,
    not_to_be_retried,
)
CANCEL = Act(
    "cancel",
    "Cancel",
    "cancelled, or being cancelled",
    "What waits is cancelled at once. What runs is stopped, its work so far is thrown away, and it is shown as cancelled once "
    "nothing of it runs any more. desci-server hears that it failed.",
    ReasonForm,
    _cancel,
    not_to_be_cancelled,
    destroys=True,
)
DELIVER = Act(
    "deliver",
    "Deliver again",
    "queued for delivery",
    "The exports that are kept are delivered to desci-server again, without a new build.",
    OptionalReasonForm,
    _deliver,
    not_to_be_delivered,
)
PUSH = Act(
    "push",
    "Send status update again",
    "told to desci-server as soon as it answers",
    "What desci-server has not taken yet is sent now, instead of when its next try is due.",
    OptionalReasonForm,
    _push,
    not_to_be_pushed,
)
ACTS = (RETRY, CANCEL, DELIVER, PUSH)
BY_NAME = {act.name: act for act in ACTS}


@transaction.atomic
def perform(act: Act, submission: Submission, answer: dict[str, Any], *, actor: str, seen: int | None = None) -> None:
    """Do an act, if the newest build still has the number that was ``seen`` when it was chosen.

    Raises:
        ActRefused: it has another, or the state does not allow the act. Nothing is changed.
    """
    Submission.objects.select_for_update().get(pk=submission.pk)
    newest = submission.newest_build()
    if seen is not None and newest.number != seen:
        raise ActRefused(f"Attempt {newest.number} was queued meanwhile by {newest.requested_by}. Look at it first.")
    act.verb(submission, answer, actor)


def now_happens(act: Act, submission: Submission) -> str:
    """What happens with a submission after an act on it, as a sentence."""
    if act is PUSH:
        return "desci-server is told as soon as it answers."
    build = submission.newest_build()
    if build.state == State.QUEUED:
        return f"Attempt {build.number} waits for a worker."
    if build.state == State.RUNNING and build.cancel_requested_at:
        return f"Attempt {build.number} is being stopped; it is shown as cancelled once nothing of it runs any more."
    if build.state == State.RUNNING:
        return f"Attempt {build.number} is running."
    return f"Attempt {build.number} is {build.state}."
