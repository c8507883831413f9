"""The actions of :mod:`builds.staff.actions` on the admin's lists and pages. Each is confirmed on its own page and done once.

A submission whose state does not allow the action is skipped, with a message that says why.
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

from builds.lib.text import visible
from builds.lifecycle import ActionRefused
from builds.models import Build, Submission
from builds.staff.actions import ACTIONS, MAX_AT_ONCE, PUSH, Action, perform

# Refusals listed one by one before they are summed up.
MAX_REFUSALS_SHOWN = 20
CHOOSE_ALL = format_html('<input type="checkbox" id="action-toggle" aria-label="{}">', "Select all on this page")

if TYPE_CHECKING:
    AnyModelAdmin = admin.ModelAdmin[Any]
else:
    AnyModelAdmin = object


class WithActions(AnyModelAdmin):
    """For admins whose rows belong to submissions: offers the actions that the user may perform, on the list and on each row's page."""

    staff_actions: tuple[Action, ...] = ACTIONS
    actions_selection_counter = True

    def submissions_of(self, rows: QuerySet[Any]) -> QuerySet[Submission]:
        return Submission.objects.filter(pk__in=rows.values("submission"))

    @admin.display(description=CHOOSE_ALL)
    def action_checkbox(self, obj: Any) -> SafeString:
        """Django's check box, but its label shows invisible characters."""
        attrs = {"class": "action-select", "aria-label": f"Select {visible(str(obj))}"}
        return forms.CheckboxInput(attrs, lambda value: False).render(ACTION_CHECKBOX_NAME, str(obj.pk))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {action.name: (self._handler(action), action.name, f"{action.label} …") for action in self._allowed(request)}

    def _allowed(self, request: HttpRequest) -> list[Action]:
        return [action for action in self.staff_actions if request.user.has_perm(action.permission)]

    def _handler(self, action: Action) -> Callable[..., HttpResponse | None]:
        def handle(model_admin: Any, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
            return self._confirm_or_perform(request, action)

        return handle

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        submission = self.submissions_of(self.model._default_manager.filter(pk=context["original"].pk)).get()
        newest = submission.newest_build()
        context["row_actions"] = [action for action in self._allowed(request) if not action.refusal(newest)]
        return super().render_change_form(request, context, *args, **kwargs)

    def _confirm_or_perform(self, request: HttpRequest, action: Action) -> HttpResponse | None:
        """Show the confirmation page, or perform the confirmed action. Returns None to go back to the list.

        Works on the selected rows even if the list's filters no longer match them, because their state may have changed since.
        """
        selected = request.POST.getlist(ACTION_CHECKBOX_NAME)
        if len(selected) > MAX_AT_ONCE or request.POST.get("select_across") == "1":
            sentence = f"Select at most {MAX_AT_ONCE} rows at once, each by its check box. Nothing was done."
            self.message_user(request, sentence, messages.ERROR)
            return None
        submissions = list(self.submissions_of(self.model._default_manager.filter(pk__in=selected)).order_by("id"))
        if not submissions:
            self.message_user(request, "The selected rows no longer exist. Nothing was done.", messages.WARNING)
            return None
        form = action.form(request.POST if "confirmed" in request.POST else None)
        if not form.is_valid():
            return self._confirmation(request, action, submissions, form=form)
        self._perform(request, action, submissions, answer=form.cleaned_data)
        return HttpResponseRedirect(self._back(request))

    def _confirmation(
        self, request: HttpRequest, action: Action, submissions: list[Submission], *, form: forms.Form
    ) -> HttpResponse:
        newest = Build.objects.filter(submission__in=submissions).order_by().values_list("submission").annotate(Max("number"))
        seen = dict(newest)
        context = {
            **self.admin_site.each_context(request),
            "title": action.label,
            "opts": self.opts,
            "action": action,
            "form": form,
            "submissions": [(submission, seen.get(submission.pk, "")) for submission in submissions],
            "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "back": self._back(request),
        }
        return TemplateResponse(request, "admin/builds/action.html", context, status=400 if form.is_bound else 200)

    def _back(self, request: HttpRequest) -> str:
        """The address of the page on which the action was chosen: the list with its filters, or the row's page."""
        if "from_page" in request.POST:
            return reverse(f"admin:builds_{self.opts.model_name}_change", args=[request.POST[ACTION_CHECKBOX_NAME]])
        return request.get_full_path()

    def _perform(self, request: HttpRequest, action: Action, submissions: list[Submission], *, answer: dict[str, Any]) -> None:
        done, refused = 0, []
        for submission in submissions:
            seen = request.POST.get(f"seen-{submission.pk}", "")
            try:
                actor = request.user.get_username()
                perform(action, submission, answer, actor=actor, seen=int(seen) if seen.isdecimal() else None)
                done += 1
            except ActionRefused as refusal:
                refused.append(f"{visible(str(submission))}: {refusal}")
        if done:
            count = "1 submission" if done == 1 else f"{done} submissions"
            self.message_user(request, f"{count}: {action.done}.", messages.SUCCESS)
        for sentence in refused[:MAX_REFUSALS_SHOWN]:
            self.message_user(request, sentence, messages.WARNING)
        if len(refused) > MAX_REFUSALS_SHOWN:
            self.message_user(request, f"{len(refused) - MAX_REFUSALS_SHOWN} more were refused.", messages.WARNING)


class SubmissionActions(WithActions):
    def submissions_of(self, rows: QuerySet[Submission]) -> QuerySet[Submission]:
        return rows


class BuildActions(WithActions):
    """An action on a build applies to its submission: a build that has ended is never changed."""


class StatusUpdateActions(WithActions):
    staff_actions = (PUSH,)
