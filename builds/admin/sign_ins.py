"""Sign-ins in the admin: user names locked after too many wrong passwords, an action that unlocks them, and the list of sign-ins.

A lock applies to a user name from one address (AXES_LOCKOUT_PARAMETERS). django-axes has one row per browser, so rows are summed up.
"""

from __future__ import annotations

from datetime import datetime
from ipaddress import ip_address
from typing import Any, ClassVar, NamedTuple

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.apps import apps
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Max, OuterRef, QuerySet, Subquery, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone

from builds.admin.base import RecordAdmin
from builds.admin.columns import moment, text, time
from builds.admin.filters import WordsFilter
from builds.lib.text import visible
from builds.staff.actions import MAX_AT_ONCE

UNLOCK = "builds.unlock_account"

for model in (AccessAttempt, AccessFailureLog, AccessLog):
    if admin.site.is_registered(model):
        admin.site.unregister(model)

apps.get_app_config("axes").verbose_name = "Sign-ins"


class RowAction(NamedTuple):
    """An action as the page of a row offers it."""

    name: str
    label: str
    destroys: bool = False


def counted_since() -> datetime:
    """Wrong passwords before this time no longer count."""
    since: datetime = timezone.now() - settings.AXES_COOLOFF_TIME
    return since


def is_locked(row: Any) -> bool:
    return bool(row.failures >= settings.AXES_FAILURE_LIMIT)


class LockedFilter(WordsFilter):
    title, parameter_name = "lock", "locked"
    offered = (
        ("1", "locked now", lambda rows: rows.filter(failures__gte=settings.AXES_FAILURE_LIMIT)),
        ("0", "not locked yet", lambda rows: rows.filter(failures__lt=settings.AXES_FAILURE_LIMIT)),
    )


@admin.register(AccessAttempt)
class LockAdmin(RecordAdmin):
    """Wrong passwords that still count, one row per user name and address, and the action that clears them."""

    ordering = ("-attempt_time",)
    list_display: Any = (
        *(text("username", "user name"), text("ip_address", "address"), "state", "failures"),
        *(time("attempt_time", "newest wrong password"), "ends"),
    )
    list_filter = (LockedFilter,)
    search_fields = ("username", "ip_address")
    search_help_text = "user name or address"
    fields: ClassVar[Any] = list_display

    actions = ("unlock",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        same = AccessAttempt.objects.filter(
            username=OuterRef("username"), ip_address=OuterRef("ip_address"), attempt_time__gte=counted_since()
        )
        grouped = same.order_by().values("username", "ip_address")
        failures = Subquery(grouped.annotate(sum=Sum("failures_since_start")).values("sum"))
        newest = Subquery(grouped.annotate(newest=Max("pk")).values("newest"))
        rows: QuerySet[Any] = super().get_queryset(request).annotate(failures=failures).filter(pk=newest)
        return rows

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        return admin.ModelAdmin.get_search_results(self, request, queryset, search_term)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Wrong passwords and locked user names", **(extra_context or {})})

    @admin.display(description="state")
    def state(self, row: Any) -> str:
        return "locked" if is_locked(row) else "not locked yet"

    @admin.display(description="wrong passwords")
    def failures(self, row: Any) -> str:
        return f"{row.failures} of {settings.AXES_FAILURE_LIMIT}"

    @admin.display(description="expires")
    def ends(self, row: Any) -> str:
        return moment(row.attempt_time + settings.AXES_COOLOFF_TIME)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        can_unlock = request.user.has_perm(UNLOCK)
        return {"unlock": (type(self).unlock, "unlock", "Unlock …")} if can_unlock else {}

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["row_actions"] = [RowAction("unlock", "Unlock")] if request.user.has_perm(UNLOCK) else []
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="Unlock …")
    def unlock(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
        """Show the confirmation page, or unlock. If two people confirm at once, it happens once."""
        if len(request.POST.getlist(ACTION_CHECKBOX_NAME)) > MAX_AT_ONCE or request.POST.get("select_across") == "1":
            self.message_user(request, f"Select at most {MAX_AT_ONCE} rows at once. Nothing was done.", messages.ERROR)
            return None
        if "confirmed" not in request.POST:
            return self._confirmation(request, rows)
        done = [named_lock(row) for row in rows if unlock(row, by=request.user)]
        if done:
            self.message_user(request, f"Unlocked: {'; '.join(map(visible, done))}.", messages.SUCCESS)
        else:
            self.message_user(request, "None of the selected user names is locked any more. Nothing was done.", messages.WARNING)
        return HttpResponseRedirect(request.path)

    def _confirmation(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Unlock",
            "opts": self.opts,
            "locks": [(row.pk, named_lock(row)) for row in rows],
            "back": request.get_full_path(),
        }
        return TemplateResponse(request, "admin/builds/unlock.html", context)


def named_lock(row: Any) -> str:
    return f"{row.username or 'no user name'} from {row.ip_address or 'an unknown address'}"


@transaction.atomic
def unlock(row: Any, *, by: Any) -> bool:
    """Clear the wrong passwords for a user name from an address, and record who did it. Returns False if there were none.

    The record is in the admin's log, at the account if there is one, because it does not belong to any submission.
    """
    count, _ = AccessAttempt.objects.filter(username=row.username, ip_address=row.ip_address).delete()
    if not count:
        return False
    account = User.objects.filter(username=row.username).first()
    LogEntry.objects.log_actions(
        by.pk,
        [account or row],
        CHANGE,
        change_message=f"Unlocked {named_lock(row)} after too many wrong passwords.",
        single_object=True,
    )
    return True


@admin.register(AccessLog)
class SignInAdmin(RecordAdmin):
    """Who signed in and out, when, and from which address."""

    list_display: Any = (
        text("username", "user name"),
        text("ip_address", "address"),
        time("attempt_time", "signed in"),
        time("logout_time", "signed out"),
    )
    fields: ClassVar[Any] = (*list_display, text("user_agent", "browser"))
    search_fields = ("username", "ip_address")
    search_help_text = "whole user name or address"

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        wanted = {"ip_address": term} if is_address(term) else {"username": term}
        return queryset.filter(**wanted), False


def is_address(term: str) -> bool:
    try:
        ip_address(term)
    except ValueError:
        return False
    return True
