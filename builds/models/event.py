"""The history of a submission."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from builds.models.build import Mode


class EventKind(models.TextChoices):
    """What happened. The values are stored and shown, so they never change."""

    SUBMITTED = "submitted"
    SUBMITTED_AGAIN = "submitted again"
    RETRIED_LATEST = "retried (latest)"
    RETRIED_SAME_COMMIT = "retried (same-commit)"
    RETRIED_CLEAN = "retried (clean)"
    RETRIED_DELIVER = "retried (deliver)"
    RETRIED_AUTOMATICALLY = "retried by itself"
    EXPORTS_GONE = "kept exports gone"
    REUSED = "result reused"
    STARTED = "started"
    CANCEL_REQUESTED = "cancel requested"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    MOVED_TO_FRONT = "moved to the front"
    STATUS_UPDATE_PUSHED = "status update pushed"
    LETTER_SENT = "letter sent"
    LETTER_WRITTEN = "letter written"
    NOTE = "note"
    TAKEN = "taken"
    GIVEN = "given to"
    DROPPED = "dropped"
    WAITING = "waiting for the author"
    SET_ASIDE = "set aside"
    DEALT_WITH = "dealt with"
    BACK = "back on the desk"

    @classmethod
    def retried(cls, mode: Mode) -> EventKind:
        """A retry by a person, in this mode."""
        return cls(f"retried ({mode})")


class Event(models.Model):
    """What happened, to which build, by whom, and why. Rows are only ever added."""

    submission = models.ForeignKey("builds.Submission", models.CASCADE, related_name="events")
    build = models.ForeignKey("builds.Build", models.CASCADE, null=True, blank=True, related_name="events")
    kind = models.CharField(max_length=40)
    actor = models.CharField(max_length=200)
    reason = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.kind} by {self.actor}"
