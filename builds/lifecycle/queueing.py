"""Queueing a new build of a submission, and moving a queued one to the front."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from builds.lifecycle import turns
from builds.lifecycle.counting import count_queued
from builds.lifecycle.handling import reopen
from builds.lifecycle.rows import ActionRefused, lock, mirror_state, queue_update, record_event
from builds.models import Build, EventKind, Mode, Rank, State, StatusUpdate, Submission, clock
from builds.queue import store
from builds.record import search, steps
from builds.record.inserts import insert
from builds.record.steps import Step


def queue(
    submission: Submission,
    *,
    actor: str,
    kind: EventKind,
    mode: Mode = Mode.LATEST,
    source: Build | None = None,
    reason: str = "",
    automatic: bool = False,
    not_before: datetime | None = None,
    rank: Rank = Rank.IN_TURN,
) -> Build:
    """Create the next build of ``submission`` in the caller's transaction, and enqueue it in RQ once that has been committed.

    ``kind``, ``actor`` and ``reason`` go into the event. ``source`` is the build whose commit or exports ``mode`` reuses.
    With ``not_before`` in the future, the reconciler enqueues the build at that time.
    """
    last = submission.builds.order_by("-number").values_list("number", flat=True).first() or 0
    build = Build(
        submission=submission,
        number=last + 1,
        mode=mode,
        source=source,
        requested_by=actor,
        owner=turns.owner_of(submission),
        rank=turns.rank_in(mode, rank),
        automatic=automatic,
        created_at=clock.now(),
        not_before=not_before,
    )
    _write(build, kind, reason)
    mirror_state(submission, State.QUEUED)
    if not automatic:
        reopen(submission)
    search.index(submission.pk)
    count_queued(kind)
    return build


def queue_first(submission: Submission, *, actor: str) -> Build:
    """As :func:`queue`, for a submission that the caller's transaction has just inserted as queued and counts.

    It reads nothing. The reconciler writes the search words (:func:`builds.record.search.index_missing`).
    """
    build = Build(submission=submission, number=1, requested_by=actor, owner=turns.owner_of(submission), created_at=clock.now())
    _write(build, EventKind.SUBMITTED, "")
    return build


def _write(build: Build, kind: EventKind, reason: str) -> None:
    """Write the row of a new build, its event and its status update. Tell RQ of it after the commit, if it may start now."""
    actor = build.requested_by
    insert(build)
    record_event(build, kind, actor, reason)
    _log(build, kind, actor)
    # A moment later: the outbox would hold up the next submission while it writes, and whoever submitted knows that it is queued.
    queue_update(build, StatusUpdate.Status.IN_PROGRESS, _queued_message(build), at_once=False)
    if build.not_before is None or build.not_before <= clock.now():
        transaction.on_commit(lambda: store.enqueue_soon(str(build.pk)), robust=True)


def _log(build: Build, kind: EventKind, actor: str) -> None:
    if kind not in (EventKind.SUBMITTED, EventKind.SUBMITTED_AGAIN):
        steps.log(Step.BUILD_RETRIED, build, by=actor, mode=build.mode, automatic=build.automatic)
    steps.log(Step.BUILD_QUEUED, build, by=actor, mode=build.mode, notBefore=build.not_before)


def start_waiting(build: Build) -> None:
    """Let a queued build start now instead of at ``build.not_before``. No effect if that time has changed, or the build has started."""
    Build.objects.filter(pk=build.pk, state=State.QUEUED, not_before=build.not_before).update(not_before=clock.now())


@transaction.atomic
def build_next(build: Build, *, actor: str, reason: str = "") -> None:
    """Let a queued build start before all others, whatever the limit of its owner. One that waits until a time need not wait any more.

    Raises:
        ActionRefused: it is not queued, or is at the front already.
    """
    lock(build.submission_id)
    now = clock.now()
    queued = Build.objects.filter(pk=build.pk, state=State.QUEUED)
    if not queued.exclude(rank=Rank.NEXT).update(rank=Rank.NEXT):
        build.refresh_from_db()
        raise ActionRefused(next_refusal(build))
    queued.filter(not_before__gt=now).update(not_before=now)
    record_event(build, EventKind.MOVED_TO_FRONT, actor, reason)
    steps.log(Step.BUILD_MOVED_TO_FRONT, build, by=actor, reason=steps.reason(reason))
    transaction.on_commit(lambda: store.enqueue_missing_soon([str(build.pk)]), robust=True)


def next_refusal(build: Build) -> str:
    """Why a build can't be moved to the front; empty if it can."""
    if build.state != State.QUEUED:
        now = "is already running" if build.state == State.RUNNING else f"has already ended ({build.state})"
        return f"It {now}. Only a queued attempt can be built next."
    return "It is already at the front of the queue." if build.rank == Rank.NEXT else ""


def _queued_message(build: Build) -> str:
    if build.number == 1:
        return "Queued."
    return f"Queued again (attempt {build.number})."
