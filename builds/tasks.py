"""The task that RQ runs, by its dotted name ``builds.tasks.build``."""

from __future__ import annotations

import logging
import os
import signal
import time
from types import FrameType

from django.conf import settings

from builds import lifecycle
from builds.errors import BuildError, DatabaseAway
from builds.lib import log_context, release, tracing
from builds.lib.stop import Stop
from builds.models import Build
from builds.pipeline import assembly, outcome
from builds.pipeline.run import execute
from builds.pipeline.stop_reason import StopReason
from builds.queue import workers
from builds.record import steps
from builds.record.patience import DATABASE_AWAY, retry_while_away
from builds.record.steps import Step

logger = logging.getLogger(__name__)


def build(build_id: str) -> None:
    """Run the build, if it is still queued. The result is written to the database, not returned."""
    if release.has_changed():
        logger.info("a build waits for a worker of the release that was installed")
        return
    row = Build.objects.select_related("submission").only(*steps.IDENTITY).get(pk=build_id)
    with log_context.bound(jobId=row.submission.job_id, uuid=row.submission.node_uuid, build=build_id, attempt=row.number):
        steps.log(Step.WORKHORSE_STARTED, row, pid=os.getpid(), worker=workers.name_of(os.getppid()))
        with tracing.span("build", jobId=row.submission.job_id, uuid=row.submission.node_uuid, attempt=row.number):
            _build(build_id)


def _build(build_id: str) -> None:
    worker = os.getppid()
    stop = Stop()
    _stop_on_signal(stop, worker)
    stop.hold_until(time.monotonic() + settings.LEASE_SECONDS)
    claimed = lifecycle.claim(build_id, worker=workers.name_of(worker))
    if claimed is None:
        logger.info("the build must not start now")
        return
    try:
        run = assembly.assemble(claimed, stop)
    except DATABASE_AWAY:
        cause = DatabaseAway().cause
        retry_while_away(lambda: lifecycle.fail(claimed, cause, retry_at=lifecycle.automatic_retry_at(claimed, cause)))
    except Exception:
        logger.exception("the build could not start: internal error")
        cause, retry_at = outcome.excuse(claimed, BuildError().cause)
        lifecycle.fail(claimed, cause, retry_at=retry_at)
    else:
        execute(run)


def _stop_on_signal(stop: Stop, worker: int) -> None:
    """On SIGTERM, end the build's processes before this one. It comes from the worker, or from the kernel when the worker has died."""

    def set_stop(number: int, frame: FrameType | None) -> None:
        stop.set(StopReason.WORKER_STOPPED if os.getppid() == worker else StopReason.WORKER_DIED)

    signal.signal(signal.SIGTERM, set_stop)
