"""The record in Django's admin: read-only for everyone, superusers too. What authors wrote is shown as text, never as markup.

A page loads a bounded part of what may be large: the beginning of the front matter, the newest tries.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, Q, QuerySet, TextField
from django.db.models.functions import Cast, Substr
from django.http import FileResponse, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from builds import admin_people, admin_sign_ins, front_matter  # noqa: F401 - Django looks here for all of the app's admins
from builds.admin_acts import ActingOnBuilds, ActingOnStatusUpdates, ActingOnSubmissions
from builds.admin_base import RecordAdmin, RowsInline, SubmissionFilter, recent
from builds.admin_columns import (
    NOTHING,
    build_link,
    build_state,
    command,
    commit_link,
    download_link,
    ended_with,
    event_build,
    laid_out,
    link_to,
    log_link,
    memory,
    memory_in_use,
    named,
    number,
    outside_link,
    progress,
    safe_text,
    size,
    stage_link,
    stage_log,
    submission_link,
    submission_of_build,
    text,
    time,
    took,
    try_list,
    visible,
)
from builds.admin_filters import (
    AutomaticFilter,
    CauseFilter,
    FaultFilter,
    KindFilter,
    ModeFilter,
    PendingFilter,
    StageStateFilter,
    UnwantedFilter,
)
from builds.models import Artifact, Build, Event, FrontMatter, LogBatch, Stage, Submission
from builds.outbox_models import StatusUpdate, StatusUpdateTry
from builds.queue_models import QueueChange, Worker

FRONT_MATTER_CHARACTERS = 20_000
TRIES_IN_LIST = 3
TRIES_ON_PAGE = 100
# Builds so young are searched by their worker.
WORKER_SEARCHED = timedelta(days=30)

admin.site.site_header = admin.site.site_title = "Jobsite"
admin.site.index_title = "Submissions, and what became of them"
admin.site.site_url = None


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
        rest = format_html("<p>{}</p>", link_to(update, f"and {more} before")) if more > 0 else ""
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


class ArtifactInline(RowsInline):
    model = Artifact
    verbose_name_plural = "exports"
    fields: ClassVar[Any] = (text("name"), "role", size, "sha256", download_link)


# --- pages


@admin.register(Submission)
class SubmissionAdmin(ActingOnSubmissions, RecordAdmin):
    list_display: Any = (
        *(named("title")(lambda row: safe_text(str(row))), text("job_id", "jobId"), text("repository"), "state"),
        *(time("created_at"), time("updated_at")),
    )
    list_filter = ("state", FaultFilter, UnwantedFilter, "created_at")
    search_help_text = "words of the title, an author, ORCID, repository, commit, node uuid, jobId or error"
    submission_path = "pk"
    sorted_by = ("created_at",)
    history_lookup = "submission__id__exact"
    inlines = (BuildInline, StatusUpdateInline, EventInline)
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("state", text("title"), text("authors"), "manuscript", text("repository"))}),
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
        """Its beginning only, cut in the database: it may be 100 MB."""
        beginning = Substr(Cast("document", TextField()), 1, FRONT_MATTER_CHARACTERS + 1)
        stored = FrontMatter.objects.filter(pk=submission.pk).values_list(beginning, flat=True).first() or ""
        cut = f"Cut after the first {FRONT_MATTER_CHARACTERS:,} characters." if len(stored) > FRONT_MATTER_CHARACTERS else ""
        shown = visible(laid_out(stored[:FRONT_MATTER_CHARACTERS]))
        return format_html('<pre class="words"><bdi>{}</bdi></pre><p>{}</p>', shown, cut)


@admin.register(Build)
class BuildAdmin(ActingOnBuilds, RecordAdmin):
    ordering = ("-created_at",)
    list_display: Any = (
        *(number(), submission_link, build_state, "fault", "cause_code", text("mode"), "worker", commit_link),
        *(time("created_at"), time("started_at"), took),
    )
    list_display_links = None
    list_select_related = ("submission",)
    list_filter = ("state", FaultFilter, CauseFilter, ModeFilter, AutomaticFilter, "created_at", ("submission", SubmissionFilter))
    search_help_text = (
        "build id, worker (of the last 30 days), or what its submission is found by: title, author, repository, commit, id, error"
    )
    sorted_by = ("created_at",)
    history_lookup = "build__id__exact"
    inlines = (StageInline, ArtifactInline, EventInline)
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("number", submission_link, build_state, "mode", "log", commit_link, text("ref"), text("path"))}),
        ("Cause", {"fields": ("fault", "cause_code", text("cause"), text("advice"), "place", "log_line", "warnings_given")}),
        ("Request", {"fields": (text("requested_by"), "automatic", "source_build", time("created_at"), time("not_before"))}),
        ("Run", {"fields": (text("worker"), time("started_at"), time("finished_at"), took, time("lease_expires_at"))}),
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
        return Q(worker=term, created_at__gte=timezone.now() - WORKER_SEARCHED) if alone else Q(pk__in=())

    def log(self, build: Build) -> str:
        return log_link(build, words=f"log, {build.log_lines:,} lines")

    def place(self, build: Build) -> str:
        """File and line of the cause."""
        return safe_text(f"{build.cause_file}:{build.cause_line}" if build.cause_line else build.cause_file)

    def log_line(self, build: Build) -> str:
        return log_link(build, build.cause_log_line, f"line {build.cause_log_line}") if build.cause_log_line else NOTHING

    @admin.display(description="warnings")
    def warnings_given(self, build: Build) -> str:
        items = format_html_join("", "<li>{}</li>", ((safe_text(str(warning)),) for warning in build.warnings))
        return format_html("<ul>{}</ul>", items) if items else NOTHING

    @admin.display(description="uses what this build found or made")
    def source_build(self, build: Build) -> str:
        return link_to(build.source, f"Build {build.source.number}") if build.source else NOTHING


@admin.register(Stage)
class StageAdmin(RecordAdmin):
    list_display: Any = ("name", submission_of_build, build_link, "state", time("started_at"), took, ended_with, memory)
    list_select_related = ("build__submission",)
    list_filter = ("name", StageStateFilter, "started_at")
    search_help_text = "what its submission is found by: title, author, repository, commit, id, error"
    submission_path = "build__submission"
    fields: ClassVar[Any] = (
        *("name", submission_of_build, build_link, "state", time("started_at"), time("finished_at"), took, text("detail")),
        *(progress, command, text("command_version", "version"), ended_with, memory, stage_log),
    )


@admin.register(LogBatch)
class LogBatchAdmin(RecordAdmin):
    """Not on the index: a log is read on the desk."""

    submission_path = "build__submission"
    list_display: Any = ("__str__", submission_of_build, build_link)
    list_select_related = ("build__submission",)
    fields: ClassVar[Any] = (submission_of_build, build_link, "first_line", "line_count", "log")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("records")

    def log(self, batch: LogBatch) -> str:
        return log_link(batch.build, batch.first_line, "these lines in the log")


@admin.register(Artifact)
class ArtifactAdmin(RecordAdmin):
    list_display: Any = (text("name"), "role", size, submission_of_build, build_link, download_link)
    list_select_related = ("build__submission",)
    list_filter = ("role",)
    search_help_text = "sha256 or the whole name among the newest 100,000, or what its submission is found by"
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
        file = artifact and kept_file(artifact)
        if not artifact or not file:
            kept = f"Exports are kept for {settings.EXPORTS_KEPT_DAYS} days."
            return self.gone(request, f"The file of this export is not there any more. {kept}")
        name = front_matter.clean(PurePosixPath(artifact.name).name, 200)
        name = name if name.endswith(file.suffix) else name + file.suffix
        return FileResponse(file.open("rb"), as_attachment=True, filename=name, content_type="application/octet-stream")


def kept_file(artifact: Artifact) -> Path | None:
    """The artifact's own file among its build's kept exports; None where it is gone, or the row names anything else."""
    is_own = artifact.file == Path(artifact.file).name and artifact.path.is_file() and not artifact.path.is_symlink()
    return artifact.path if is_own else None


@admin.register(StatusUpdate)
class StatusUpdateAdmin(ActingOnStatusUpdates, RecordAdmin):
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
    search_help_text = "what its submission is found by: title, author, repository, commit, id, error"
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
    search_help_text = "kind, actor or reason among the newest 100,000, or what its submission is found by"
    fields: ClassVar[Any] = (time("at"), text("kind"), text("actor"), submission_link, event_build, text("reason"))

    def own_matches(self, term: str, *, alone: bool) -> Q:
        """Words of people, in the newest rows only: they have no index."""
        said = [Q(kind__icontains=word) | Q(actor__icontains=word) | Q(reason__icontains=word) for word in term.split()[:5]]
        return Q(*said) & recent(Event)


# --- the queue


@admin.register(QueueChange)
class QueueChangeAdmin(RecordAdmin):
    """Who paused, drained and resumed the queue."""

    list_display: Any = (time("at"), "kind", text("actor"), text("reason"))
    list_filter = ("kind", "at")
    search_fields = ("actor", "reason")
    fields: ClassVar[Any] = (time("at"), "kind", text("actor"), text("reason"))

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        return admin.ModelAdmin.get_search_results(self, request, queryset, search_term)


@admin.register(Worker)
class WorkerAdmin(RecordAdmin):
    """The workers' last signs of life; the desk's queue page shows what they do."""

    ordering = ("name",)
    list_display: Any = (
        *("name", "host", "pid", memory_in_use, "ending", "sandbox", "cgroups"),
        time("started_at"),
        time("seen_at"),
    )
    search_fields = ()
    fields: ClassVar[Any] = (
        *("name", "host", "pid", memory_in_use, "ending", "sandbox", "cgroups", text("isolation_notes")),
        *(time("started_at"), time("seen_at")),
    )
