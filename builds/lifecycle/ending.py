"""How a build ends by itself: it succeeds, it fails, or its worker is gone."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from builds import search, storage
from builds.errors import Cause, Fault
from builds.lifecycle.cancelling import finish_cancel
from builds.lifecycle.queueing import queue
from builds.lifecycle.rows import JOBSITE, StaleBuild, end, event, tell
from builds.models import Build, Mode, State
from builds.outbox_models import StatusUpdate

# Word for word what the service before this one said (CONTRACT §3).
COMPLETED_MESSAGE = "Files exported successfully"

WORKER_LOST = Cause(
    Fault.SERVICE,
    "worker-lost",
    "The worker that ran the build was lost.",
    "Nothing has to be changed in the manuscript. Jobsite tries once more by itself.",
)

WORKER_STOPPED = Cause(
    Fault.SERVICE,
    "worker-stopped",
    "The worker that ran the build was stopped by the operators.",
    "Nothing has to be changed in the manuscript. Jobsite has queued the build again.",
)


@transaction.atomic
def succeed(build: Build) -> None:
    """Everything declared was made, checked and received."""
    end(build, State.SUCCEEDED)
    event(build, "succeeded", build.worker, "")
    if settings.REPORT_COMPLETED:
        tell(build, StatusUpdate.Status.COMPLETED, COMPLETED_MESSAGE, link=False)


@transaction.atomic
def fail(
    build: Build, cause: Cause, *, stage: str = "", retry_at: datetime | None = None, retry_mode: Mode = Mode.LATEST
) -> None:
    """End a build as failed. With ``retry_at`` a new one is queued for then, and desci-server hears of no failure yet."""
    end(
        build,
        State.FAILED,
        fault=cause.fault,
        cause_code=cause.code,
        cause=cause.sentence,
        advice=cause.advice,
        cause_file=cause.file[:2000],
        cause_line=cause.line,
        cause_log_line=cause.log_line,
    )
    event(build, "failed", build.worker or JOBSITE, f"{stage}: {cause.sentence}" if stage else cause.sentence)
    if retry_at:
        _retry_by_itself(build, cause, retry_at, retry_mode)
    else:
        search.index(build.submission_id)
        tell(build, StatusUpdate.Status.FAILED, f"{cause.sentence} {cause.advice}".strip())


def _retry_by_itself(build: Build, cause: Cause, retry_at: datetime, mode: Mode) -> None:
    has_own = {Mode.DELIVER: build.artifacts.exists(), Mode.SAME_COMMIT: bool(build.commit)}.get(mode)
    source = None if has_own is None else build if has_own else build.source
    queue(
        build.submission,
        actor=JOBSITE,
        kind="retried by itself",
        mode=mode,
        source=source,
        reason=cause.sentence,
        automatic=True,
        not_before=retry_at,
    )


@transaction.atomic
def lose(build: Build) -> None:
    """The worker did not renew its lease in time: fail the build, and queue a new one, once.

    Raises:
        StaleBuild: the build has ended, or its lease holds again.
    """
    lapsed = Build.objects.select_for_update(of=("self",)).filter(
        pk=build.pk, state=State.RUNNING, lease_expires_at__lt=timezone.now()
    )
    lost = lapsed.select_related("submission", "source").first()
    if lost is None:
        raise StaleBuild
    if lost.cancel_requested_at:
        finish_cancel(lost)
    else:
        give_up(lost)


@transaction.atomic
def give_up(build: Build) -> None:
    """The worker has died and nothing of the build runs any more: fail it, and queue a new one; a second loss in a row is final."""
    before = build.submission.builds.filter(number=build.number - 1).first()
    lost_before = before is not None and build.automatic and before.cause_code == WORKER_LOST.code
    fail(build, WORKER_LOST, retry_at=None if lost_before else timezone.now(), retry_mode=_mode_after_loss(build))


@transaction.atomic
def hand_over(build: Build) -> None:
    """The worker is being stopped by its operators and nothing of the build runs any more: queue it anew. Not counted as a loss."""
    fail(build, WORKER_STOPPED, retry_at=timezone.now(), retry_mode=_mode_after_loss(build))


def _mode_after_loss(build: Build) -> Mode:
    if build.mode == Mode.DELIVER or storage.has_kept_exports(build):
        return Mode.DELIVER
    return Mode.SAME_COMMIT if build.commit else Mode(build.mode)
