"""Cancelling: requested by staff, by desci-server, or because the same node has a newer submission."""

from __future__ import annotations

from contextlib import suppress

from django.db import transaction

from builds.lifecycle.queueing import queue
from builds.lifecycle.rows import DESCI_SERVER, StaleBuild, end, lock, queue_update, record_event
from builds.models import FINAL, UNFINISHED, Build, EventKind, State, StatusUpdate, Submission, clock
from builds.record import steps
from builds.record.steps import Step


@transaction.atomic
def request_cancel(build: Build, *, actor: str, reason: str) -> None:
    """Cancel a queued build at once, or ask the worker of a running build to stop it.

    A running build is cancelled once its worker has proved that none of its processes runs.

    Raises:
        StaleBuild: the build has already ended.
    """
    lock(build.submission_id)
    requested = Build.objects.filter(pk=build.pk, state__in=[State.QUEUED, State.RUNNING], cancel_requested_at=None).update(
        cancel_requested_at=clock.now(), cancel_requested_by=actor, cancel_reason=reason
    )
    build.refresh_from_db()
    if build.state in FINAL:
        raise StaleBuild
    if requested:
        record_event(build, EventKind.CANCEL_REQUESTED, actor, reason)
        steps.log(Step.CANCEL_REQUESTED, build, by=actor, reason=steps.reason(reason))
    if build.state == State.QUEUED:
        finish_cancel(build)


@transaction.atomic
def finish_cancel(build: Build) -> None:
    """Mark a build as cancelled. None of its processes may be running."""
    end(build, State.CANCELLED)
    build.refresh_from_db()  # the row can no longer change: who cancelled it, and whether desci-server has submitted it again
    record_event(build, EventKind.CANCELLED, build.cancel_requested_by, build.cancel_reason)
    if build.submission.unwanted_at is None or build.resubmitted_at:
        message = f"Cancelled by {build.cancel_requested_by}: {build.cancel_reason}"
        queue_update(build, StatusUpdate.Status.FAILED, message)
    if build.resubmitted_at:
        queue(build.submission, actor=DESCI_SERVER, kind=EventKind.SUBMITTED_AGAIN)


def supersede_others(submission: Submission) -> None:
    """Cancel the builds of the node's other submissions: desci-server has already deleted their tasks."""
    others = Submission.objects.filter(node_uuid=submission.node_uuid, state__in=UNFINISHED).exclude(pk=submission.pk)
    if not (ids := list(others.values_list("pk", flat=True))):  # the usual case; a join would read all unfinished builds
        return
    for build in Build.objects.unfinished().filter(submission__in=ids).select_related("submission"):
        with suppress(StaleBuild):  # it has ended in the meantime
            request_cancel(build, actor=DESCI_SERVER, reason=f"Superseded by the newer submission {submission.job_id}.")
