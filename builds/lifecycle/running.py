"""A worker has a build: its claim by a lease, its stages, and the commit that it found."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Q
from django.utils import timezone

from builds import search
from builds.lifecycle.rows import StaleBuild, event, show, tell
from builds.models import Build, Stage, State
from builds.outbox_models import StatusUpdate
from builds.queue_models import QueueControl


@transaction.atomic
def claim(build_id: str, *, worker: str) -> Build | None:
    """Take a queued build for ``worker``, by a lease. None where it is not to be started: only one claim ever succeeds.

    Nothing is started while the queue is paused: the build waits, and is told to RQ again when the queue is resumed.
    """
    now = timezone.now()
    paused = Exists(QueueControl.objects.filter(paused_at__isnull=False))
    may_start = (Q(not_before=None) | Q(not_before__lte=now)) & ~paused
    taken = Build.objects.filter(may_start, pk=build_id, state=State.QUEUED, cancel_requested_at=None).update(
        state=State.RUNNING, worker=worker, started_at=now, lease_expires_at=now + _lease()
    )
    if not taken:
        return None
    build = Build.objects.select_related("submission", "source").get(pk=build_id)
    show(build.submission, State.RUNNING)
    event(build, "started", worker, "")
    return build


def _lease() -> timedelta:
    return timedelta(seconds=settings.LEASE_SECONDS)


def renew(build: Build) -> str:
    """Renew the lease. Empty if the build goes on, otherwise why it must stop.

    A build of which the database says that it runs no more can't be renewed: its worker was taken for lost.
    """
    renewed = Build.objects.filter(pk=build.pk, state=State.RUNNING).update(lease_expires_at=timezone.now() + _lease())
    return cancel_asked(build) if renewed else "The lease of this build was lost."


def cancel_asked(build: Build) -> str:
    """Why somebody wants the build to end; empty where nobody does."""
    cancelled = Build.objects.filter(pk=build.pk, cancel_requested_at__isnull=False).values_list("cancel_reason", flat=True)
    return next((reason or "Cancelled." for reason in cancelled), "")


@transaction.atomic
def enter_stage(build: Build, name: str) -> Stage:
    """Open a stage, before its work starts.

    Raises:
        StaleBuild: the build does not run any more, or must be cancelled.
    """
    current = Build.objects.select_for_update().filter(pk=build.pk, state=State.RUNNING, cancel_requested_at=None).first()
    if current is None:
        raise StaleBuild
    stage = Stage.objects.create(build=build, name=name, first_log_line=current.log_lines + 1)
    tell(build, StatusUpdate.Status.IN_PROGRESS, f"Attempt {build.number}: {name} has started.")
    return stage


def leave_stage(stage: Stage, state: Stage.State) -> None:
    Stage.objects.filter(pk=stage.pk, state=Stage.State.RUNNING, build__state=State.RUNNING).update(
        state=state, finished_at=timezone.now()
    )


def pin(build: Build, *, commit: str, ref: str, path: str) -> None:
    """Keep which commit is built.

    Raises:
        StaleBuild: the build does not run any more.
    """
    if not Build.objects.filter(pk=build.pk, state=State.RUNNING).update(commit=commit, ref=ref[:500], path=path[:2000]):
        raise StaleBuild
    build.commit, build.ref, build.path = commit, ref, path
    search.index(build.submission_id)
