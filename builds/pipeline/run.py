"""Runs one claimed build to its final state: opens each stage, runs it, and hands any error to :mod:`builds.pipeline.outcome`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from builds import lifecycle
from builds.engine.manuscript import exports
from builds.engine.manuscript.exports import Export
from builds.engine.myst import own_tools
from builds.engine.stages.build import build
from builds.engine.stages.collect import collect
from builds.engine.stages.deliver import deliver
from builds.engine.stages.fetch import fetch, fetch_unless
from builds.engine.stages.unpack import unpack
from builds.errors import BuildStopped, ExportsMissing, NobodyWaits
from builds.lib import log_context, tracing
from builds.models import Mode, Stage, StageName
from builds.pipeline import outcome, time_limits
from builds.pipeline.build_cache import ResultCache, key_to_keep
from builds.pipeline.context import Run
from builds.record import articles, findings, kept_exports, steps
from builds.record.steps import Step
from builds.record.workspaces import remove_folder

EXPORTS_GONE = "The kept exports of this submission are gone or damaged, so the same commit is built again."


def execute(run: Run) -> None:
    """Run a claimed build to its end. Raises nothing that the build could have caused."""
    try:
        with run.lease:
            _run_stages(run)
        cache_key = key_to_keep(run)
        run.write(lambda: lifecycle.succeed(run.build, cache_key=cache_key))
    except (BuildStopped, lifecycle.StaleBuild):
        outcome.stop(run)
    except NobodyWaits as answer:
        reason = run.context.redact(str(answer))
        run.write(lambda: lifecycle.mark_unwanted(run.build.submission, answer=reason))
        outcome.stop(run)
    except Exception as error:
        outcome.fail(run, outcome.cause_of(error, run.context))
    finally:
        remove_folder(run.context.workspace)


def _run_stages(run: Run) -> None:
    context = run.context
    context.workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    if context.require_declared_exports and not exports.select_delivered(context.declared_exports):
        raise ExportsMissing
    with context.spare:
        kept = _kept_before(run) or _build_unless_cached(run)
    run.make_room()
    with stage(run, StageName.DELIVER):
        deliver(context, kept)
        steps.log(Step.EXPORTS_DELIVERED, run.build, stage=StageName.DELIVER, files=len(kept), bytes=sum(e.size for e in kept))
    if article := articles.read(kept):
        run.write(lambda: articles.keep(run.build.submission, article))


def _kept_before(run: Run) -> Sequence[Export]:
    """The kept exports that this attempt delivers again. None if it has to build, also because they are gone: then the same commit."""
    if run.build.mode != Mode.DELIVER or not run.build.source:
        return ()
    kept = kept_exports.take_over(run.build, run.build.source, check=run.context.stop.check)
    if kept:
        kept_exports.pin_as(run.build, run.build.source)
        findings.take_over(run.build.source, run.context.findings)
    else:
        run.log.line(EXPORTS_GONE)
        run.write(lambda: lifecycle.build_instead(run.build, EXPORTS_GONE))
    return kept


def _build_unless_cached(run: Run) -> Sequence[Export]:
    """The exports, from the build cache or from the stages that make them."""
    context, cache = run.context, ResultCache(run)

    def has_result(commit: str, path: str) -> bool:
        if cache.has_result(commit, path):
            return True
        own_tools.prepare(context)  # for the sources, while the archive is downloaded
        return False

    with stage(run, StageName.FETCH):
        archive = fetch_unless(context, has_result)
        kept = cache.take()
        if not kept and archive is None:
            archive = fetch(context)
    if kept or archive is None:
        return kept
    with stage(run, StageName.UNPACK):
        project = unpack(context, archive)
        archive.path.unlink(missing_ok=True)
    with stage(run, StageName.BUILD):
        built = build(context, project)
        own_tools.prepare(context)  # for the exports, while the end of this stage is recorded
    with stage(run, StageName.COLLECT):
        return kept_exports.keep(run.build, collect(context, built))


@contextmanager
def stage(run: Run, name: StageName) -> Iterator[None]:
    """Open the stage's row and log section before the block, and close them after it, however it ends."""
    run.context.stop.check()
    row = run.write(lambda: lifecycle.enter_stage(run.build, name))
    run.report.begin(row)
    run.log.stage = name
    try:
        with _limit_time(run, name), log_context.bound(stage=str(name)), tracing.span(f"stage {name}"):
            yield
    except (BuildStopped, NobodyWaits):
        run.write(lambda: lifecycle.leave_stage(row, Stage.State.CANCELLED))
        raise
    except BaseException:
        run.write(lambda: lifecycle.leave_stage(row, Stage.State.FAILED))
        raise
    # The next stage notices a cancel that comes now. After the last stage it is too late: desci-server has the files.
    run.log.flush()
    run.write(run.findings.write)
    run.write(lambda: lifecycle.leave_stage(row, Stage.State.SUCCEEDED))


@contextmanager
def _limit_time(run: Run, name: StageName) -> Iterator[None]:
    """Apply the time limits of the stage and of the whole attempt."""
    limits, stop = run.context.limits, run.context.stop
    with ExitStack() as stack:
        seconds_left = run.started_at + limits.attempt_seconds - time.monotonic()
        stack.enter_context(stop.within(seconds_left, time_limits.attempt_exceeded(name, limits)))
        if name != StageName.BUILD:  # its commands have a time limit of their own
            stack.enter_context(stop.within(limits.stage_seconds, time_limits.stage_exceeded(name, limits)))
        yield
