"""The queue page, and the acts of admins on it: pause, drain, resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from builds import queue_control
from builds.desk import queue_state
from builds.desk.access import LIVE_HEADER, StaffRequest, desk_page
from builds.lifecycle import ActRefused

PAUSE = "builds.pause_queue"
DRAIN = "builds.drain_queue"


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=500,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Kept in the history, and shown to everybody on this page.",
    )


@dataclass(frozen=True)
class Act:
    """What an admin may do to the queue: how it is asked for, and what is said when it is done."""

    name: str
    verb: Callable[..., None]
    permission: str
    question: str
    consequence: str
    done: str


PAUSE_ACT = Act(
    "pause",
    queue_control.pause,
    PAUSE,
    "Pause the queue?",
    "Submissions are still accepted, but no build starts until somebody resumes the queue. What runs goes on to its end.",
    "The queue is paused. No build starts until it is resumed.",
)
DRAIN_ACT = Act(
    "drain",
    queue_control.drain,
    DRAIN,
    "Drain the queue?",
    "No build starts any more, and what runs goes on to its end. When nothing runs, this page says so: then the workers can be "
    "stopped or updated. Submissions are still accepted.",
    "The queue is being drained. This page says when nothing runs any more.",
)
RESUME_ACT = Act(
    "resume",
    queue_control.resume,
    PAUSE,
    "Resume the queue?",
    "Builds that wait start at once, the oldest first.",
    "The queue is resumed. Builds start again.",
)


@require_safe
@desk_page()
def queue_page(request: StaffRequest) -> HttpResponse:
    """The page; to its script, only what changes on it."""
    template = "desk/_queue.html" if request.headers.get(LIVE_HEADER) else "desk/queue.html"
    return render(request, template, {"queue": queue_state.read()})


def act_view(act: Act) -> Callable[..., HttpResponse]:
    """Asks for a reason, then acts. Pressed twice, the second is told that it is so already."""

    @desk_page(act.permission)
    def view(request: StaffRequest) -> HttpResponse:
        form = ReasonForm(request.POST or None)
        form.fields["reason"].required = act is not RESUME_ACT
        if request.method == "POST" and form.is_valid():
            _do(request, act, form.cleaned_data["reason"])
            return redirect("desk:queue")
        context = {"act": act, "form": form, "running": len(queue_state.read().running)}
        return render(request, "desk/queue_act.html", context, status=400 if form.is_bound else 200)

    return view  # type: ignore[return-value]  # a page is an HttpResponse


def _do(request: StaffRequest, act: Act, reason: str) -> None:
    try:
        act.verb(actor=request.user.get_username(), reason=reason)
    except ActRefused as refusal:
        messages.warning(request, str(refusal))
    else:
        messages.success(request, act.done)


pause, drain, resume = map(act_view, (PAUSE_ACT, DRAIN_ACT, RESUME_ACT))
