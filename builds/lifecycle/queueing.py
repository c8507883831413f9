"""A new build of a submission, to be taken by a worker."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from builds import queue as rq_queue
from builds import search
from builds.lifecycle.rows import event, show, tell
from builds.models import Build, Mode, State, Submission
from builds.outbox_models import StatusUpdate


def queue(
    submission: Submission,
    *,
    actor: str,
    kind: str,
    mode: Mode = Mode.LATEST,
    source: Build | None = None,
    reason: str = "",
    automatic: bool = False,
    not_before: datetime | None = None,
) -> Build:
    last = submission.builds.order_by("-number").values_list("number", flat=True).first() or 0
    build = Build.objects.create(
        submission=submission,
        number=last + 1,
        mode=mode,
        source=source,
        requested_by=actor,
        automatic=automatic,
        not_before=not_before,
    )
    show(submission, State.QUEUED)
    search.index(submission.pk)
    event(build, kind, actor, reason)
    tell(build, StatusUpdate.Status.IN_PROGRESS, _queued_message(build))
    if not_before is None or not_before <= timezone.now():
        transaction.on_commit(lambda: rq_queue.enqueue_soon(str(build.pk)), robust=True)
    return build


def _queued_message(build: Build) -> str:
    if build.number == 1:
        return "Queued."
    return f"Queued again (attempt {build.number})."
