"""The tables on a page of the record: rows that belong to the submission or the attempt that the page shows."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from builds.admin.base import RowsInline
from builds.admin.columns import (
    build_state,
    command,
    commit_link,
    download_link,
    ended_with,
    event_build,
    finding_log,
    link_to,
    memory,
    number,
    progress,
    size,
    stage_link,
    stage_log,
    text,
    time,
    took,
    try_list,
)
from builds.models import (
    Artifact,
    Build,
    Event,
    Finding,
    Stage,
    StatusUpdate,
    StatusUpdateTry,
)

TRIES_IN_LIST = 3


class BuildInline(RowsInline):
    model = Build
    ordering = ("-number",)
    related = ("submission",)
    fields: ClassVar[Any] = (number(), build_state, "mode", text("cause"), commit_link, time("started_at"), took)


class StatusUpdateInline(RowsInline):
    model = StatusUpdate
    fields: ClassVar[Any] = (time("created_at"), "status", text("message"), "state", "tries", "newest_tries")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        newest = StatusUpdateTry.objects.order_by("-id")[:TRIES_IN_LIST]
        return super().get_queryset(request).prefetch_related(Prefetch("attempts", newest, to_attr="newest"))

    @admin.display(description="newest tries")
    def newest_tries(self, update: Any) -> str:
        more = update.tries - len(update.newest)
        rest = format_html("<p>{}</p>", link_to(update, f"and {more} earlier")) if more > 0 else ""
        return format_html("{}{}", try_list(update.newest), rest)


class EventInline(RowsInline):
    model = Event
    related = ("build",)
    verbose_name_plural = "history"
    fields: ClassVar[Any] = (time("at"), text("kind"), text("actor"), text("reason"), event_build)


class StageInline(RowsInline):
    model = Stage
    related = ("build",)
    fields: ClassVar[Any] = (
        *(stage_link, "state", time("started_at"), took, text("detail"), progress),
        *(command, text("command_version", "version"), ended_with, memory, stage_log),
    )


class FindingInline(RowsInline):
    model = Finding
    ordering = ("position",)
    related = ("build",)
    fields: ClassVar[Any] = (
        *("severity", "group", "code", "fault", text("text"), text("advice"), text("file"), "line", text("export")),
        finding_log,
    )


class ArtifactInline(RowsInline):
    model = Artifact
    verbose_name_plural = "exports"
    fields: ClassVar[Any] = (text("name"), "role", size, "sha256", download_link)
