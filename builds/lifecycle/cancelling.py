"""An end that somebody asks for: staff, desci-server, or a newer submission of the same node."""

from __future__ import annotations

from contextlib import suppress

from django.db import transaction
from django.utils import timezone

from builds.lifecycle.queueing import queue
from builds.lifecycle.rows import DESCI_SERVER, StaleBuild, end, event, tell
from builds.models import FINAL, Build, State, Submission
from builds.outbox_models import StatusUpdate


@transaction.atomic
def request_cancel(build: Build, *, actor: str, reason: str) -> None:
    """Ask for an end. A queued build is cancelled at once; a running one when its worker has proved that nothing of it runs.

    Raises:
        StaleBuild: the build has ended already.
    """
    asked = Build.objects.filter(pk=build.pk, state__in=[State.QUEUED, State.RUNNING], cancel_requested_at=None).update(
        cancel_requested_at=timezone.now(), cancel_requested_by=actor, cancel_reason=reason
    )
    build.refresh_from_db()
    if build.state in FINAL:
        raise StaleBuild
    if asked:
        event(build, "cancel requested", actor, reason)
    if build.state == State.QUEUED:
        finish_cancel(build)


@transaction.atomic
def finish_cancel(build: Build) -> None:
    """Nothing of the build runs any more: it is cancelled."""
    end(build, State.CANCELLED)
    build.refresh_from_db()  # now that nobody else can change the row: who asked, and whether desci-server has asked anew
    event(build, "cancelled", build.cancel_requested_by, build.cancel_reason)
    if build.submission.unwanted_at is None or build.resubmitted_at:
        message = f"Cancelled by {build.cancel_requested_by}: {build.cancel_reason}"
        tell(build, StatusUpdate.Status.FAILED, message)
    if build.resubmitted_at:
        queue(build.submission, actor=DESCI_SERVER, kind="submitted again")


def supersede_others(submission: Submission) -> None:
    """desci-server has already deleted its older tasks for this node."""
    older = Build.objects.unfinished().filter(submission__node_uuid=submission.node_uuid).exclude(submission=submission)
    for build in older.select_related("submission"):
        with suppress(StaleBuild):  # it has ended meanwhile
            request_cancel(build, actor=DESCI_SERVER, reason=f"Superseded by the newer submission {submission.job_id}.")
