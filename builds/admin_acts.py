"""The acts of the desk on the admin's lists and pages: chosen, confirmed with a reason, and done once for each submission.

The verbs decide what a state allows; what one of them refuses is said of that submission, and the others are done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from builds import lifecycle
from builds.admin_columns import visible
from builds.lifecycle import ActRefused, StaleBuild
from builds.models import UNFINISHED, Build, Mode, StatusUpdate, Submission

# More at once is an accident rather than a wish.
MOST_AT_ONCE = 200
SHOWN = 50


class ReasonForm(forms.Form):
    reason = forms.CharField(max_length=500, widget=forms.Textarea(attrs={"rows": 3}), help_text="Kept in the history.")


class OptionalReasonForm(ReasonForm):
    reason = forms.CharField(
        max_length=500, required=False, widget=forms.Textarea(attrs={"rows": 3}), help_text="Kept in the history."
    )


class RetryForm(OptionalReasonForm):
    mode = forms.ChoiceField(choices=Mode.choices, widget=forms.RadioSelect, initial=Mode.LATEST, label="What is reused")
    field_order = ("mode", "reason")


@dataclass(frozen=True)
class Act:
    """An act on one submission. ``verb`` gets it, the answered form and who acts; it raises ActRefused where it can't be done."""

    name: str
    words: str
    done: str
    consequence: str
    form: type[forms.Form]
    verb: Callable[[Submission, dict[str, Any], str], None]
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
    if build.cancel_requested_at and build.state in UNFINISHED:
        raise ActRefused(f"It is being cancelled already: {build.cancel_requested_by} asked for it.")
    try:
        lifecycle.request_cancel(build, actor=actor, reason=answer["reason"])
    except StaleBuild as stale:
        raise ActRefused("It has ended already.") from stale


def _push(submission: Submission, answer: dict[str, Any], actor: str) -> None:
    newest = submission.status_updates.order_by("-id").first()
    if newest is None:
        raise ActRefused("It has no status update.")
    lifecycle.push(newest, actor=actor, reason=answer["reason"])


ACTS = (
    Act(
        "retry",
        "Retry …",
        "queued again",
        "Each is queued for a new attempt. Those that are queued or running already are left alone.",
        RetryForm,
        _retry,
    ),
    Act(
        "cancel",
        "Cancel …",
        "cancelled, or being cancelled",
        "What waits is cancelled at once; what runs is stopped, and its work so far is thrown away. desci-server hears that it failed.",
        ReasonForm,
        _cancel,
        destroys=True,
    ),
    Act(
        "deliver",
        "Deliver again …",
        "queued for delivery",
        "The exports that are kept are delivered again, without a new build.",
        OptionalReasonForm,
        _deliver,
    ),
    Act(
        "push",
        "Send the status update again …",
        "told to desci-server as soon as it answers",
        "What desci-server has not taken yet is sent at once, instead of when its next try is due.",
        OptionalReasonForm,
        _push,
    ),
)

CHOOSE_ALL = format_html('<input type="checkbox" id="action-toggle" aria-label="{}">', "Choose all of this page")

if TYPE_CHECKING:
    AnyModelAdmin = admin.ModelAdmin[Any]
else:
    AnyModelAdmin = object


class Acting(AnyModelAdmin):
    """For admins whose rows lead to submissions: the acts, on the list and on each page, for those who have the right."""

    acts: tuple[Act, ...] = ACTS
    actions_selection_counter = True

    def submissions_of(self, rows: QuerySet[Any]) -> QuerySet[Submission]:
        raise NotImplementedError

    @admin.display(description=CHOOSE_ALL)
    def action_checkbox(self, obj: Any) -> SafeString:
        """As Django's, with what can't be seen written out."""
        attrs = {"class": "action-select", "aria-label": f"Choose {visible(str(obj))}"}
        return forms.CheckboxInput(attrs, lambda value: False).render(ACTION_CHECKBOX_NAME, str(obj.pk))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {act.name: (self._action(act), act.name, act.words) for act in self._allowed(request)}

    def _allowed(self, request: HttpRequest) -> list[Act]:
        return [act for act in self.acts if request.user.has_perm(act.permission)]

    def _action(self, act: Act) -> Callable[..., HttpResponse | None]:
        def action(model_admin: Any, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
            return self._ask_or_act(request, act, rows)

        return action

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["acts"] = self._allowed(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def _ask_or_act(self, request: HttpRequest, act: Act, rows: QuerySet[Any]) -> HttpResponse | None:
        """The page that asks, and, answered, the act. None leads back to the list."""
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        # By what was chosen, not by the list's filters: since it was asked, rows may have come to another state.
        rows = self.model._default_manager.filter(pk__in=chosen[:MOST_AT_ONCE])
        if len(chosen) > MOST_AT_ONCE or request.POST.get("select_across") == "1":
            sentence = f"At most {MOST_AT_ONCE} can be chosen at once, each by its box. Nothing was done."
            self.message_user(request, sentence, messages.ERROR)
            return None
        submissions = self.submissions_of(rows).order_by("id")
        form = act.form(request.POST if "confirmed" in request.POST else None)
        if not form.is_valid():
            return self._ask(request, act, submissions, form=form)
        self._do(request, act, submissions, form.cleaned_data)
        return HttpResponseRedirect(self._back(request))

    def _ask(self, request: HttpRequest, act: Act, submissions: QuerySet[Submission], *, form: forms.Form) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": act.words.removesuffix(" …"),
            "opts": self.opts,
            "act": act,
            "form": form,
            "submissions": list(submissions[:SHOWN]),
            "more": max(submissions.count() - SHOWN, 0),
            "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "back": self._back(request),
        }
        return TemplateResponse(request, "admin/builds/act.html", context, status=400 if form.is_bound else 200)

    def _back(self, request: HttpRequest) -> str:
        """Where the act was chosen: the list with its filters, or the row's page."""
        if "from_page" in request.POST:
            pk = request.POST[ACTION_CHECKBOX_NAME]
            return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[pk])
        return request.get_full_path()

    def _do(self, request: HttpRequest, act: Act, submissions: QuerySet[Submission], answer: dict[str, Any]) -> None:
        done, refused = 0, []
        for submission in submissions:
            try:
                act.verb(submission, answer, request.user.get_username())
                done += 1
            except ActRefused as refusal:
                refused.append(f"{submission}: {refusal}")
        if done:
            count = "1 submission" if done == 1 else f"{done} submissions"
            self.message_user(request, f"{count}: {act.done}.", messages.SUCCESS)
        for sentence in refused[:SHOWN]:
            self.message_user(request, sentence, messages.WARNING)


class ActingOnSubmissions(Acting):
    def submissions_of(self, rows: QuerySet[Submission]) -> QuerySet[Submission]:
        return rows


class ActingOnBuilds(Acting):
    def submissions_of(self, rows: QuerySet[Build]) -> QuerySet[Submission]:
        return Submission.objects.filter(pk__in=rows.values("submission"))


class ActingOnStatusUpdates(Acting):
    acts = tuple(act for act in ACTS if act.name == "push")

    def submissions_of(self, rows: QuerySet[StatusUpdate]) -> QuerySet[Submission]:
        return Submission.objects.filter(pk__in=rows.values("submission"))
