"""The pages on which an act is asked for and confirmed: on one submission, or on those that were chosen in the list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods

from builds.acts import BY_NAME, MOST_AT_ONCE, Act, RetryForm, now_happens, perform
from builds.desk.access import VIEW, Missing, desk_page
from builds.desk.submissions import number
from builds.lifecycle import ActRefused
from builds.models import Build, Submission


@dataclass(frozen=True)
class Choice:
    """A submission that an act is asked for, and why it can't be done now; empty where it can."""

    submission: Submission
    build: Build
    refusal: str

    @property
    def seen(self) -> str:
        return f"{self.submission.pk}:{self.build.number}"


@require_http_methods(["GET", "HEAD", "POST"])
@desk_page(VIEW)
def act_on_one(request: HttpRequest, pk: int, name: str) -> HttpResponse:
    """Asks, and, when confirmed, acts and leads back to the submission's page."""
    act = _act(request, name)
    back = reverse("desk:submission", args=[pk])
    return _ask_or_act(request, act, [pk], back=back)


@require_http_methods(["GET", "HEAD", "POST"])
@desk_page(VIEW)
def act_on_many(request: HttpRequest) -> HttpResponse:
    """The same for those chosen in the list, which it leads back to."""
    asked = request.POST if request.method == "POST" else request.GET
    act = _act(request, asked.get("act", ""))
    ids = [pk for text in asked.getlist("id") if (pk := number(text)) is not None]
    back = _back(request)
    if not ids or len(ids) > MOST_AT_ONCE:
        problem = (
            f"At most {MOST_AT_ONCE} submissions can be chosen at once." if ids else "Choose a submission first, by its box."
        )
        messages.warning(request, f"{problem} Nothing was done.")
        return redirect(back)
    return _ask_or_act(request, act, ids, back=back)


def _act(request: HttpRequest, name: str) -> Act:
    """The act called so, if the reader may do it."""
    act = BY_NAME.get(name)
    if act is None:
        raise Http404
    if not request.user.has_perm(act.permission):
        raise Missing(act.permission)
    return act


def _back(request: HttpRequest) -> str:
    """The list with its filters, if the reader comes from there."""
    address = request.POST.get("back") or request.headers.get("Referer", "")
    listed = reverse("desk:submissions")
    if url_has_allowed_host_and_scheme(address, {request.get_host()}, require_https=request.is_secure()):
        path = address.partition(request.get_host())[2] or address
        return path if path.partition("?")[0] == listed else listed
    return listed


def _ask_or_act(request: HttpRequest, act: Act, ids: Sequence[int], *, back: str) -> HttpResponse:
    chosen = _chosen(act, ids)
    if not chosen:
        raise Http404
    form = act.form(request.POST if request.method == "POST" else None)
    if form.is_valid():
        seen = dict(item.split(":", 1) for item in request.POST.getlist("seen") if ":" in item)
        _do(request, act, chosen, answer=form.cleaned_data, seen=seen)
        return redirect(back)
    if isinstance(form, RetryForm) and not form.is_bound and len(chosen) == 1:
        form.offer(chosen[0].submission)
    return _ask(request, act, chosen, form=form, back=back)


def _chosen(act: Act, ids: Sequence[int]) -> list[Choice]:
    newest: dict[int, Build] = {}
    for build in Build.objects.filter(submission__in=ids).defer("warnings").select_related("submission").order_by("number"):
        newest[build.submission_id] = build
    return [Choice(newest[pk].submission, newest[pk], act.refusal(newest[pk])) for pk in dict.fromkeys(ids) if pk in newest]


def _ask(request: HttpRequest, act: Act, chosen: list[Choice], *, form: forms.Form, back: str) -> HttpResponse:
    context: dict[str, Any] = {
        "act": act,
        "form": form,
        "possible": [choice for choice in chosen if not choice.refusal],
        "refused": [choice for choice in chosen if choice.refusal],
        "one": chosen[0] if len(chosen) == 1 else None,
        "back": back,
    }
    return render(request, "desk/act.html", context, status=400 if form.is_bound else 200)


def _do(request: HttpRequest, act: Act, chosen: list[Choice], *, answer: dict[str, Any], seen: dict[str, str]) -> None:
    """Act on each, and say at once what happens now; of those that refuse, why."""
    done = []
    for choice in chosen:
        try:
            actor, looked_at = request.user.get_username(), number(seen.get(str(choice.submission.pk)))
            perform(act, choice.submission, answer, actor=actor, seen=looked_at)
        except ActRefused as refusal:
            messages.warning(request, f"{choice.submission}: {refusal} Nothing was changed." if len(chosen) > 1 else str(refusal))
        else:
            done.append(choice.submission)
    if len(done) == 1:
        messages.success(request, f"{act.words}: done. {now_happens(act, done[0])}")
    elif done:
        messages.success(request, f"{len(done)} submissions: {act.done}.")
