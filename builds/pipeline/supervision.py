"""What a worker does about its running build from outside the work-horse: it enforces a cancel and the time limits, and keeps the lease.

The work-horse does the same from inside, where it can end its commands in good order. Supervision is for a work-horse that is hung: in a
parser, in a system call, or stopped by a signal.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections

from builds import lifecycle
from builds.engine.process import tree
from builds.errors import BuildError, BuildStopped, Cause, ProcessesLeft, WorkerLost
from builds.lib.process_end import process_end
from builds.models import FINAL, Build, BuildQuerySet, Stage, StageName, State, clock
from builds.pipeline import isolation, time_limits
from builds.pipeline.assembly import limits
from builds.queue import workers
from builds.record import steps
from builds.record.logs import LogWriter
from builds.record.masking import redactor
from builds.record.patience import retry_while_away
from builds.record.steps import Step

logger = logging.getLogger(__name__)

# How long a work-horse may take to end its build after a cancel or a timeout. Its commands get 10 s of that to end.
GRACE_SECONDS = 11.0
# How long a work-horse may take to claim its build, and to remove the workspace after the build's end.
START_SECONDS, CLEAN_UP_SECONDS = 60.0, 15.0
FROM_OUTSIDE = "The build did not stop on its own, so the worker killed its processes."


class Supervision:
    """Watches the build of one work-horse. ``worker`` is the worker's name in the build's row.

    It measures times by the monotonic clock, from the moment it first saw something. No database connection stays open between two
    calls, because the worker forks.
    """

    def __init__(self, build_id: str, *, worker: str) -> None:
        self._build_id, self._worker = build_id, worker
        self._first_seen: dict[str, float] = {}
        self._started_at = time.monotonic()
        self._timed_out: BuildError | None = None
        self._has_ended = False

    def must_kill(self) -> bool:
        """Look at the build's row, and renew its lease if the work-horse does not. Whether the work-horse must be killed now."""
        try:
            workers.shorten_lock_wait()
            return self._look()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("the worker could not look at its build: %s", error, extra={"build": self._build_id})
            # The work-horse could not write the end of its build either: its time to do so begins again.
            self._forget("late", "cancelled", "unclaimed")
            return False
        finally:
            connections.close_all()

    def log_exit(self, pid: int | None, code: int) -> None:
        """Log that the work-horse has ended. ``code`` is negative for a signal.

        The caller closes the connection: this is the first of what it writes about the end of a build.
        """
        build = None
        with suppress(DatabaseError, InterfaceError):
            workers.shorten_lock_wait()
            build = self._rows().only("state", *steps.IDENTITY).first()
            self._has_ended = build is not None and build.state in FINAL
        steps.log(
            Step.WORKHORSE_EXITED,
            build,
            level=logging.WARNING if code else logging.INFO,
            **{"build": self._build_id, "worker": self._worker, "pid": pid, **process_end(code)},
            duration=round(time.monotonic() - self._started_at, 3),
        )

    def write_end(self, *, worker_stops: bool) -> None:
        """Write the end of a build whose work-horse has ended without doing so. Ends what is left of the build's processes first.

        A work-horse that ended for no known reason is a loss, and the reconciler finds it by its lease.
        """
        if self._has_ended:
            return  # the usual case, which :meth:`log_exit` has seen
        connections.close_all()  # the one that :meth:`log_exit` used may have broken while what was left behind was ended
        try:
            workers.shorten_lock_wait()
            retry_while_away(lambda: self._write_end(worker_stops=worker_stops))
        except (DatabaseError, InterfaceError, BuildError) as error:
            logger.error("the end of the build could not be written: %s", error, extra={"build": self._build_id})
        finally:
            connections.close_all()

    def _find_build(self) -> Build | None:
        return self._rows().select_related("source").first()

    def _rows(self) -> BuildQuerySet:
        """The build's row, if there is one: the queue store may hold any text as the id of a job."""
        try:
            return Build.objects.filter(pk=UUID(self._build_id)).select_related("submission")
        except ValueError:
            return Build.objects.none()

    def _look(self) -> bool:
        build = self._find_build()
        if build is not None and build.state in FINAL:
            was_lost = build.cause_code == WorkerLost.code
            return was_lost or self._seconds_since("ended") > CLEAN_UP_SECONDS
        if build is None or not self._is_ours(build):
            return self._seconds_since("unclaimed") > START_SECONDS
        self._renew(build)
        if build.cancel_requested_at and self._seconds_since("cancelled") > GRACE_SECONDS:
            return True
        self._timed_out = self._find_timeout(build)
        if self._timed_out is None:
            self._forget("late")
            return False
        return self._seconds_since("late") > GRACE_SECONDS

    def _is_ours(self, build: Build) -> bool:
        return build.state == State.RUNNING and build.worker == self._worker

    def _find_timeout(self, build: Build) -> BuildError | None:
        allowed, attempt_seconds = limits(), self._seconds_since("claimed")
        stage = build.stages.last()
        name = StageName(stage.name) if stage else StageName.FETCH
        if attempt_seconds > allowed.attempt_seconds:
            return time_limits.attempt_exceeded(name, allowed)
        if stage and stage.state == Stage.State.RUNNING:
            seconds = self._seconds_since(f"stage {stage.pk}")
            if seconds > time_limits.max_stage_seconds(name, allowed):
                return time_limits.stage_exceeded(name, allowed)
        return None

    @staticmethod
    def _renew(build: Build) -> None:
        """The lease of a healthy work-horse is never this old."""
        half = timedelta(seconds=settings.LEASE_SECONDS / 2)
        if build.lease_expires_at and build.lease_expires_at < clock.now() + half:
            lifecycle.renew(build)

    def _seconds_since(self, moment: str) -> float:
        """How long ago this was first called for ``moment``."""
        now = time.monotonic()
        return now - self._first_seen.setdefault(moment, now)

    def _forget(self, *moments: str) -> None:
        for moment in moments:
            self._first_seen.pop(moment, None)

    def _write_end(self, *, worker_stops: bool) -> None:
        build = self._find_build()
        if build is None or not self._is_ours(build):
            return
        if not (build.cancel_requested_at or self._timed_out or worker_stops):
            return
        lifecycle.renew(build)
        _end_processes(self._build_id)
        with suppress(lifecycle.StaleBuild):
            if build.cancel_requested_at:
                _write_last_lines(build, f"Cancelled by {build.cancel_requested_by}: {build.cancel_reason}")
                lifecycle.finish_cancel(build)
            elif self._timed_out:
                _fail(build, self._timed_out.cause)
            else:
                lifecycle.hand_over(build)


def _fail(build: Build, cause: Cause) -> None:
    stage = _open_stage(build)
    _write_last_lines(build, f"{cause.sentence} {cause.advice}")
    lifecycle.fail(build, cause, stage=stage.name if stage else "", retry_at=lifecycle.automatic_retry_at(build, cause))


def _open_stage(build: Build) -> Stage | None:
    return build.stages.filter(state=Stage.State.RUNNING).last()


def _end_processes(build_id: str) -> None:
    """End every process of the build on this machine.

    Raises:
        ProcessesLeft: some could not be ended.
    """
    tree.end_tree(build_id, grace_seconds=0)
    if not isolation.groups().end(build_id):
        raise ProcessesLeft(f"Processes of build {build_id} could not be ended.")


def _write_last_lines(build: Build, text: str) -> None:
    log, stage = LogWriter(build, redactor().redact), _open_stage(build)
    log.stage = stage.name if stage else ""
    with suppress(BuildStopped):
        log.line(FROM_OUTSIDE)
        log.line(text)
        log.flush()
