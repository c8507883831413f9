"""The rows of the queue: whether builds may start, who changed that, and which workers are alive."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.utils import timezone

from builds.models import clock

# A worker silent for this long accepts no builds: it is dead, hangs, or can't reach the queue store. Longer than a worker may need to
# end a build's processes.
SILENT_AFTER = timedelta(seconds=30)


class QueueControl(models.Model):
    """Whether builds may start. At most one row; without one, they may. Only :mod:`builds.lifecycle.pausing` changes it."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    paused_at = models.DateTimeField(null=True, blank=True)
    paused_by = models.CharField(max_length=200, blank=True)
    reason = models.TextField(blank=True)
    draining = models.BooleanField(default=False, help_text="paused until no build runs, to stop or replace the workers")

    class Meta:
        verbose_name_plural = "queue control"
        default_permissions = ("view",)
        permissions = [
            ("pause_queue", "Can pause and resume the queue"),
            ("drain_queue", "Can drain the queue"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="queue_control_once"),
            models.CheckConstraint(condition=Q(draining=False) | Q(paused_at__isnull=False), name="queue_draining_is_paused"),
        ]

    def __str__(self) -> str:
        return "draining" if self.draining else "paused" if self.paused_at else "open"

    @classmethod
    def now(cls) -> QueueControl:
        """The current state of the queue."""
        return cls.objects.first() or cls()

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None


class QueueChange(models.Model):
    """Who paused, drained or resumed the queue, and why. Rows are only ever added."""

    class Kind(models.TextChoices):
        PAUSED = "paused"
        DRAINING = "draining"
        RESUMED = "resumed"

    kind = models.CharField(max_length=10, choices=Kind.choices)
    actor = models.CharField(max_length=200)
    reason = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-id",)
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.kind} by {self.actor}"


class Worker(models.Model):
    """A worker's last sign of life, written by the worker. ``Build.worker`` is its ``name``."""

    name = models.CharField(max_length=200, primary_key=True)
    host = models.CharField(max_length=200)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)
    memory_bytes = models.BigIntegerField(default=0, help_text="of the worker and all its child processes")
    processor_seconds = models.FloatField(
        db_default=0, default=0, help_text="user and system time of the worker and all its child processes, ended ones included"
    )
    ending = models.BooleanField(default=False, help_text="stopping: it finishes its build first")
    sandbox = models.CharField(max_length=12, blank=True, db_default="", default="", help_text="the sandbox of its builds")
    cgroups = models.CharField(
        max_length=8, blank=True, db_default="", default="", help_text="the control groups that limit its builds"
    )
    isolation_notes = models.TextField(
        blank=True, db_default="", default="", help_text="why its builds are not sandboxed better, and what to do"
    )

    class Meta:
        ordering = ("name",)
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.name

    @property
    def is_silent(self) -> bool:
        return self.seen_at < clock.now() - SILENT_AFTER
