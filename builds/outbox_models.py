"""The outbox's rows: what desci-server must hear of each submission, every try to tell it, and whether all is held back."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone


class StatusUpdateQuerySet(models.QuerySet["StatusUpdate"]):
    def pending(self) -> StatusUpdateQuerySet:
        return self.filter(state=StatusUpdate.State.PENDING)

    def heads(self) -> StatusUpdateQuerySet:
        """Of each submission the oldest update that desci-server does not have yet: the only one that may be sent."""
        return self.pending().filter(~self._earlier())

    def behind(self) -> StatusUpdateQuerySet:
        """Those that wait for an earlier one of their submission."""
        return self.pending().filter(self._earlier())

    @staticmethod
    def _earlier() -> models.Exists:
        earlier = StatusUpdate.objects.pending().filter(submission=models.OuterRef("submission"), id__lt=models.OuterRef("id"))
        return models.Exists(earlier)

    def idle(self) -> StatusUpdateQuerySet:
        """Those that no outbox is sending at the moment."""
        return self.pending().filter(Q(sending_until=None) | Q(sending_until__lt=timezone.now()))

    def due(self) -> StatusUpdateQuerySet:
        return self.heads().idle().filter(next_try_at__lte=timezone.now()).order_by("next_try_at")


class StatusUpdate(models.Model):
    """A message that desci-server must get. Kept until it has it."""

    class State(models.TextChoices):
        PENDING = "pending"
        RECEIVED = "received", "received by desci-server"
        SKIPPED = "skipped", "skipped: a later one made it pointless"
        UNWANTED = "unwanted", "unwanted: desci-server has no such job any more"

    class Status(models.TextChoices):
        """desci-server's words. It has a fourth, PENDING, that must never be sent (CONTRACT §2)."""

        IN_PROGRESS = "IN_PROGRESS"
        COMPLETED = "COMPLETED"
        FAILED = "FAILED"

    submission = models.ForeignKey("builds.Submission", models.CASCADE, related_name="status_updates")
    build = models.ForeignKey("builds.Build", models.CASCADE, related_name="status_updates")
    status = models.CharField(max_length=11, choices=Status.choices)
    message = models.TextField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    created_at = models.DateTimeField(default=timezone.now)
    next_try_at = models.DateTimeField(default=timezone.now)
    sending_until = models.DateTimeField(null=True, blank=True, help_text="one outbox has it until then")
    tries = models.PositiveIntegerField(default=0)
    settled_at = models.DateTimeField(null=True, blank=True)

    objects = StatusUpdateQuerySet.as_manager()

    class Meta:
        ordering = ("id",)
        indexes = [
            models.Index(fields=["submission", "id"], condition=Q(state="pending"), name="status_update_pending"),
            models.Index(fields=["next_try_at"], condition=Q(state="pending"), name="status_update_due"),
            models.Index(fields=["-id"], condition=Q(state="pending"), name="status_update_newest_pending"),
            models.Index(fields=["-id"], condition=Q(state="skipped"), name="status_update_skipped"),
            models.Index(fields=["-id"], condition=Q(state="unwanted"), name="status_update_unwanted"),
        ]

    def __str__(self) -> str:
        return f"{self.status}: {self.message}"

    @property
    def is_final(self) -> bool:
        return self.status != self.Status.IN_PROGRESS


class StatusUpdateTry(models.Model):
    """One attempt to send a status update, and what desci-server answered."""

    status_update = models.ForeignKey(StatusUpdate, models.CASCADE, related_name="attempts")
    at = models.DateTimeField(default=timezone.now)
    code = models.PositiveSmallIntegerField(null=True, blank=True)
    body = models.TextField(blank=True)
    error = models.TextField(blank=True)
    seconds = models.FloatField()

    class Meta:
        ordering = ("id",)
        verbose_name_plural = "status update tries"

    def __str__(self) -> str:
        return str(self.code or self.error)


class OutboxHold(models.Model):
    """There while desci-server refuses our secret: the outbox holds all back and only asks now and then. One row at most."""

    ONLY = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY, editable=False)
    since = models.DateTimeField(default=timezone.now)
    answer = models.TextField(help_text="what desci-server answered last")
    tries = models.PositiveIntegerField(default=1)
    next_try_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="outbox_hold_is_one")]

    def __str__(self) -> str:
        return f"Status updates are held back since {self.since:%Y-%m-%d %H:%M} UTC"
