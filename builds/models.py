"""The record: what was asked for, each attempt at it, and what desci-server must hear.

State is changed by :mod:`builds.lifecycle` only. The database refuses what can't be (two unfinished builds of a submission, a
final build without an end) and holds small indexes for the rows that a loop looks for.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from builds import installation_models, outbox_models, queue_models, search_models  # noqa: F401 - the app's other models, which Django looks for here
from builds.manuscript_url import commit_link


class State(models.TextChoices):
    """Where a build, and its submission, stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
UNFINISHED = (State.QUEUED, State.RUNNING)


class Mode(models.TextChoices):
    """What a retry reuses."""

    LATEST = "latest", "the newest commit of the branch"
    SAME_COMMIT = "same-commit", "the commit of the build before"
    CLEAN = "clean", "the newest commit, and nothing kept"
    DELIVER = "deliver", "the exports that are kept: delivery only"


class StageName(models.TextChoices):
    FETCH = "fetch"
    UNPACK = "unpack"
    BUILD = "build"
    COLLECT = "collect"
    DELIVER = "deliver"


class Submission(models.Model):
    """What desci-server asked for, once. ``state`` repeats its newest build's, so that a list needs no join."""

    job_id = models.CharField(max_length=200, unique=True)
    node_uuid = models.CharField(max_length=200, db_index=True)
    url = models.CharField(max_length=2000)
    repository = models.CharField(max_length=300, db_index=True, help_text="owner/name on GitHub")
    title = models.CharField(max_length=500, blank=True)
    authors = models.TextField(blank=True, help_text="names and ORCIDs, for search and display")
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    fault = models.CharField(
        max_length=12, blank=True, db_default="", default="", help_text="whose, where the newest build failed"
    )
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    updated_at = models.DateTimeField(default=timezone.now)
    unwanted_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="when desci-server said that it has no such job any more; empty again when it asks anew",
    )

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["state", "-id"], name="submission_state"),
            models.Index(fields=["fault", "-id"], condition=~Q(fault=""), name="submission_fault"),
            models.Index(fields=["-id"], condition=Q(unwanted_at__isnull=False), name="submission_unwanted"),
        ]
        permissions = [
            ("retry_submission", "Can retry a submission"),
            ("cancel_submission", "Can cancel a submission"),
            ("deliver_submission", "Can deliver a submission again"),
            ("push_submission", "Can send a status update again"),
        ]

    def __str__(self) -> str:
        return self.title or self.job_id

    @property
    def link(self) -> str:
        """The page of this submission, for a message."""
        return f"{settings.PUBLIC_URL}/submissions/{self.pk}/"

    def newest_build(self) -> Build:
        return self.builds.latest("number")


class FrontMatter(models.Model):
    """The ``parsedDocument`` of a submission. Apart from it, because it may be 100 MB large and lists must not read it."""

    submission = models.OneToOneField(Submission, models.CASCADE, primary_key=True, related_name="front_matter")
    document = models.JSONField()

    class Meta:
        verbose_name_plural = "front matter"

    def __str__(self) -> str:
        return f"front matter of {self.submission_id}"

    @property
    def exports(self) -> tuple[Any, ...]:
        """The declared exports as the author wrote them; empty where there are none."""
        exports = self.document.get("exports")
        return tuple(exports) if isinstance(exports, list) else ()


class BuildQuerySet(models.QuerySet["Build"]):
    def unfinished(self) -> BuildQuerySet:
        return self.filter(state__in=UNFINISHED)

    def lost(self) -> BuildQuerySet:
        """Running builds whose worker has not renewed its lease in time."""
        return self.filter(state=State.RUNNING, lease_expires_at__lt=timezone.now())

    def waiting(self) -> BuildQuerySet:
        """Queued builds that may start now, oldest first."""
        return self.filter(Q(not_before=None) | Q(not_before__lte=timezone.now()), state=State.QUEUED).order_by("created_at")


class Build(models.Model):
    """One attempt at a submission: runs at most once, and is never changed once it has ended."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    submission = models.ForeignKey(Submission, models.CASCADE, related_name="builds")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    mode = models.CharField(max_length=12, choices=Mode.choices, default=Mode.LATEST)
    source = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="the build whose commit or exports are used",
    )
    requested_by = models.CharField(max_length=200)
    automatic = models.BooleanField(default=False, help_text="queued by Jobsite itself after a failure that was not the author's")
    created_at = models.DateTimeField(default=timezone.now)
    not_before = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    worker = models.CharField(max_length=200, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)

    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_by = models.CharField(max_length=200, blank=True)
    cancel_reason = models.TextField(blank=True)
    resubmitted_at = models.DateTimeField(
        null=True, blank=True, help_text="when desci-server asked anew while this build was being cancelled"
    )

    commit = models.CharField(max_length=40, blank=True, db_index=True)
    ref = models.CharField(max_length=500, blank=True)
    path = models.CharField(max_length=2000, blank=True, help_text="of the project file in the repository")

    fault = models.CharField(max_length=12, blank=True)
    cause_code = models.CharField(max_length=40, blank=True)
    cause = models.TextField(blank=True, help_text="one sentence for an author")
    advice = models.TextField(blank=True)
    cause_file = models.CharField(max_length=2000, blank=True)
    cause_line = models.PositiveIntegerField(null=True, blank=True)
    cause_log_line = models.PositiveIntegerField(null=True, blank=True)
    warnings = models.JSONField(default=list, blank=True)
    log_lines = models.PositiveIntegerField(default=0)

    objects = BuildQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        constraints = [
            models.UniqueConstraint(fields=["submission", "number"], name="build_number_once"),
            models.UniqueConstraint(
                fields=["submission"], condition=Q(state__in=["queued", "running"]), name="build_one_unfinished"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["queued", "running"], finished_at=None)
                | Q(state__in=["succeeded", "failed", "cancelled"], finished_at__isnull=False),
                name="build_final_has_end",
            ),
            models.CheckConstraint(
                condition=~Q(state="running") | Q(lease_expires_at__isnull=False), name="build_running_has_lease"
            ),
            models.CheckConstraint(condition=~Q(state="failed") | ~Q(cause=""), name="build_failed_has_cause"),
        ]
        indexes = [
            models.Index(fields=["state", "created_at"], condition=Q(state__in=["queued", "running"]), name="build_unfinished"),
            # Also for what runs and waits: SQLite does not use an index with a condition for a state that is a parameter.
            models.Index(fields=["state", "-created_at"], name="build_state"),
            models.Index(fields=["-created_at"], name="build_newest"),
            # All that the overview counts, so that it reads nothing else.
            models.Index(fields=["finished_at", "state", "fault", "cause_code"], name="build_ended"),
            # For lists of rare ones; a query says the condition again, word for word, so that its database finds the index.
            models.Index(fields=["mode", "-created_at"], condition=~Q(mode="latest"), name="build_rare_mode"),
            models.Index(fields=["-created_at"], condition=Q(automatic=True), name="build_automatic"),
            models.Index(fields=["cause_code", "submission"], condition=Q(state="failed"), name="build_failed_by"),
            models.Index(fields=["automatic", "submission"], condition=Q(number__gt=1), name="build_tried_again"),
        ]

    def __str__(self) -> str:
        return f"build {self.number} of {self.submission_id}"

    @property
    def commit_link(self) -> str:
        return commit_link(self.submission.repository, self.commit)

    @property
    def exports_folder(self) -> Path:
        """Where the exports of this build are kept for a later delivery."""
        return Path(settings.DATA_DIR) / "exports" / str(self.pk)


class Stage(models.Model):
    """A part of a build. Its row is written before its work begins."""

    class State(models.TextChoices):
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    build = models.ForeignKey(Build, models.CASCADE, related_name="stages")
    name = models.CharField(max_length=10, choices=StageName.choices)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    first_log_line = models.PositiveIntegerField(default=1)
    detail = models.TextField(blank=True)
    progress_done = models.BigIntegerField(null=True, blank=True, help_text="bytes")
    progress_total = models.BigIntegerField(null=True, blank=True, help_text="bytes")
    command = models.TextField(blank=True)
    command_version = models.CharField(max_length=200, blank=True)
    exit_code = models.IntegerField(null=True, blank=True)
    peak_memory_bytes = models.BigIntegerField(null=True, blank=True)

    class Meta:
        ordering = ("started_at", "id")
        constraints = [
            models.UniqueConstraint(fields=["build", "name"], name="stage_once"),
            models.CheckConstraint(condition=Q(state="running") ^ Q(finished_at__isnull=False), name="stage_ended_has_end"),
        ]
        indexes = [models.Index(fields=["state", "-id"], condition=~Q(state="succeeded"), name="stage_rare_state")]

    def __str__(self) -> str:
        return self.name

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        return ((self.finished_at or timezone.now()) - self.started_at).total_seconds()


class LogBatch(models.Model):
    """Consecutive lines of a build's log. ``records`` is what :mod:`builds.logs` reads and writes."""

    build = models.ForeignKey(Build, models.CASCADE, related_name="log_batches")
    first_line = models.PositiveIntegerField()
    line_count = models.PositiveIntegerField()
    records = models.TextField()

    class Meta:
        ordering = ("first_line",)
        verbose_name_plural = "log batches"
        constraints = [models.UniqueConstraint(fields=["build", "first_line"], name="log_batch_once")]

    def __str__(self) -> str:
        return f"lines {self.first_line} to {self.first_line + self.line_count - 1}"


class Artifact(models.Model):
    """A file that a build made and delivers, kept for a later delivery."""

    build = models.ForeignKey(Build, models.CASCADE, related_name="artifacts")
    role = models.CharField(max_length=12)
    name = models.CharField(max_length=2000, help_text="the filename that desci-server gets; for a MECA its folder")
    file = models.CharField(max_length=255, help_text="name in the build's folder of kept exports")
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    position = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ("position",)
        constraints = [models.UniqueConstraint(fields=["build", "position"], name="artifact_position_once")]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        return self.build.exports_folder / self.file


class Event(models.Model):
    """What happened, to what, by whom, and why. Only ever added."""

    submission = models.ForeignKey(Submission, models.CASCADE, related_name="events")
    build = models.ForeignKey(Build, models.CASCADE, null=True, blank=True, related_name="events")
    kind = models.CharField(max_length=40)
    actor = models.CharField(max_length=200)
    reason = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.kind} by {self.actor}"
