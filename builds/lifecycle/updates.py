"""The status updates that desci-server must get, and its answer that nobody waits for them."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from builds.lifecycle.cancelling import request_cancel
from builds.lifecycle.rows import DESCI_SERVER, ActRefused, event, tell
from builds.models import Build, Stage, State, Submission
from builds.outbox_models import OutboxHold, StatusUpdate


@transaction.atomic
def push(update: StatusUpdate, *, actor: str, reason: str = "") -> None:
    """Have a status update that desci-server has not taken yet tried again at once, as far as its turn has come.

    Raises:
        ActRefused: it is settled, so that there is nothing to send, or its try is due already.
    """
    now = timezone.now()
    pending = StatusUpdate.objects.pending().filter(submission=update.submission_id, id__lte=update.pk)
    if not pending.filter(pk=update.pk).exists():
        raise ActRefused("This status update is settled: desci-server has it, or nobody waits for it any more.")
    if not (pending.filter(next_try_at__gt=now).exists() or OutboxHold.objects.filter(next_try_at__gt=now).exists()):
        raise ActRefused("desci-server is being told already; it has only to answer.")
    pending.update(next_try_at=now)
    OutboxHold.objects.update(next_try_at=now)
    event(update.build, "status update pushed", actor, reason)


@transaction.atomic
def ask_whether_wanted(build: Build) -> None:
    """Tell desci-server that the build goes on: it answers that it has no such job where nobody waits any more."""
    if build.submission.status_updates.pending().exists():
        return  # what it has not taken yet asks the same
    stage = build.stages.filter(state=Stage.State.RUNNING).first()
    if stage and Build.objects.filter(pk=build.pk, state=State.RUNNING).exists():
        tell(build, StatusUpdate.Status.IN_PROGRESS, f"Attempt {build.number}: {stage} goes on.")


@transaction.atomic
def nobody_waits(submission: Submission, *, answer: str) -> None:
    """desci-server has no such job any more: stop its build, and say nothing more of it."""
    now = timezone.now()
    Submission.objects.filter(pk=submission.pk).update(unwanted_at=now)
    pending = submission.status_updates.filter(state=StatusUpdate.State.PENDING)
    pending.update(state=StatusUpdate.State.UNWANTED, settled_at=now)
    for build in submission.builds.unfinished().filter(cancel_requested_at=None):
        build.submission.unwanted_at = now
        request_cancel(build, actor=DESCI_SERVER, reason=f"desci-server does not want the result any more ({answer}).")
