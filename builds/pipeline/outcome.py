"""What each outcome of a build does to its row: stopped, or failed."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from builds import lifecycle
from builds.engine.context import Context
from builds.errors import (
    BuildError,
    BuildStopped,
    Cause,
    CommandFailed,
    DatabaseAway,
    DiskFull,
    LimitHit,
    ReleaseReplaced,
    SystemFault,
)
from builds.lib import release
from builds.lib.text import printable
from builds.models import Build, State, clock
from builds.pipeline.context import Run
from builds.pipeline.stop_reason import StopReason
from builds.record.patience import DATABASE_AWAY

logger = logging.getLogger(__name__)

MAX_SHOWN_NAME = 300


def stop(run: Run) -> None:
    """End a build that was cancelled or must stop. None of its processes may be running.

    If the row is no longer running, the lease was lost, and nothing is written.
    """
    run.make_room()
    run.write(run.build.refresh_from_db)
    if run.build.state != State.RUNNING:
        return
    reason = run.context.stop.reason
    with suppress(lifecycle.StaleBuild):
        if run.build.cancel_requested_at:
            _write_last(run, f"Cancelled by {run.build.cancel_requested_by}: {run.build.cancel_reason}")
            run.write(lambda: lifecycle.finish_cancel(run.build))
        elif end_without_worker := _verb_without_worker(run):
            _write_last(run, reason)
            run.write(lambda: end_without_worker(run.build))
        elif reason is StopReason.DISK_FULL:
            fail(run, DiskFull().cause)
        elif run.lease.was_cut_off:
            fail(run, DatabaseAway().cause)


def _verb_without_worker(run: Run) -> Callable[[Build], None] | None:
    """How to end a build whose worker is stopping or has died; None if the worker still runs."""
    if run.context.stop.reason is StopReason.WORKER_STOPPED:
        return lifecycle.hand_over
    return lifecycle.give_up if run.context.stop.reason is StopReason.WORKER_DIED else None


def fail(run: Run, cause: Cause) -> None:
    """End a build as failed, unless it was being cancelled or its worker is gone: then that is why it failed."""
    run.make_room()
    run.write(run.build.refresh_from_db)
    if run.build.cancel_requested_at or _verb_without_worker(run):
        stop(run)
        return
    cause = _redact(run, cause)
    _write_last(run, f"{cause.sentence} {cause.advice}")
    stage = run.report.stage.name if run.report.stage else ""
    cause, retry_at = excuse(run.build, cause)
    try:
        run.write(lambda: lifecycle.fail(run.build, cause, stage=stage, retry_at=retry_at))
    except lifecycle.StaleBuild:
        logger.warning("the build had already ended when it failed: %s", cause.sentence)


def excuse(build: Build, cause: Cause) -> tuple[Cause, datetime | None]:
    """Why a build failed, and when it is retried automatically; None if it is not.

    If another release was installed meanwhile, that may be why: the build may have started programs of both releases. It is retried by a
    worker of the new one.
    """
    retry_at = lifecycle.automatic_retry_at(build, cause)
    if retry_at is not None or not release.has_changed():
        return cause, retry_at
    logger.warning("build %s failed while another release was installed, and is queued again: %s", build.pk, cause.sentence)
    return ReleaseReplaced().cause, clock.now()


# What the operating system answers about a file because of how the build has named, nested, linked or protected it.
ABOUT_A_TREE = {
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST),
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENXIO, errno.EINVAL, errno.EILSEQ),
}
NESTED = "Failed to build the repo files: the manuscript's files or settings are nested too deeply."
FLATTER = "Nest the folders and settings less deeply, then submit again."


def cause_of(error: Exception, context: Context) -> Cause:
    """Why a build failed, by the exception that ended it."""
    if isinstance(error, BuildError):
        return error.cause
    if isinstance(error, DATABASE_AWAY):
        logger.warning("build %s was interrupted: the database is away: %s", context.build_id, error)
        return DatabaseAway().cause
    if isinstance(error, OSError):
        return _cause_of_os_error(error, context.workspace)
    if isinstance(error, RecursionError):
        logger.error("something in the build is nested too deeply", exc_info=error)
        return LimitHit(NESTED, advice=FLATTER).cause
    logger.error("a bug in Jobsite ended the build", exc_info=error)
    return BuildError().cause


def _cause_of_os_error(error: OSError, workspace: Path) -> Cause:
    """The cause of an error of the operating system. What the build did to its own files is the manuscript's."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull().cause
    if name := _own_file(error, workspace):
        return CommandFailed(f"Failed to build the repo files: {name} can't be used: {error.strerror}.", file=name).cause
    logger.error("a system error ended the build", exc_info=error)
    return SystemFault(f"Jobsite met a system error: {error.strerror or type(error).__name__}.").cause


def _own_file(error: OSError, workspace: Path) -> str:
    """The file of the workspace that the error is about, if the build can be the reason; otherwise empty."""
    if error.errno not in ABOUT_A_TREE or not isinstance(error.filename, str | bytes) or not workspace.is_dir():
        return ""
    path = Path(os.path.normpath(os.fsdecode(error.filename)))
    if path == workspace or not path.is_relative_to(workspace):
        return ""
    return printable(str(path.relative_to(workspace)).removeprefix("repository/"))[:MAX_SHOWN_NAME]


def _redact(run: Run, cause: Cause) -> Cause:
    """A cause may quote the output of a program or the answer of a server, and is shown to authors and desci-server."""
    redact = run.context.redact
    return replace(cause, sentence=redact(cause.sentence), advice=redact(cause.advice), file=redact(cause.file))


def _write_last(run: Run, text: str) -> None:
    """Write the findings, and ``text`` as the last line of the log."""
    try:
        run.log.line(text)
        run.log.flush()
        run.write(run.findings.write)
    except (BuildStopped, BuildError):
        logger.warning("the last line of the build's log was lost: %s", text)
