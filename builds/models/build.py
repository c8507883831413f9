"""A build: one attempt at a submission, with its stages, its log and its artifacts.

Only :mod:`builds.lifecycle` changes a state. The database rejects impossible rows (two unfinished builds of a submission, a final
build without an end) and has small partial indexes for the rows that a loop looks for.
"""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from builds.engine.manuscript.url import commit_link
from builds.models import clock


class State(models.TextChoices):
    """The state of a build, and of its submission."""

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
    CLEAN = "clean", "the newest commit, reusing nothing"
    DELIVER = "deliver", "the kept exports: delivery only"


class Rank(models.IntegerChoices):
    """How a queued build is treated by :mod:`builds.lifecycle.turns`. The lower the number, the earlier it starts."""

    NEXT = 0, "before all others, because an admin asked for it"
    BY_HAND = 1, "a person retried it"
    DELIVERY = 2, "delivers kept exports"
    IN_TURN = 3, "in its owner's turn"


class StageName(models.TextChoices):
    FETCH = "fetch"
    UNPACK = "unpack"
    BUILD = "build"
    COLLECT = "collect"
    DELIVER = "deliver"


class BuildQuerySet(models.QuerySet["Build"]):
    def unfinished(self) -> BuildQuerySet:
        return self.filter(state__in=UNFINISHED)

    def lost(self) -> BuildQuerySet:
        """Running builds whose lease has expired."""
        return self.filter(state=State.RUNNING, lease_expires_at__lt=clock.now())

    def waiting(self) -> BuildQuerySet:
        """Queued builds that may start now, oldest first."""
        return self.filter(Q(not_before=None) | Q(not_before__lte=clock.now()), state=State.QUEUED).order_by("created_at")


class Build(models.Model):
    """One attempt at a submission. It runs at most once and never changes after it has ended."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    submission = models.ForeignKey("builds.Submission", models.CASCADE, related_name="builds")
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
    # A foreign key's own index would have a row for every build.
    reused = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        help_text="the build whose result was delivered instead of building the same again",
    )
    requested_by = models.CharField(max_length=200)
    owner = models.CharField(
        max_length=100, blank=True, db_default="", default="", help_text="the repository's owner on GitHub, in lower case"
    )
    rank = models.PositiveSmallIntegerField(choices=Rank.choices, db_default=Rank.IN_TURN.value, default=Rank.IN_TURN)
    automatic = models.BooleanField(default=False, help_text="queued automatically after a failure that was not the author's")
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
        null=True, blank=True, help_text="when desci-server submitted again while this build was being cancelled"
    )

    commit = models.CharField(max_length=40, blank=True, db_index=True)
    ref = models.CharField(max_length=500, blank=True)
    path = models.CharField(max_length=2000, blank=True, help_text="of the project file in the repository")

    fault = models.CharField(max_length=12, blank=True)
    cause_code = models.CharField(max_length=60, blank=True)
    cause = models.TextField(blank=True, help_text="one sentence for an author")
    advice = models.TextField(blank=True)
    cause_file = models.CharField(max_length=2000, blank=True)
    cause_line = models.PositiveIntegerField(null=True, blank=True)
    cause_log_line = models.PositiveIntegerField(null=True, blank=True)
    fingerprint = models.CharField(
        max_length=16, blank=True, db_default="", default="", help_text="the failures that it is alike: see FailureGroup"
    )
    problems = models.PositiveIntegerField(
        db_default=0, default=0, help_text="broken findings, those that were not kept included"
    )
    findings_left_out = models.PositiveIntegerField(db_default=0, default=0, help_text="findings that were only counted")
    # Only builds from before findings had rows of their own have these (docs/decisions/findings-in-rows.md).
    warnings = models.JSONField(default=list, blank=True)
    log_lines = models.PositiveIntegerField(default=0)
    processor_seconds = models.FloatField(null=True, blank=True, help_text="user and system time of its commands that have ended")

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
            # Needed for unfinished builds too: SQLite does not use a partial index if the state is a query parameter.
            models.Index(fields=["state", "-created_at"], name="build_state"),
            models.Index(fields=["-created_at"], name="build_newest"),
            # For counting what waits without reading the builds. They have the state, because SQLite would read the rows for it.
            models.Index(fields=["state", "created_at"], condition=Q(state="queued", not_before=None), name="build_waiting"),
            models.Index(
                fields=["state", "not_before"], condition=Q(state="queued", not_before__isnull=False), name="build_delayed"
            ),
            # Covers the attempts that the overview counts.
            models.Index(fields=["finished_at", "state", "fault", "cause_code"], name="build_ended"),
            # For lists of rare builds. A query must repeat the condition word for word for the database to use the index.
            models.Index(fields=["mode", "-created_at"], condition=~Q(mode="latest"), name="build_rare_mode"),
            models.Index(fields=["-created_at"], condition=Q(automatic=True), name="build_automatic"),
            # It has the state, because SQLite would read the builds for it.
            models.Index(fields=["cause_code", "submission", "state"], condition=Q(state="failed"), name="build_failed_with"),
            models.Index(fields=["cause_code", "state", "-created_at"], condition=Q(state="failed"), name="build_newest_failed"),
            models.Index(fields=["fingerprint", "-finished_at"], condition=~Q(fingerprint=""), name="build_failed_alike"),
            # The same for the submissions of some days, all causes at once. Not by state: SQLite would take the index build_state for it.
            models.Index(fields=["submission", "cause_code", "fault"], condition=~Q(cause_code=""), name="build_failed_of"),
            models.Index(fields=["automatic", "submission"], condition=Q(number__gt=1), name="build_tried_again"),
            # For turns: which owners have queued builds, and when an owner's last build ended. No parameter is in the conditions, so that
            # SQLite uses them.
            models.Index(
                fields=["state", "rank", "owner", "created_at", "not_before"], condition=Q(started_at=None), name="build_turns"
            ),
            models.Index(fields=["owner", "finished_at"], condition=Q(started_at__isnull=False), name="build_served"),
            models.Index(fields=["reused"], condition=Q(reused__isnull=False), name="build_reused"),
        ]

    def __str__(self) -> str:
        return f"build {self.number} of {self.submission_id}"

    @property
    def commit_link(self) -> str:
        return commit_link(self.submission.repository, self.commit)

    @property
    def made_by(self) -> Build | None:
        """The build that made what this one only delivers, and whose findings it repeats; None if it makes its exports itself."""
        return self.reused or (self.source if self.mode == Mode.DELIVER else None)


class Stage(models.Model):
    """A stage of a build. Its row is written before its work starts."""

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
        """How long the stage took, or has taken so far."""
        return ((self.finished_at or clock.now()) - self.started_at).total_seconds()


class LogBatch(models.Model):
    """Consecutive lines of a build's log. :mod:`builds.record.logs` reads and writes ``records``."""

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
    """A file that a build made and delivers. It is kept for a later delivery."""

    build = models.ForeignKey(Build, models.CASCADE, related_name="artifacts")
    role = models.CharField(max_length=12)
    name = models.CharField(max_length=2000, help_text="the filename that desci-server gets; for a MECA its folder")
    file = models.CharField(max_length=255, help_text="name in the build's folder of kept exports")
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    position = models.PositiveSmallIntegerField()
    pages = models.IntegerField(default=0, db_default=0, help_text="pages of a PDF; 0 for others, and for PDFs of older releases")

    class Meta:
        ordering = ("position",)
        constraints = [models.UniqueConstraint(fields=["build", "position"], name="artifact_position_once")]

    def __str__(self) -> str:
        return self.name
