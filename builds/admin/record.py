"""The record in Django's admin: read-only for everyone, including superusers. Authors' texts are shown as text, never as markup.

A page loads only a part of what can be large: the beginning of the front matter, the newest tries.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast, Substr
from django.http import FileResponse, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join

from builds.admin.actions import BuildActions, StatusUpdateActions, SubmissionActions
from builds.admin.base import RecordAdmin, SubmissionFilter, recent
from builds.admin.columns import (
    NOTHING,
    build_link,
    build_state,
    command,
    commit_link,
    download_link,
    ended_with,
    event_build,
    link_to,
    log_link,
    memory,
    named,
    number,
    outside_link,
    processor_time,
    progress,
    safe_text,
    size,
    stage_log,
    submission_link,
    submission_of_build,
    text,
    time,
    took,
    try_list,
)
from builds.admin.filters import (
    AutomaticFilter,
    CauseFilter,
    FaultFilter,
    FindingFilter,
    KindFilter,
    ModeFilter,
    PendingFilter,
    ProblemsFilter,
    StageStateFilter,
    UnwantedFilter,
)
from builds.admin.inlines import ArtifactInline, BuildInline, EventInline, FindingInline, StageInline, StatusUpdateInline
from builds.lib.json_text import indented
from builds.lib.text import one_line, visible
from builds.models import (
    Artifact,
    Build,
    Event,
    FrontMatter,
    LogBatch,
    Stage,
    StatusUpdate,
    Submission,
    clock,
)
from builds.record import kept_exports

MAX_FRONT_MATTER_CHARACTERS = 20_000
TRIES_ON_PAGE = 100
# How old a build can be to be found by its worker.
WORKER_SEARCHED = timedelta(days=30)


@admin.register(Submission)
class SubmissionAdmin(SubmissionActions, RecordAdmin):
    list_display: Any = (
        *(named("title")(lambda row: safe_text(str(row))), text("job_id", "jobId"), text("repository"), "state"),
        *(time("created_at"), time("updated_at")),
    )
    list_filter = ("state", FaultFilter, ProblemsFilter, FindingFilter, UnwantedFilter, "created_at")
    search_help_text = "words of the title, author, ORCID, repository, commit, node uuid, jobId or error"
    submission_path = "pk"
    sorted_by = ("created_at",)
    history_lookup = "submission__id__exact"
    inlines = (BuildInline, StatusUpdateInline, EventInline)
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("state", "problems", text("title"), text("authors"), "manuscript", text("repository"))}),
        ("desci-server", {"fields": (text("job_id", "jobId"), text("node_uuid"), time("unwanted_at"))}),
        ("Times", {"fields": (time("created_at"), time("updated_at"))}),
        ("Front matter", {"fields": ("document",), "classes": ("collapse",)}),
    )

    def desk_url(self, row: Submission) -> str:
        return reverse("desk:submission", args=[row.pk])

    def manuscript(self, submission: Submission) -> str:
        return outside_link(submission.url)

    @admin.display(description="parsedDocument")
    def document(self, submission: Submission) -> str:
        """Only its beginning, cut in the database, because it can have 100 MB."""
        beginning = Substr(Cast("document", TextField()), 1, MAX_FRONT_MATTER_CHARACTERS + 1)
        stored = FrontMatter.objects.filter(pk=submission.pk).values_list(beginning, flat=True).first() or ""
        cut = (
            f"Cut after the first {MAX_FRONT_MATTER_CHARACTERS:,} characters."
            if len(stored) > MAX_FRONT_MATTER_CHARACTERS
            else ""
        )
        shown = visible(indented(stored[:MAX_FRONT_MATTER_CHARACTERS]))
        return format_html('<pre class="words"><bdi>{}</bdi></pre><p>{}</p>', shown, cut)


@admin.register(Build)
class BuildAdmin(BuildActions, RecordAdmin):
    ordering = ("-created_at",)
    list_display: Any = (
        *(number(), submission_link, build_state, "fault", "cause_code", text("mode"), "worker", commit_link),
        *(time("created_at"), time("started_at"), took),
    )
    list_display_links = None
    list_select_related = ("submission",)
    list_filter = ("state", FaultFilter, CauseFilter, ModeFilter, AutomaticFilter, "created_at", ("submission", SubmissionFilter))
    search_help_text = (
        "build id, worker (last 30 days), or anything of its submission: title, author, repository, commit, id, error"
    )
    sorted_by = ("created_at",)
    history_lookup = "build__id__exact"
    inlines = (StageInline, FindingInline, ArtifactInline, EventInline)
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("number", submission_link, build_state, "mode", "log", commit_link, text("ref"), text("path"))}),
        ("Cause", {"fields": ("fault", "cause_code", text("cause"), text("advice"), "place", "log_line")}),
        ("Findings", {"fields": ("problems", "findings_left_out", "warnings_given")}),
        (
            "Request",
            {
                "fields": (
                    text("requested_by"),
                    "automatic",
                    "source_build",
                    "reused_build",
                    time("created_at"),
                    time("not_before"),
                )
            },
        ),
        (
            "Run",
            {"fields": (text("worker"), time("started_at"), time("finished_at"), took, processor_time, time("lease_expires_at"))},
        ),
        (
            "Cancel",
            {
                "fields": (
                    *(time("cancel_requested_at"), text("cancel_requested_by"), text("cancel_reason"), time("resubmitted_at")),
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("warnings")

    def desk_url(self, row: Build) -> str:
        return reverse("desk:submission", args=[row.submission_id])

    def own_matches(self, term: str, *, alone: bool) -> Q:
        with suppress(ValueError):
            return Q(pk=UUID(term))
        return Q(worker=term, created_at__gte=clock.now() - WORKER_SEARCHED) if alone else Q(pk__in=())

    def log(self, build: Build) -> str:
        return log_link(build, words=f"log, {build.log_lines:,} lines")

    def place(self, build: Build) -> str:
        """File and line of the cause."""
        return safe_text(f"{build.cause_file}:{build.cause_line}" if build.cause_line else build.cause_file)

    def log_line(self, build: Build) -> str:
        return log_link(build, build.cause_log_line, f"line {build.cause_log_line}") if build.cause_log_line else NOTHING

    @admin.display(description="warnings of older releases")
    def warnings_given(self, build: Build) -> str:
        items = format_html_join("", "<li>{}</li>", ((safe_text(str(warning)),) for warning in build.warnings))
        return format_html("<ul>{}</ul>", items) if items else NOTHING

    @admin.display(description="reuses the commit or exports of")
    def source_build(self, build: Build) -> str:
        return link_to(build.source, f"Build {build.source.number}") if build.source else NOTHING

    @admin.display(description="delivers the result of")
    def reused_build(self, build: Build) -> str:
        made = build.reused
        return link_to(made, f"Build {made.number} of {visible(made.submission.job_id)}") if made else NOTHING


@admin.register(Stage)
class StageAdmin(RecordAdmin):
    list_display: Any = ("name", submission_of_build, build_link, "state", time("started_at"), took, ended_with, memory)
    list_select_related = ("build__submission",)
    list_filter = ("name", StageStateFilter, "started_at")
    search_help_text = "anything of its submission: title, author, repository, commit, id, error"
    submission_path = "build__submission"
    fields: ClassVar[Any] = (
        *("name", submission_of_build, build_link, "state", time("started_at"), time("finished_at"), took, text("detail")),
        *(progress, command, text("command_version", "version"), ended_with, memory, stage_log),
    )


@admin.register(LogBatch)
class LogBatchAdmin(RecordAdmin):
    """Not on the index page, because logs are read on the desk."""

    submission_path = "build__submission"
    list_display: Any = ("__str__", submission_of_build, build_link)
    list_select_related = ("build__submission",)
    fields: ClassVar[Any] = (submission_of_build, build_link, "first_line", "line_count", "log")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("records")

    def log(self, batch: LogBatch) -> str:
        return log_link(batch.build, batch.first_line, "show these lines in the log")


@admin.register(Artifact)
class ArtifactAdmin(RecordAdmin):
    list_display: Any = (text("name"), "role", size, submission_of_build, build_link, download_link)
    list_select_related = ("build__submission",)
    list_filter = ("role",)
    search_help_text = "sha256 or whole name (newest 100,000 rows), or anything of its submission"
    submission_path = "build__submission"
    fields: ClassVar[Any] = (text("name"), "role", submission_of_build, build_link, size, "sha256", text("file"), download_link)

    def own_matches(self, term: str, *, alone: bool) -> Q:
        return (Q(sha256=term) | Q(name=term)) & recent(Artifact)

    def get_urls(self) -> list[URLPattern]:
        download = self.admin_site.admin_view(self.download)
        return [path("<int:artifact_id>/download/", download, name="builds_artifact_download"), *super().get_urls()]

    def download(self, request: HttpRequest, artifact_id: int) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        artifact = Artifact.objects.select_related("build").filter(pk=artifact_id).first()
        file = artifact and kept_exports.find(artifact)
        if not artifact or not file:
            kept = f"Exports are kept for {settings.EXPORTS_KEPT_DAYS} days."
            return self.gone(request, f"The file of this artifact no longer exists. {kept}")
        name = one_line(PurePosixPath(artifact.name).name, 200)
        name = name if name.endswith(file.suffix) else name + file.suffix
        return FileResponse(file.open(), as_attachment=True, filename=name, content_type="application/octet-stream")


@admin.register(StatusUpdate)
class StatusUpdateAdmin(StatusUpdateActions, RecordAdmin):
    list_display: Any = (
        "id",
        submission_link,
        "status",
        text("message"),
        "state",
        "tries",
        time("created_at"),
        time("next_try_at"),
    )
    list_select_related = ("submission",)
    list_filter = (PendingFilter, "status", "created_at", ("submission", SubmissionFilter))
    search_help_text = "anything of its submission: title, author, repository, commit, id, error"
    fields: ClassVar[Any] = (
        *(submission_link, build_link, "status", text("message"), "state", time("created_at"), time("settled_at")),
        *(time("next_try_at"), "tries", "newest_tries"),
    )

    def newest_tries(self, update: StatusUpdate) -> str:
        return try_list(update.attempts.order_by("-id")[:TRIES_ON_PAGE])


@admin.register(Event)
class EventAdmin(RecordAdmin):
    list_display: Any = (time("at"), text("kind"), text("actor"), submission_link, event_build, text("reason"))
    list_select_related = ("submission", "build")
    list_filter = ("at", KindFilter, ("submission", SubmissionFilter))
    search_help_text = "kind, actor or reason (newest 100,000 rows), or anything of its submission"
    fields: ClassVar[Any] = (time("at"), text("kind"), text("actor"), submission_link, event_build, text("reason"))

    def own_matches(self, term: str, *, alone: bool) -> Q:
        """Kind, actor and reason have no index, so only the newest rows are searched."""
        said = [Q(kind__icontains=word) | Q(actor__icontains=word) | Q(reason__icontains=word) for word in term.split()[:5]]
        return Q(*said) & recent(Event)
