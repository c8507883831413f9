"""How a build ends without being cancelled: it succeeds, fails, or loses its worker."""

from __future__ import annotations

import logging
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Coalesce

from builds.errors import Cause, DatabaseAway, WorkerLost, WorkerStopped
from builds.lib.units import counted
from builds.lifecycle.cancelling import finish_cancel
from builds.lifecycle.handling import settle_earlier
from builds.lifecycle.retrying import automatic_retry_at, queue_retry, retry_after_loss_at
from builds.lifecycle.rows import JOBSITE, StaleBuild, end, lock, lock_node, queue_update, record_event
from builds.models import Build, EventKind, State, StatusUpdate, Submission, clock
from builds.record import build_cache, failure_groups, search, steps
from builds.record.failure_groups import Kind
from builds.record.steps import Step

# How many submissions are completed at once.
MAX_REPEATED = 500
# Word for word what Jobsite's predecessor sent (CONTRACT §3).
COMPLETED_MESSAGE = "Files exported successfully"


@transaction.atomic
def succeed(build: Build, *, cache_key: str = "") -> None:
    """All declared exports were made, checked and received. The findings of the build are written already.

    With ``cache_key``, later builds with that key may use its result.
    """
    problems = Build.objects.values_list("problems", flat=True).get(pk=build.pk)
    lock_node(build.submission.node_uuid)
    end(build, State.SUCCEEDED, problems=problems)
    if cache_key:
        build_cache.keep(build, cache_key)
    settle_earlier(build)
    record_event(build, EventKind.SUCCEEDED, build.worker, f"with {counted(problems, 'problem')}" if problems else "")
    if settings.REPORT_COMPLETED:
        message = f"{COMPLETED_MESSAGE}, with {counted(problems, 'problem')}:" if problems else COMPLETED_MESSAGE
        queue_update(build, StatusUpdate.Status.COMPLETED, message, link=bool(problems))


@transaction.atomic
def fail(build: Build, cause: Cause, *, stage: str = "", retry_at: datetime | None = None) -> None:
    """End a build as failed. With ``retry_at``, a new build is queued for that time and desci-server does not get FAILED yet."""
    kind = Kind.of(cause, stage)
    end(
        build,
        State.FAILED,
        retried=retry_at is not None,
        fault=cause.fault,
        fingerprint=kind.fingerprint,
        cause_code=cause.code,
        cause=cause.sentence,
        advice=cause.advice,
        cause_file=cause.file[:2000],
        cause_line=cause.line,
        cause_log_line=cause.log_line,
    )
    reason = f"{stage}: {cause.sentence}" if stage else cause.sentence
    record_event(build, EventKind.FAILED, build.worker or JOBSITE, reason)
    if retry_at:
        queue_retry(build, cause, retry_at)
    else:
        search.index(build.submission_id)
        queue_update(build, StatusUpdate.Status.FAILED, f"{cause.sentence} {cause.advice}".strip())
    failure_groups.count(build, kind, cause.fault)


@transaction.atomic
def lose(build: Build, *, was_watched: bool = False, excused: bool = False) -> None:
    """End a build whose worker did not renew the lease in time, and queue a new one, once.

    ``build`` is the row as the caller has read it. If a cancel had been requested by then, none of the build's processes may be running.
    Otherwise the caller ends them afterwards, so that a worker that still renews its lease does not lose its commands.

    ``was_watched``: the caller has seen that the lease of ``build`` was not renewed, so the clocks do not matter. ``excused``: the
    database was away, so that the worker could not renew the lease. That is no loss of a worker.

    Raises:
        StaleBuild: the build has ended, its lease is valid again, or a cancel was requested since it was read.
    """
    lock(build.submission_id)
    lease = {"lease_expires_at": build.lease_expires_at} if was_watched else {"lease_expires_at__lt": clock.now()}
    lapsed = Build.objects.select_for_update(of=("self",), no_key=True).filter(
        pk=build.pk, state=State.RUNNING, cancel_requested_at=build.cancel_requested_at, **lease
    )
    lost = lapsed.select_related("submission", "source").first()
    if lost is None:
        raise StaleBuild
    if lost.cancel_requested_at:
        finish_cancel(lost)
    else:
        give_up(lost, excused=excused)


@transaction.atomic
def give_up(build: Build, *, excused: bool = False) -> None:
    """Fail a build whose worker has died, and queue a new one; a second loss in a row is final. ``excused``: see :func:`lose`."""
    steps.log(Step.BUILD_LOST, build, level=logging.WARNING)
    cause = DatabaseAway().cause if excused else WorkerLost().cause
    fail(build, cause, retry_at=automatic_retry_at(build, cause) if excused else retry_after_loss_at(build))


@transaction.atomic
def hand_over(build: Build) -> None:
    """Fail a build whose worker the operators are stopping, and queue a new one. Not a loss. Its processes must have ended."""
    fail(build, WorkerStopped().cause, retry_at=clock.now())


def repeat_causes(since: datetime) -> None:
    """Repeat at the submissions why their newest builds failed since then, where a worker of an older release did not do so.

    While an upgrade goes on, such a worker writes to its build, and does not know the columns of the submission.
    """
    newer = Build.objects.filter(submission=OuterRef("submission"), number__gt=OuterRef("number"))
    # SQLite would take the index of states, and read every failure that there ever was.
    ended = Build.objects.alias(outcome=Coalesce("submission__state", "submission__state")).filter(finished_at__gte=since)
    failed = ended.filter(~Exists(newer), outcome=State.FAILED)
    differ = failed.exclude(submission__cause_code=F("cause_code"), submission__fingerprint=F("fingerprint"))
    for build in list(differ.select_related("submission").order_by("finished_at")[:MAX_REPEATED]):
        with transaction.atomic():
            lock(build.submission_id)
            if build.submission.newest_build().pk == build.pk:
                Submission.objects.filter(pk=build.submission_id).update(
                    cause_code=build.cause_code, fingerprint=build.fingerprint
                )
