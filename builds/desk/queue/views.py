"""The queue page and its actions for admins: pause, drain and resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from builds.desk.access import LIVE_HEADER, StaffRequest, desk_page
from builds.desk.queue import state
from builds.lifecycle import ActionRefused, pausing

PAUSE = "builds.pause_queue"
DRAIN = "builds.drain_queue"


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=500,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Kept in the history and shown to everybody on the queue page.",
    )


@dataclass(frozen=True)
class Action:
    """An action on the queue, with its question for confirmation and its success message."""

    name: str
    perform: Callable[..., None]
    permission: str
    question: str
    consequence: str
    done: str


PAUSE_ACTION = Action(
    "pause",
    pausing.pause,
    PAUSE,
    "Pause the queue?",
    "Submissions are still accepted, but no build starts until somebody resumes the queue. Running builds finish normally.",
    "The queue is paused. No build starts until it is resumed.",
)
DRAIN_ACTION = Action(
    "drain",
    pausing.drain,
    DRAIN,
    "Drain the queue?",
    "No new build starts. Running builds finish normally. The queue page says when nothing is running; then you can stop or update "
    "the workers. Submissions are still accepted.",
    "The queue is being drained. This page says when nothing is running.",
)
RESUME_ACTION = Action(
    "resume",
    pausing.resume,
    PAUSE,
    "Resume the queue?",
    "Waiting builds start immediately, in their order.",
    "The queue is resumed. Builds start again.",
)


@require_safe
@desk_page()
def queue_page(request: StaffRequest) -> HttpResponse:
    """The whole page, or only the part that changes if its script asks."""
    template = "desk/_queue.html" if request.headers.get(LIVE_HEADER) else "desk/queue.html"
    return render(request, template, {"queue": state.read()})


def action_view(action: Action) -> Callable[..., HttpResponse]:
    """A view that asks for a reason and then performs the action. A second press is refused with a message."""

    @desk_page(action.permission)
    def view(request: StaffRequest) -> HttpResponse:
        form = ReasonForm(request.POST or None)
        form.fields["reason"].required = action is not RESUME_ACTION
        if request.method == "POST" and form.is_valid():
            _perform(request, action, form.cleaned_data["reason"])
            return redirect("desk:queue")
        context = {"action": action, "form": form, "running": len(state.read().running)}
        return render(request, "desk/queue_action.html", context, status=400 if form.is_bound else 200)

    return view  # type: ignore[return-value]  # a page is an HttpResponse


def _perform(request: StaffRequest, action: Action, reason: str) -> None:
    try:
        action.perform(actor=request.user.get_username(), reason=reason)
    except ActionRefused as refusal:
        messages.warning(request, str(refusal))
    else:
        messages.success(request, action.done)


pause_queue, drain_queue, resume_queue = map(action_view, (PAUSE_ACTION, DRAIN_ACTION, RESUME_ACTION))
