"""What the verbs count for the metrics, in their own transactions (:mod:`builds.record.metrics`)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models import Max

from builds.models import Build, EventKind, Stage, State
from builds.record import metrics

WHY_QUEUED = {
    EventKind.SUBMITTED: "submitted",
    EventKind.SUBMITTED_AGAIN: "submitted-again",
    EventKind.RETRIED_AUTOMATICALLY: "retried-automatically",
}


def count_submitted() -> None:
    """Count a new submission, and its first build."""
    metrics.add(metrics.counted(metrics.SUBMISSIONS), metrics.counted(metrics.QUEUED, WHY_QUEUED[EventKind.SUBMITTED]))


def count_queued(kind: EventKind) -> None:
    metrics.add(metrics.counted(metrics.QUEUED, WHY_QUEUED.get(kind, "retried")))


def count_started(build: Build, at: datetime) -> None:
    metrics.add(metrics.counted(metrics.STARTED), metrics.observed(metrics.WAIT, at - _possible_since(build)))


def count_stage(stage: Stage, state: Stage.State, at: datetime) -> None:
    metrics.add(metrics.observed(metrics.STAGE, at - stage.started_at, stage.name, state))


def count_ended(build_id: UUID, state: State, at: datetime, *, retried: bool) -> None:
    """Count a build whose row has just been written. ``retried``: automatically."""
    build = Build.objects.only("fault", "created_at", "not_before", "processor_seconds").get(pk=build_id)
    peak_memory = build.stages.aggregate(peak=Max("peak_memory_bytes"))["peak"]
    used = ((metrics.MEMORY, peak_memory), (metrics.PROCESSOR, build.processor_seconds))
    metrics.add(
        metrics.counted(metrics.ENDED, state, build.fault, "yes" if retried else "no"),
        metrics.observed(metrics.WHOLE, at - _possible_since(build), state),
        *(metrics.observed(metric, amount) for metric, amount in used if amount is not None),
    )


def _possible_since(build: Build) -> datetime:
    return max(build.created_at, build.not_before or build.created_at)
