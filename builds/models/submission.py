"""A submission: what desci-server asked for, and the front matter that it sent."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from builds.models.build import Build, State


class Submission(models.Model):
    """What desci-server asked for, once.

    ``state``, ``fault``, ``cause_code``, ``fingerprint`` and ``problems`` repeat the newest build's, so that a list needs no join.
    """

    job_id = models.CharField(max_length=200, unique=True)
    node_uuid = models.CharField(max_length=200, db_index=True)
    url = models.CharField(max_length=2000)
    repository = models.CharField(max_length=300, db_index=True, help_text="owner/name on GitHub")
    title = models.CharField(max_length=500, blank=True)
    authors = models.TextField(blank=True, help_text="names and ORCIDs, for search and display")
    subject = models.CharField(
        max_length=100, blank=True, db_default="", default="", help_text="the journal field: the subject of the front matter"
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    fault = models.CharField(
        max_length=12, blank=True, db_default="", default="", help_text="whose fault it is, if the newest build failed"
    )
    cause_code = models.CharField(
        max_length=60, blank=True, db_default="", default="", help_text="the code of the cause, if the newest build failed"
    )
    fingerprint = models.CharField(
        max_length=16, blank=True, db_default="", default="", help_text="the group of failures, if the newest build failed"
    )
    problems = models.PositiveIntegerField(
        db_default=0, default=0, help_text="broken findings, if the newest build succeeded all the same"
    )
    put_away = models.BooleanField(
        db_default=False,
        default=False,
        help_text="nobody has to look at it now: see Handling, or a later one of its node succeeded",
    )
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    updated_at = models.DateTimeField(default=timezone.now)
    unwanted_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="when desci-server said that it no longer has the job; cleared when it submits again",
    )

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["state", "-id"], name="submission_state"),
            models.Index(fields=["fault", "-id"], condition=~Q(fault=""), name="submission_fault"),
            models.Index(fields=["fingerprint", "-id"], condition=~Q(fingerprint=""), name="submission_alike"),
            # For counting and retrying those of a group that nobody has dealt with. The condition has the state too, because PostgreSQL has
            # statistics of both together: it knows how few failures are not put away.
            models.Index(
                fields=["fingerprint", "-id"],
                condition=~Q(fingerprint="") & Q(state="failed", put_away=False),
                name="submission_open_alike",
            ),
            models.Index(fields=["subject", "-id"], condition=~Q(subject=""), name="submission_subject"),
            models.Index(fields=["-id"], condition=Q(problems__gt=0), name="submission_with_problems"),
            models.Index(fields=["state", "-id"], condition=Q(state="failed", put_away=False), name="submission_needs_me"),
            models.Index(fields=["-id"], condition=Q(unwanted_at__isnull=False), name="submission_unwanted"),
            models.Index(fields=["state", "cause_code", "-id"], condition=~Q(cause_code=""), name="submission_cause"),
            models.Index(fields=["-id"], condition=Q(subject=""), name="submission_no_subject"),
            # These two cover everything that the overview counts of submissions.
            models.Index(fields=["created_at", "state", "problems", "subject"], name="submission_accepted"),
            models.Index(
                fields=["created_at", "cause_code", "state", "put_away"], condition=~Q(cause_code=""), name="submission_failed_by"
            ),
        ]
        permissions = [
            ("retry_submission", "Can retry a submission"),
            ("cancel_submission", "Can cancel a submission"),
            ("deliver_submission", "Can deliver a submission again"),
            ("push_submission", "Can send a status update again"),
            ("write_submission", "Can write to the authors of a submission"),
            ("handle_submission", "Can handle a submission"),
        ]

    def __str__(self) -> str:
        return self.title or self.job_id

    @property
    def link(self) -> str:
        """The address of this submission's page, for messages."""
        return f"{settings.PUBLIC_URL}/submissions/{self.pk}/"

    def newest_build(self) -> Build:
        return self.builds.latest("number")


class FrontMatter(models.Model):
    """The ``parsedDocument`` of a submission. A table of its own, because it may be 100 MB large and lists must not read it."""

    submission = models.OneToOneField(Submission, models.CASCADE, primary_key=True, related_name="front_matter")
    document = models.JSONField()

    class Meta:
        verbose_name_plural = "front matter"

    def __str__(self) -> str:
        return f"front matter of {self.submission_id}"

    @property
    def exports(self) -> tuple[Any, ...]:
        """The declared exports as the author wrote them; empty if there are none."""
        exports = self.document.get("exports")
        return tuple(exports) if isinstance(exports, list) else ()
