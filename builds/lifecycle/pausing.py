"""Pause, drain and resume. While the queue is paused, submissions are accepted but no build starts. Running builds finish normally.

Each verb is one transaction that also records who did it and why. It raises :class:`~builds.lifecycle.ActionRefused` if the queue is
already in that state.
"""

from __future__ import annotations

from django.db import transaction

from builds.lifecycle.rows import ActionRefused
from builds.models import Build, QueueChange, QueueControl, clock
from builds.queue import store
from builds.record import steps
from builds.record.steps import Step

STEPS = {
    QueueChange.Kind.PAUSED: Step.QUEUE_PAUSED,
    QueueChange.Kind.DRAINING: Step.QUEUE_DRAINING,
    QueueChange.Kind.RESUMED: Step.QUEUE_RESUMED,
}


@transaction.atomic
def pause(*, actor: str, reason: str) -> None:
    """Start no build until :func:`resume`."""
    control = _locked()
    if control.is_paused:
        raise ActionRefused(f"The queue is already {control}, at the request of {control.paused_by}.")
    _close(control, QueueChange.Kind.PAUSED, actor, reason)


@transaction.atomic
def drain(*, actor: str, reason: str) -> None:
    """Start no build, so that the workers can be stopped or replaced once the running builds have ended."""
    control = _locked()
    if control.draining:
        raise ActionRefused(f"The queue is already being drained, at the request of {control.paused_by}.")
    _close(control, QueueChange.Kind.DRAINING, actor, reason)


@transaction.atomic
def resume(*, actor: str, reason: str = "") -> None:
    """Let builds start again. Those that wait start at once, oldest first."""
    control = _locked()
    if not control.is_paused:
        raise ActionRefused("The queue is not paused.")
    QueueControl.objects.filter(pk=control.pk).update(paused_at=None, paused_by="", reason="", draining=False)
    _changed(QueueChange.Kind.RESUMED, actor, reason)
    waiting = [str(pk) for pk in Build.objects.waiting().values_list("pk", flat=True)]
    transaction.on_commit(lambda: store.enqueue_missing_soon(waiting), robust=True)


def _locked() -> QueueControl:
    """The only row, locked: if two people act at once, the second sees what the first has done."""
    QueueControl.objects.get_or_create(pk=1)
    return QueueControl.objects.select_for_update(no_key=True).get(pk=1)


def _close(control: QueueControl, kind: QueueChange.Kind, actor: str, reason: str) -> None:
    QueueControl.objects.filter(pk=control.pk).update(
        paused_at=control.paused_at or clock.now(),
        paused_by=actor[:200],
        reason=reason,
        draining=kind == QueueChange.Kind.DRAINING,
    )
    _changed(kind, actor, reason)


def _changed(kind: QueueChange.Kind, actor: str, reason: str) -> None:
    QueueChange.objects.create(kind=kind, actor=actor[:200], reason=reason, at=clock.now())
    steps.log(STEPS[kind], by=actor, reason=steps.reason(reason))
