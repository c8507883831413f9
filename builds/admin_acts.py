"""The acts of :mod:`builds.acts` on the admin's lists and pages: chosen, confirmed on a page of their own, and done once.

What a state does not allow is refused for that submission, with the reason; the others are done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Max, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from builds.acts import ACTS, MOST_AT_ONCE, PUSH, Act, perform
from builds.admin_columns import visible
from builds.lifecycle import ActRefused
from builds.models import Build, Submission

# So many refusals are told one by one.
REFUSALS_SHOWN = 20
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
        return Submission.objects.filter(pk__in=rows.values("submission"))

    @admin.display(description=CHOOSE_ALL)
    def action_checkbox(self, obj: Any) -> SafeString:
        """As Django's, with what can't be seen written out."""
        attrs = {"class": "action-select", "aria-label": f"Choose {visible(str(obj))}"}
        return forms.CheckboxInput(attrs, lambda value: False).render(ACTION_CHECKBOX_NAME, str(obj.pk))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {act.name: (self._action(act), act.name, f"{act.words} …") for act in self._allowed(request)}

    def _allowed(self, request: HttpRequest) -> list[Act]:
        return [act for act in self.acts if request.user.has_perm(act.permission)]

    def _action(self, act: Act) -> Callable[..., HttpResponse | None]:
        def action(model_admin: Any, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
            return self._ask_or_act(request, act)

        return action

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["acts"] = self._allowed(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def _ask_or_act(self, request: HttpRequest, act: Act) -> HttpResponse | None:
        """The page that asks, and, answered, the act. None leads back to the list.

        The rows are those that were chosen, whatever the list's filters say: they may have come to another state since.
        """
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        if len(chosen) > MOST_AT_ONCE or request.POST.get("select_across") == "1":
            sentence = f"At most {MOST_AT_ONCE} can be chosen at once, each by its box. Nothing was done."
            self.message_user(request, sentence, messages.ERROR)
            return None
        submissions = list(self.submissions_of(self.model._default_manager.filter(pk__in=chosen)).order_by("id"))
        if not submissions:
            self.message_user(request, "Nothing of what was chosen is there any more. Nothing was done.", messages.WARNING)
            return None
        form = act.form(request.POST if "confirmed" in request.POST else None)
        if not form.is_valid():
            return self._ask(request, act, submissions, form=form)
        self._do(request, act, submissions, answer=form.cleaned_data)
        return HttpResponseRedirect(self._back(request))

    def _ask(self, request: HttpRequest, act: Act, submissions: list[Submission], *, form: forms.Form) -> HttpResponse:
        newest = Build.objects.filter(submission__in=submissions).order_by().values_list("submission").annotate(Max("number"))
        seen = dict(newest)
        context = {
            **self.admin_site.each_context(request),
            "title": act.words,
            "opts": self.opts,
            "act": act,
            "form": form,
            "submissions": [(submission, seen.get(submission.pk, "")) for submission in submissions],
            "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "back": self._back(request),
        }
        return TemplateResponse(request, "admin/builds/act.html", context, status=400 if form.is_bound else 200)

    def _back(self, request: HttpRequest) -> str:
        """Where the act was chosen: the list with its filters, or the row's page."""
        if "from_page" in request.POST:
            return reverse(f"admin:builds_{self.opts.model_name}_change", args=[request.POST[ACTION_CHECKBOX_NAME]])
        return request.get_full_path()

    def _do(self, request: HttpRequest, act: Act, submissions: list[Submission], *, answer: dict[str, Any]) -> None:
        done, refused = 0, []
        for submission in submissions:
            seen = request.POST.get(f"seen-{submission.pk}", "")
            try:
                actor = request.user.get_username()
                perform(act, submission, answer, actor=actor, seen=int(seen) if seen.isdecimal() else None)
                done += 1
            except ActRefused as refusal:
                refused.append(f"{visible(str(submission))}: {refusal}")
        if done:
            count = "1 submission" if done == 1 else f"{done} submissions"
            self.message_user(request, f"{count}: {act.done}.", messages.SUCCESS)
        for sentence in refused[:REFUSALS_SHOWN]:
            self.message_user(request, sentence, messages.WARNING)
        if len(refused) > REFUSALS_SHOWN:
            self.message_user(request, f"{len(refused) - REFUSALS_SHOWN} more were refused.", messages.WARNING)


class ActingOnSubmissions(Acting):
    def submissions_of(self, rows: QuerySet[Submission]) -> QuerySet[Submission]:
        return rows


class ActingOnBuilds(Acting):
    """An act on a build is one on its submission: a build that has ended is never changed."""


class ActingOnStatusUpdates(Acting):
    acts = (PUSH,)
