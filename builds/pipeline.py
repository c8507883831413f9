"""One build from claim to final state: the five stages, and what each outcome does to the row."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from django.conf import settings
from django.utils import timezone

from builds import exports, lifecycle, storage, units
from builds.errors import (
    ArchiveHostDown,
    BuildError,
    BuildStopped,
    Cause,
    CommandTimedOut,
    DeliveryTimedOut,
    DesciServerDown,
    DesciServerJobFailed,
    DiskFull,
    ExportsMissing,
    Fault,
    FetchTimedOut,
    MemoryFull,
    NobodyWaits,
    PackagesUnreachable,
    ProcessesFull,
    SandboxLost,
    StageTimedOut,
)
from builds.lease import NO_ROOM, Lease
from builds.logs import LogWriter
from builds.models import Build, Mode, Stage, StageName, State
from builds.patience import patiently
from builds.recorder import StageReport
from builds.stages import Context
from builds.stages.build import build as build_stage
from builds.stages.collect import collect
from builds.stages.deliver import deliver
from builds.stages.fetch import fetch
from builds.stages.unpack import unpack

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Why a build stops when the operators stop its worker.
WORKER_ENDS = "The worker was told to end; the build is queued again."
WORKER_DIED = "The worker has died."

HANDED_ON = {WORKER_ENDS: lifecycle.hand_over, WORKER_DIED: lifecycle.give_up}

RETRY_DELAYS = (timedelta(seconds=10), timedelta(seconds=60), timedelta(minutes=5))
# What may pass without anybody's doing.
PASSING = {
    error.code
    for error in (
        *(ArchiveHostDown, FetchTimedOut, PackagesUnreachable, DesciServerDown, DesciServerJobFailed, DeliveryTimedOut),
        *(SandboxLost, DiskFull, MemoryFull, ProcessesFull),
    )
}

TIMED_OUT: dict[StageName, type[BuildError]] = {
    StageName.FETCH: FetchTimedOut,
    StageName.UNPACK: StageTimedOut,
    StageName.BUILD: CommandTimedOut,
    StageName.COLLECT: StageTimedOut,
    StageName.DELIVER: DeliveryTimedOut,
}


@dataclass
class Run:
    """What belongs to one running build: its row, its log, its report, its lease, and the context of its stages."""

    build: Build
    log: LogWriter
    report: StageReport
    lease: Lease
    context: Context
    begun_at: float = field(default_factory=time.monotonic)

    def write(self, act: Callable[[], T]) -> T:
        """As :func:`patiently`: once room was made, a full disk is waited for too."""
        return patiently(act, even_full=self.log.even_full)

    def make_room(self) -> None:
        """Remove the workspace: what is written from now on may need what it took. No longer than the lease allows."""
        storage.remove(self.context.workspace, seconds=settings.LEASE_SECONDS / 4)
        self.log.even_full = True


def execute(run: Run) -> None:
    """Run a claimed build to its end, whatever the end is. Raises nothing that the build could have caused."""
    try:
        with run.lease:
            _through_the_stages(run)
        run.write(lambda: lifecycle.succeed(run.build))
    except (BuildStopped, lifecycle.StaleBuild):
        _stopped(run)
    except NobodyWaits as answer:
        reason = run.context.redact(str(answer))
        run.write(lambda: lifecycle.nobody_waits(run.build.submission, answer=reason))
        _stopped(run)
    except BuildError as error:
        _failed(run, error.cause)
    except OSError as error:
        _failed(run, _cause_of_os_error(error))
    except Exception:
        logger.exception("build %s ended by a defect of Jobsite", run.build.pk)
        _failed(run, BuildError().cause)
    finally:
        storage.remove(run.context.workspace)


def _through_the_stages(run: Run) -> None:
    context = run.context
    context.workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    if context.require_declared_exports and not exports.delivered(context.declared_exports):
        raise ExportsMissing
    if run.build.mode == Mode.DELIVER and run.build.source:
        kept = storage.take_over(run.build, run.build.source)
    else:
        with stage(run, StageName.FETCH):
            archive = fetch(context)
        with stage(run, StageName.UNPACK):
            project = unpack(context, archive)
            archive.path.unlink(missing_ok=True)
        with stage(run, StageName.BUILD):
            built = build_stage(context, project)
        with stage(run, StageName.COLLECT):
            kept = storage.keep(run.build, collect(context, built))
    run.make_room()
    with stage(run, StageName.DELIVER):
        deliver(context, kept)


@contextmanager
def stage(run: Run, name: StageName) -> Iterator[None]:
    """Open the stage's row and log section before its work, close them after it, and note in which stage an error came."""
    run.context.stop.check()
    run.report.stage = row = run.write(lambda: lifecycle.enter_stage(run.build, name))
    run.log.stage = name
    try:
        with _in_time(run, name):
            yield
    except (BuildStopped, NobodyWaits):
        run.write(lambda: lifecycle.leave_stage(row, Stage.State.CANCELLED))
        raise
    except BaseException:
        run.write(lambda: lifecycle.leave_stage(row, Stage.State.FAILED))
        raise
    # A cancel that comes now is seen before the next stage. After the last one there is nothing to stop: desci-server has the files.
    run.log.flush()
    run.write(lambda: lifecycle.leave_stage(row, Stage.State.SUCCEEDED))


@contextmanager
def _in_time(run: Run, name: StageName) -> Iterator[None]:
    """Let the stage last no longer than it may, and the attempt neither. Who is told depends on the stage that it ends in."""
    limits, error = run.context.limits, TIMED_OUT[name]
    whole = (
        f"The attempt took longer than the {units.duration(limits.attempt_seconds)} that it may. It ended in its {name} stage."
    )
    with ExitStack() as stack:
        left = run.begun_at + limits.attempt_seconds - time.monotonic()
        stack.enter_context(run.context.stop.within(left, error(whole)))
        if name != StageName.BUILD:  # it has a time limit of its own, over its commands
            most = f"The {name} stage took longer than the {units.duration(limits.stage_seconds)} that it may."
            stack.enter_context(run.context.stop.within(limits.stage_seconds, error(most)))
        yield


def _stopped(run: Run) -> None:
    """Cancelled, or lost its lease: by now nothing of it runs any more. Only a cancelled build may still be written."""
    run.make_room()
    run.write(run.build.refresh_from_db)
    reason = run.context.stop.reason
    if run.build.state != State.RUNNING:
        return
    with suppress(lifecycle.StaleBuild):
        if run.build.cancel_requested_at:
            _last_words(run, f"Cancelled by {run.build.cancel_requested_by}: {run.build.cancel_reason}")
            run.write(lambda: lifecycle.finish_cancel(run.build))
        elif reason in HANDED_ON:
            _last_words(run, reason)
            run.write(lambda: HANDED_ON[reason](run.build))
        elif reason == NO_ROOM:
            _failed(run, DiskFull().cause)


def _failed(run: Run, cause: Cause) -> None:
    run.make_room()
    run.write(run.build.refresh_from_db)
    if run.build.cancel_requested_at or run.context.stop.reason in HANDED_ON:
        return _stopped(run)
    cause = _masked(run, cause)
    _last_words(run, f"{cause.sentence} {cause.advice}")
    retry_at = _retry_at(run.build, cause)
    name = run.report.stage.name if run.report.stage else ""
    mode = _retry_mode(run.build)
    try:
        run.write(lambda: lifecycle.fail(run.build, cause, stage=name, retry_at=retry_at, retry_mode=mode))
    except lifecycle.StaleBuild:
        logger.warning("build %s had ended before it could be told that it failed: %s", run.build.pk, cause.sentence)
    return None


def _masked(run: Run, cause: Cause) -> Cause:
    """A cause may quote what a program printed or a server answered, and is told to authors and desci-server."""
    redact = run.context.redact
    return replace(cause, sentence=redact(cause.sentence), advice=redact(cause.advice), file=redact(cause.file))


def _last_words(run: Run, text: str) -> None:
    try:
        run.log.line(text)
        run.log.flush()
    except (BuildStopped, BuildError):
        logger.warning("the last line of the log of build %s was lost: %s", run.build.pk, text)


def _retry_at(build: Build, cause: Cause) -> datetime | None:
    """When to try again by ourselves: only what may pass, and only so often in a row."""
    if cause.code not in PASSING:
        return None
    tried = _automatic_in_a_row(build)
    if tried >= min(settings.AUTOMATIC_RETRIES, len(RETRY_DELAYS)):
        return None
    return timezone.now() + RETRY_DELAYS[tried]


def _automatic_in_a_row(build: Build) -> int:
    """How many builds up to this one were queued by Jobsite itself, without a person between."""
    count = 0
    for automatic in (
        build.submission.builds.filter(number__lte=build.number).order_by("-number").values_list("automatic", flat=True)
    ):
        if not automatic:
            break
        count += 1
    return count


def _retry_mode(build: Build) -> Mode:
    if storage.has_kept_exports(build) or (build.mode == Mode.DELIVER and build.source):
        return Mode.DELIVER
    return Mode.SAME_COMMIT if build.commit else Mode.LATEST


def _cause_of_os_error(error: OSError) -> Cause:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull().cause
    logger.exception("build ended by a system error")
    return Cause(
        Fault.SERVICE,
        "system-error",
        f"The service met a system error: {error.strerror or type(error).__name__}.",
        BuildError.advice,
    )


def template_cache() -> Path:
    return Path(settings.DATA_DIR) / "cache" / "templates"


def workspace_of(build_id: str) -> Path:
    return Path(settings.DATA_DIR) / "workspaces" / build_id
