"""Pause, drain and resume: while the queue is paused, submissions are accepted and nothing starts. What runs goes on to its end.

Each verb is one transaction that writes who did it, and why, beside the change; it refuses, by
:class:`~builds.lifecycle.ActRefused`, what has happened already.
"""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from builds import queue
from builds.lifecycle import ActRefused
from builds.models import Build
from builds.queue_models import QueueChange, QueueControl


@transaction.atomic
def pause(*, actor: str, reason: str) -> None:
    """Let nothing start until :func:`resume`."""
    control = _locked()
    if control.is_paused:
        raise ActRefused(f"The queue is {control} already, since {control.paused_by} asked for it.")
    _close(control, QueueChange.Kind.PAUSED, actor, reason)


@transaction.atomic
def drain(*, actor: str, reason: str) -> None:
    """Let nothing start, so that the workers can be stopped or changed once what runs has ended."""
    control = _locked()
    if control.draining:
        raise ActRefused(f"The queue is being drained already, since {control.paused_by} asked for it.")
    _close(control, QueueChange.Kind.DRAINING, actor, reason)


@transaction.atomic
def resume(*, actor: str, reason: str = "") -> None:
    """Let builds start again; those that wait start at once, oldest first."""
    control = _locked()
    if not control.is_paused:
        raise ActRefused("The queue is not paused.")
    QueueControl.objects.filter(pk=control.pk).update(paused_at=None, paused_by="", reason="", draining=False)
    _changed(QueueChange.Kind.RESUMED, actor, reason)
    waiting = [str(pk) for pk in Build.objects.waiting().values_list("pk", flat=True)]
    transaction.on_commit(lambda: queue.enqueue_missing_soon(waiting), robust=True)


def _locked() -> QueueControl:
    """The one row, so that of two people who press at once the second finds what the first has done."""
    QueueControl.objects.get_or_create(pk=1)
    return QueueControl.objects.select_for_update().get(pk=1)


def _close(control: QueueControl, kind: QueueChange.Kind, actor: str, reason: str) -> None:
    QueueControl.objects.filter(pk=control.pk).update(
        paused_at=control.paused_at or timezone.now(),
        paused_by=actor[:200],
        reason=reason,
        draining=kind == QueueChange.Kind.DRAINING,
    )
    _changed(kind, actor, reason)


def _changed(kind: QueueChange.Kind, actor: str, reason: str) -> None:
    QueueChange.objects.create(kind=kind, actor=actor[:200], reason=reason)
