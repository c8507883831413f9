"""Messages that Jobsite sends: alarms and the daily digest to operators, letters to authors. Each is sent until it has arrived."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from builds.models import clock


class NotificationQuerySet(models.QuerySet["Notification"]):
    def due(self) -> NotificationQuerySet:
        """Pending notifications whose time has come and that no process is sending."""
        now = clock.now()
        idle = Q(sending_until=None) | Q(sending_until__lt=now)
        return self.filter(idle, state=Notification.State.PENDING, next_try_at__lte=now).order_by("next_try_at")


class Notification(models.Model):
    """One message on one way. ``recipient`` is an e-mail address, and empty for the webhook."""

    class Channel(models.TextChoices):
        EMAIL = "email"
        WEBHOOK = "webhook"

    class State(models.TextChoices):
        PENDING = "pending"
        SENT = "sent"
        GIVEN_UP = "given up"

    channel = models.CharField(max_length=10, choices=Channel.choices)
    recipient = models.CharField(max_length=254, blank=True)
    reply_to = models.CharField(max_length=254, blank=True, db_default="", default="")
    kind = models.CharField(max_length=100)
    subject = models.CharField(max_length=200)
    text = models.TextField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    created_at = models.DateTimeField(default=timezone.now)
    next_try_at = models.DateTimeField(default=timezone.now)
    sending_until = models.DateTimeField(null=True, blank=True, help_text="reserved for one outbox until then")
    tries = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True, help_text="why the last try failed")
    settled_at = models.DateTimeField(null=True, blank=True)

    objects = NotificationQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["next_try_at"], condition=Q(state="pending"), name="notification_due"),
            models.Index(fields=["created_at"], name="notification_age"),
        ]

    def __str__(self) -> str:
        return self.subject


class RaisedAlarm(models.Model):
    """An alarm that the operators were told of, or a digest that was made. Its key prevents a second message, whichever host makes it."""

    key = models.CharField(max_length=200, primary_key=True)
    since = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.key
