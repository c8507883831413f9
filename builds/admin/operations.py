"""What operators look at beside the record: changes of the queue, workers and notifications."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from builds.admin.base import RecordAdmin
from builds.admin.columns import (
    memory_in_use,
    processor_time,
    safe_text,
    text,
    time,
)
from builds.models import (
    Notification,
    QueueChange,
    Worker,
)
from builds.record.notifications import RESET_KIND


@admin.register(QueueChange)
class QueueChangeAdmin(RecordAdmin):
    """Who paused, drained and resumed the queue, and why."""

    list_display: Any = (time("at"), "kind", text("actor"), text("reason"))
    list_filter = ("kind", "at")
    search_fields = ("actor", "reason")
    fields: ClassVar[Any] = (time("at"), "kind", text("actor"), text("reason"))

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        return admin.ModelAdmin.get_search_results(self, request, queryset, search_term)


@admin.register(Notification)
class NotificationAdmin(RecordAdmin):
    """Messages to the operators, and whether they arrived."""

    list_display: Any = (time("created_at"), text("subject"), "channel", text("recipient"), "state", "tries", text("error"))
    list_filter = ("state", "channel", "created_at")
    search_fields = ()
    fields: ClassVar[Any] = (
        *(text("subject"), "said", "kind", "channel", text("recipient"), "state", "tries", text("error")),
        *(time("created_at"), time("next_try_at"), time("settled_at")),
    )

    @admin.display(description="text")
    def said(self, row: Notification) -> str:
        """The text; never that of a password reset, whose link opens another person's account."""
        return "not shown" if row.kind == RESET_KIND else safe_text(row.text)


@admin.register(Worker)
class WorkerAdmin(RecordAdmin):
    """The workers' last signs of life. The desk's queue page shows what they do."""

    ordering = ("name",)
    list_display: Any = (
        *("name", "host", "pid", memory_in_use, processor_time, "ending", "sandbox", "cgroups"),
        time("started_at"),
        time("seen_at"),
    )
    search_fields = ()
    fields: ClassVar[Any] = (
        *("name", "host", "pid", memory_in_use, processor_time, "ending", "sandbox", "cgroups", text("isolation_notes")),
        *(time("started_at"), time("seen_at")),
    )
