"""The status updates that desci-server must receive, and its answer that it no longer has the job."""

from __future__ import annotations

from contextlib import suppress

from django.db import transaction

from builds.lifecycle.cancelling import request_cancel
from builds.lifecycle.rows import DESCI_SERVER, ActionRefused, StaleBuild, lock, queue_update, record_event
from builds.models import Build, EventKind, OutboxHold, Stage, State, StatusUpdate, Submission, clock
from builds.record import steps
from builds.record.steps import Step


@transaction.atomic
def push(update: StatusUpdate, *, actor: str, reason: str = "") -> None:
    """Send a pending status update, and those before it, now instead of after their pause.

    Raises:
        ActionRefused: the update is settled, or is already due.
    """
    lock(update.submission_id)
    now = clock.now()
    pending = StatusUpdate.objects.pending().filter(submission=update.submission_id, id__lte=update.pk)
    if not pending.filter(pk=update.pk).exists():
        raise ActionRefused("This status update is settled: desci-server has received it or no longer wants it.")
    if not (pending.filter(next_try_at__gt=now).exists() or OutboxHold.objects.filter(next_try_at__gt=now).exists()):
        raise ActionRefused("This update is already being sent; waiting for desci-server to answer.")
    pending.update(next_try_at=now)
    OutboxHold.objects.update(next_try_at=now)
    record_event(update.build, EventKind.STATUS_UPDATE_PUSHED, actor, reason)
    steps.log(Step.STATUS_UPDATE_PUSHED, update.build, by=actor, reason=steps.reason(reason))


@transaction.atomic
def ask_whether_wanted(build: Build) -> None:
    """Report to desci-server that the build is still running. If nobody waits for it, the answer is that there is no such job."""
    lock(build.submission_id)
    stage = build.stages.filter(state=Stage.State.RUNNING).first()
    if stage is None or not Build.objects.filter(pk=build.pk, state=State.RUNNING).exists():
        return
    steps.log(
        Step.STAGE_PROGRESS,
        build,
        stage=stage.name,
        duration=steps.seconds_since(stage.started_at),
        done=stage.progress_done,
        total=stage.progress_total,
    )
    if not build.submission.status_updates.pending().exists():  # a pending update gets the same answer
        queue_update(build, StatusUpdate.Status.IN_PROGRESS, f"Attempt {build.number}: {stage} is still running.")


@transaction.atomic
def mark_unwanted(submission: Submission, *, answer: str) -> None:
    """desci-server no longer has this job: cancel its build, unless it has just ended, and send no more updates."""
    lock(submission.pk)
    now = clock.now()
    Submission.objects.filter(pk=submission.pk).update(unwanted_at=now)
    pending = submission.status_updates.filter(state=StatusUpdate.State.PENDING)
    pending.update(state=StatusUpdate.State.UNWANTED, settled_at=now)
    steps.log(Step.SUBMISSION_UNWANTED, submission, answer=steps.reason(answer))
    for build in submission.builds.unfinished().filter(cancel_requested_at=None):
        with suppress(StaleBuild):  # it ended in the meantime
            request_cancel(build, actor=DESCI_SERVER, reason=f"desci-server no longer wants the result ({answer}).")
