"""The actions by which the desk handles a submission: notes, who handles it, and whether it is put away. The admin does not have them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth.models import User
from django.db.models import QuerySet

from builds import lifecycle
from builds.lifecycle import HANDLE
from builds.models import Build, Handling, HandlingState, Submission, clock
from builds.staff.actions import Action, OptionalReasonForm

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
MAX_ASIDE = timedelta(days=730)
MAX_NOTE_CHARACTERS = 5_000

if TYPE_CHECKING:
    UserChoice = forms.ModelChoiceField[User]
else:
    UserChoice = forms.ModelChoiceField


class NoForm(forms.Form):
    """The form of an action that asks for nothing."""


class NoteForm(forms.Form):
    text = forms.CharField(
        max_length=MAX_NOTE_CHARACTERS,
        label="Note",
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="For the staff. Kept in the history. The author does not see it.",
        error_messages={"required": "Write the note."},
    )


class PersonChoice(UserChoice):
    def label_from_instance(self, user: User) -> str:
        full = user.get_full_name()
        return f"{full} ({user.username})" if full else user.username


class GiveForm(forms.Form):
    user = PersonChoice(
        queryset=User.objects.none(),
        label="To",
        empty_label="Choose a person",
        error_messages={
            "required": "Choose a person.",
            "invalid_choice": "This person can't handle submissions. Choose another.",
        },
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["user"].queryset = possible_handlers()  # type: ignore[attr-defined]  # a field of this form


class AsideForm(OptionalReasonForm):
    until = forms.DateField(
        label="Until (UTC)",
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text="On this day it is back on the list “Needs me”.",
        error_messages={"required": "Choose a day.", "invalid": "The day must be a valid date, such as 2026-03-31."},
    )
    field_order = ("until", "reason")

    def clean_until(self) -> date:
        until: date = self.cleaned_data["until"]
        today = clock.now().date()
        if not today < until <= today + MAX_ASIDE:
            raise forms.ValidationError("Choose a day after today, within two years.")
        return until


def possible_handlers() -> QuerySet[User]:
    """The people who may handle submissions."""
    return User.objects.with_perm(HANDLE, backend=MODEL_BACKEND).order_by("username")


def _note(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    lifecycle.add_note(submission, answer["text"].replace("\r\n", "\n"), actor=actor)


def _take(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    lifecycle.take(submission, User.objects.get(username=actor))


def _give(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    lifecycle.give(submission, answer["user"], actor=actor)


def _drop(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    lifecycle.drop(submission, actor=actor)


def _wait(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    lifecycle.put_away(submission, HandlingState.WAITING, actor=actor, reason=answer["reason"])


def _set_aside(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    lifecycle.put_away(submission, HandlingState.ASIDE, actor=actor, until=answer["until"], reason=answer["reason"])


def _deal_with(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    lifecycle.put_away(submission, HandlingState.DONE, actor=actor, reason=answer["reason"])


def _bring_back(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    lifecycle.bring_back(submission, actor=actor)


# --- why an action is not possible now. The verb checks again where it matters.


def never(build: Build) -> str:
    return ""


def take_refusal(build: Build) -> str:
    handler = _known_handler(build)
    return f"{handler.username} is already handling it. Assign it instead." if handler else ""


def drop_refusal(build: Build) -> str:
    return "" if _known_handler(build) else "Nobody handles it."


def _known_handler(build: Build) -> User | None:
    """Who handles the submission. It asks the database only if the caller has not read it with the build."""
    row = getattr(build.submission, "handling", None)
    return row.handler if row else None


def back_refusal(build: Build) -> str:
    return "" if build.submission.put_away else "It is not put away."


def describe(submission: Submission) -> str:
    """Who handles the submission, and whether it is put away, in a sentence."""
    row = Handling.objects.filter(submission=submission).select_related("handler").first()
    who = f"{row.handler.username} handles it" if row and row.handler else "Nobody handles it"
    return f"{who}. It is {row.words}." if row and row.words else f"{who}."


def _action(
    name: str, label: str, done: str, consequence: str, form: type[forms.Form], verb: Any, refusal: Any = never
) -> Action:
    return Action(name, label, done, consequence, form, verb, refusal, needs=HANDLE, describe=describe)


UNTIL_THEN = "It comes back when someone retries it or desci-server submits it again."
NOTE = _action("note", "Add a note", "noted", "The note is kept in the history.", NoteForm, _note)
TAKE = _action("take", "Take it", "yours", "It is on your list “Mine”.", NoForm, _take, take_refusal)
GIVE = _action("give", "Assign", "assigned", "It is on the other person's list “Mine”.", GiveForm, _give)
DROP = _action("drop", "Drop it", "dropped", "Nobody handles it then.", NoForm, _drop, drop_refusal)
WAIT = _action(
    "wait",
    "Wait for the author",
    "waiting for the author",
    "It leaves the list “Needs me” until the author submits the node again.",
    OptionalReasonForm,
    _wait,
    lifecycle.away_refusal,
)
ASIDE = _action(
    "aside",
    "Set aside",
    "set aside",
    f"It leaves the list “Needs me”. {UNTIL_THEN}",
    AsideForm,
    _set_aside,
    lifecycle.away_refusal,
)
DEAL = _action(
    "deal",
    "Dealt with",
    "dealt with",
    f"It leaves the lists “Needs me” and “Mine”. {UNTIL_THEN}",
    OptionalReasonForm,
    _deal_with,
    lifecycle.away_refusal,
)
BACK = _action(
    "back", "Bring it back", "back on the desk", "A failure is on the list “Needs me” again.", NoForm, _bring_back, back_refusal
)
HANDLING = (NOTE, TAKE, GIVE, DROP, WAIT, ASIDE, DEAL, BACK)
BY_NAME = {action.name: action for action in HANDLING}
# What the list offers for several submissions.
FOR_MANY = (TAKE, GIVE, WAIT, ASIDE, DEAL)
