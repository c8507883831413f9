"""The pages on which an action is confirmed, on one submission or on those selected in the list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods

from builds.desk.access import VIEW, MissingPermission, StaffRequest, desk_page
from builds.desk.submissions.filters import Filters
from builds.desk.submissions.listing import parse_number
from builds.lifecycle import ActionRefused
from builds.models import Build, Submission
from builds.staff import actions, handling
from builds.staff.actions import MAX_AT_ONCE, Action, RetryForm, describe_next, perform

BY_NAME = {**actions.BY_NAME, **handling.BY_NAME}


@dataclass(frozen=True)
class Choice:
    """A selected submission. ``refusal`` says why the action is not possible now; it is empty when it is."""

    submission: Submission
    build: Build
    refusal: str

    @property
    def seen(self) -> str:
        return f"{self.submission.pk}:{self.build.number}"


@require_http_methods(["GET", "HEAD", "POST"])
@desk_page(VIEW)
def act_on_one(request: HttpRequest, pk: int, name: str) -> HttpResponse:
    """Ask for confirmation. Once confirmed, perform the action and redirect to the submission's page."""
    action = _get_action(request, name)
    back = reverse("desk:submission", args=[pk])
    return _confirm_or_perform(request, action, [pk], back=back)


@require_http_methods(["GET", "HEAD", "POST"])
@desk_page(VIEW)
def act_on_many(request: StaffRequest) -> HttpResponse:
    """The same for submissions selected in the list, or all that match its filters; redirects back to the list."""
    asked = request.POST if request.method == "POST" else request.GET
    action = _get_action(request, asked.get("act", ""))
    # The confirmation is posted to its own address. Act on those that it named, not on those that match by then.
    if request.method != "POST" and "all" in request.GET:
        ids = _find_matching(request)
    else:
        ids = [pk for text in asked.getlist("id") if (pk := parse_number(text)) is not None]
    back = _find_list_address(request)
    if not ids or len(ids) > MAX_AT_ONCE:
        problem = f"Select at most {MAX_AT_ONCE} submissions at once." if ids else "Select a submission first."
        messages.warning(request, f"{problem} Nothing was changed.")
        return redirect(back)
    return _confirm_or_perform(request, action, ids, back=back)


def _find_matching(request: StaffRequest) -> list[int]:
    """The newest submissions that match the filters, as many as an action may have at once."""
    page = Filters(QueryDict(request.GET.get("query", "")), request.user).page(size=MAX_AT_ONCE)
    if page.older:
        messages.warning(request, f"More than {MAX_AT_ONCE} submissions match. These are the newest {MAX_AT_ONCE}.")
    return page.ids


def _get_action(request: HttpRequest, name: str) -> Action:
    """The action with this name, if the user has the permission for it."""
    action = BY_NAME.get(name)
    if action is None:
        raise Http404
    if not request.user.has_perm(action.permission):
        raise MissingPermission(action.permission)
    return action


def _find_list_address(request: HttpRequest) -> str:
    """The address of the list, with its filters if the reader came from there, or of the page with failures where the reader was."""
    address = request.POST.get("back") or request.headers.get("Referer", "")
    listed = reverse("desk:submissions")
    if not url_has_allowed_host_and_scheme(address, {request.get_host()}, require_https=request.is_secure()):
        return listed
    path = address.partition(request.get_host())[2] or address
    place = path.partition("?")[0]
    is_offer = place == reverse("desk:overview") or place.startswith(reverse("desk:failures"))
    return path if place == listed or is_offer else listed


def _confirm_or_perform(request: HttpRequest, action: Action, ids: Sequence[int], *, back: str) -> HttpResponse:
    chosen = _make_choices(action, ids)
    if not chosen:
        raise Http404
    form = action.form(request.POST if request.method == "POST" else None)
    if form.is_valid():
        seen = dict(item.split(":", 1) for item in request.POST.getlist("seen") if ":" in item)
        _perform(request, action, chosen, answer=form.cleaned_data, seen=seen)
        return redirect(back)
    if isinstance(form, RetryForm) and not form.is_bound and len(chosen) == 1:
        form.offer(chosen[0].submission)
    return _render_confirmation(request, action, chosen, form=form, back=back)


def _make_choices(action: Action, ids: Sequence[int]) -> list[Choice]:
    newest: dict[int, Build] = {}
    builds = Build.objects.filter(submission__in=ids).defer("warnings").select_related("submission__handling__handler")
    for build in builds.order_by("number"):
        newest[build.submission_id] = build
    return [Choice(newest[pk].submission, newest[pk], action.refusal(newest[pk])) for pk in dict.fromkeys(ids) if pk in newest]


def _render_confirmation(
    request: HttpRequest, action: Action, chosen: list[Choice], *, form: forms.Form, back: str
) -> HttpResponse:
    context: dict[str, Any] = {
        "action": action,
        "form": form,
        "possible": [choice for choice in chosen if not choice.refusal],
        "refused": [choice for choice in chosen if choice.refusal],
        "one": chosen[0] if len(chosen) == 1 else None,
        "back": back,
    }
    return render(request, "desk/action.html", context, status=400 if form.is_bound else 200)


def _perform(request: HttpRequest, action: Action, chosen: list[Choice], *, answer: dict[str, Any], seen: dict[str, str]) -> None:
    """Perform the action on each submission and report what happens next, or why it was refused."""
    done = []
    for choice in chosen:
        try:
            actor, looked_at = request.user.get_username(), parse_number(seen.get(str(choice.submission.pk)))
            perform(action, choice.submission, answer, actor=actor, seen=looked_at)
        except ActionRefused as refusal:
            messages.warning(request, f"{choice.submission}: {refusal} Nothing was changed." if len(chosen) > 1 else str(refusal))
        else:
            done.append(choice.submission)
    if len(done) == 1:
        messages.success(request, f"{action.label}: done. {describe_next(action, done[0])}")
    elif done:
        messages.success(request, f"{len(done)} submissions: {action.done}.")
