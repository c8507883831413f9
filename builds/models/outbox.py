"""The rows of the outbox: the status updates, every try to send them, and whether all are held back."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from builds.models import clock


class StatusUpdateQuerySet(models.QuerySet["StatusUpdate"]):
    def pending(self) -> StatusUpdateQuerySet:
        return self.filter(state=StatusUpdate.State.PENDING)

    def heads(self) -> StatusUpdateQuerySet:
        """The oldest pending update of each submission: the only one that may be sent."""
        return self.pending().filter(~self._earlier())

    def behind(self) -> StatusUpdateQuerySet:
        """Updates that wait for an earlier update of their submission."""
        return self.pending().filter(self._earlier())

    @staticmethod
    def _earlier() -> models.Exists:
        earlier = StatusUpdate.objects.pending().filter(submission=models.OuterRef("submission"), id__lt=models.OuterRef("id"))
        return models.Exists(earlier)

    def idle(self) -> StatusUpdateQuerySet:
        """Pending updates that no outbox is sending at the moment."""
        return self.pending().filter(Q(sending_until=None) | Q(sending_until__lt=clock.now()))

    def not_accepted(self) -> StatusUpdateQuerySet:
        """Pending updates that desci-server has not accepted. The first try of an update counts only once it has ended."""
        first_try_ended = Q(tries=1) & (Q(sending_until=None) | Q(sending_until__lt=clock.now()))
        return self.pending().filter(Q(tries__gt=1) | first_try_ended)

    def due(self) -> StatusUpdateQuerySet:
        return self.heads().idle().filter(next_try_at__lte=clock.now()).order_by("next_try_at")


class StatusUpdate(models.Model):
    """A message that desci-server must receive. Sent again until it has."""

    class State(models.TextChoices):
        PENDING = "pending"
        RECEIVED = "received", "received by desci-server"
        SKIPPED = "skipped", "skipped: superseded by a later update"
        UNWANTED = "unwanted", "unwanted: desci-server no longer has the job"

    class Status(models.TextChoices):
        """Three of desci-server's four values. The fourth, PENDING, must never be sent (CONTRACT §2)."""

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
    sending_until = models.DateTimeField(null=True, blank=True, help_text="reserved for one outbox until then")
    tries = models.PositiveIntegerField(default=0)
    settled_at = models.DateTimeField(null=True, blank=True)

    objects = StatusUpdateQuerySet.as_manager()

    class Meta:
        ordering = ("id",)
        indexes = [
            models.Index(fields=["submission", "id"], condition=Q(state="pending"), name="status_update_pending"),
            models.Index(fields=["next_try_at"], condition=Q(state="pending"), name="status_update_due"),
            models.Index(fields=["-id"], condition=Q(state="pending"), name="status_update_newest_pending"),
            # Only for queries that say both. Without the second condition SQLite would take it for all pending updates, and sort them.
            models.Index(
                fields=["state", "created_at"], condition=Q(state="pending", settled_at=None), name="status_update_oldest_pending"
            ),
            models.Index(fields=["-id"], condition=Q(state="skipped"), name="status_update_skipped"),
            models.Index(fields=["-id"], condition=Q(state="unwanted"), name="status_update_unwanted"),
        ]

    def __str__(self) -> str:
        return f"{self.status}: {self.message}"

    @property
    def is_being_sent(self) -> bool:
        return self.state == self.State.PENDING and self.sending_until is not None and self.sending_until > clock.now()

    @property
    def failed_tries(self) -> int:
        """How many tries desci-server did not accept. A try is counted before it is made."""
        return max(self.tries - self.is_being_sent, 0)

    @property
    def is_final(self) -> bool:
        return self.status != self.Status.IN_PROGRESS


class StatusUpdateTry(models.Model):
    """One try to send a status update, written before it is made. Its code, body and error say what desci-server answered."""

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
    """Exists while desci-server rejects the secret: the outbox holds all updates back and only probes now and then. At most one row."""

    ONLY = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY, editable=False)
    since = models.DateTimeField(default=timezone.now)
    answer = models.TextField(help_text="the latest answer of desci-server")
    tries = models.PositiveIntegerField(default=1)
    next_try_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="outbox_hold_is_one")]

    def __str__(self) -> str:
        return f"Status updates are held back since {self.since:%Y-%m-%d %H:%M} UTC"
