"""A running build: a worker claims it, renews its lease, enters its stages and pins its commit."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Q

from builds.lifecycle import turns
from builds.lifecycle.counting import count_started
from builds.lifecycle.rows import JOBSITE, StaleBuild, close_stages, lock, mirror_state, queue_update, record_event
from builds.models import Build, EventKind, Mode, QueueControl, Stage, StageName, State, StatusUpdate, clock
from builds.record import build_cache, search, steps
from builds.record.steps import Step


@transaction.atomic
def claim(build_id: str, *, worker: str) -> Build | None:
    """Start a queued build on ``worker``, with a lease. None if it must not start now: only one claim ever succeeds.

    While the queue is paused, no build starts. Resuming the queue enqueues the waiting builds in RQ again. If the owner has as many builds
    running as it may have, the end of one of them enqueues this one again.
    """
    queued = Build.objects.only("submission_id", "owner", "rank", "mode").filter(pk=build_id).first()
    if queued is None:
        return None
    lock(queued.submission_id)
    if not turns.has_room(queued):
        return None
    now = clock.now()
    paused = Exists(QueueControl.objects.filter(paused_at__isnull=False))
    may_start = (Q(not_before=None) | Q(not_before__lte=now)) & ~paused
    claimed = Build.objects.filter(may_start, pk=build_id, state=State.QUEUED, cancel_requested_at=None).update(
        state=State.RUNNING, worker=worker, started_at=now, lease_expires_at=now + _lease()
    )
    if not claimed:
        return None
    build = Build.objects.select_related("submission", "source").get(pk=build_id)
    count_started(build, now)
    mirror_state(build.submission, State.RUNNING)
    record_event(build, EventKind.STARTED, worker, "")
    steps.log(Step.BUILD_CLAIMED, build, mode=build.mode, waited=steps.seconds_since(build.not_before or build.created_at))
    return build


def _lease() -> timedelta:
    return timedelta(seconds=settings.LEASE_SECONDS)


def renew(build: Build) -> str:
    """Renew the lease. Returns why the build must stop, or an empty string.

    The lease of a build that is no longer running cannot be renewed: its worker was considered lost.
    """
    renewed = Build.objects.filter(pk=build.pk, state=State.RUNNING).update(lease_expires_at=clock.now() + _lease())
    return cancel_reason(build) if renewed else "The lease of this build was lost."


def cancel_reason(build: Build) -> str:
    """Why the build is being cancelled; empty if it is not."""
    reasons = Build.objects.filter(pk=build.pk, cancel_requested_at__isnull=False).values_list("cancel_reason", flat=True)
    return next((reason or "Cancelled." for reason in reasons), "")


@transaction.atomic
def enter_stage(build: Build, name: str) -> Stage:
    """Open the row of a stage before its work starts.

    Raises:
        StaleBuild: the build is no longer running, or is being cancelled.
    """
    lock(build.submission_id)
    running = Build.objects.select_for_update(no_key=True).filter(pk=build.pk, state=State.RUNNING, cancel_requested_at=None)
    log_lines = running.values_list("log_lines", flat=True).first()
    if log_lines is None:
        raise StaleBuild
    if there := build.stages.filter(name=name, state=Stage.State.RUNNING).first():
        return there  # the database was cut off after it had taken the row and before it said so
    stage = Stage.objects.create(build=build, name=name, started_at=clock.now(), first_log_line=log_lines + 1)
    queue_update(build, StatusUpdate.Status.IN_PROGRESS, f"Attempt {build.number}: {name} has started.")
    steps.log(Step.STAGE_STARTED, build, stage=name)
    if name == StageName.DELIVER:
        _send_pending_now(build)
    return stage


def _send_pending_now(build: Build) -> None:
    """Send the submission's status updates now instead of after their pause: the files can be delivered only after one of them."""
    StatusUpdate.objects.pending().filter(submission=build.submission_id).update(next_try_at=clock.now())


@transaction.atomic
def leave_stage(stage: Stage, state: Stage.State) -> None:
    """Close the row of a stage; no effect once the build has ended, because its end has closed it."""
    close_stages([stage], state, at=clock.now())


@transaction.atomic
def build_instead(build: Build, reason: str) -> None:
    """Let a running build that was to deliver kept exports build their commit again.

    Raises:
        StaleBuild: the build is no longer running.
    """
    build.mode = Mode.SAME_COMMIT
    if not Build.objects.filter(pk=build.pk, state=State.RUNNING).update(mode=build.mode):
        raise StaleBuild
    record_event(build, EventKind.EXPORTS_GONE, JOBSITE, reason)


@transaction.atomic
def reuse(build: Build, source: Build) -> None:
    """Let a running build deliver the result of ``source``, which built the same, instead of building.

    Raises:
        StaleBuild: the build is no longer running.
    """
    if not Build.objects.filter(pk=build.pk, state=State.RUNNING).update(reused=source):
        raise StaleBuild
    build.reused = source
    build_cache.note_use(source)
    record_event(build, EventKind.REUSED, JOBSITE, f"Attempt {source.number} of {source.submission.job_id} has built the same.")
    steps.log(Step.RESULT_REUSED, build, source=str(source.pk))


def pin(build: Build, *, commit: str, ref: str, path: str) -> None:
    """Record which commit is built.

    Raises:
        StaleBuild: the build is no longer running.
    """
    if not Build.objects.filter(pk=build.pk, state=State.RUNNING).update(commit=commit, ref=ref[:500], path=path[:2000]):
        raise StaleBuild
    build.commit, build.ref, build.path = commit, ref, path
    search.index(build.submission_id)
