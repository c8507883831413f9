"""Logs as builds write them, for the tests of the log page."""

from __future__ import annotations

from collections.abc import Iterable

from builds import lifecycle
from builds.errors import Cause, Fault
from builds.models import Build, LogBatch, Stage
from builds.record.logs import LogWriter
from tests.support.made import submitted

CAUSE = "Failed to build the repo files: a needle lies there."
SHOWN_CAUSE = "A needle lies there."


def claimed(name: str = "1") -> Build:
    build = lifecycle.claim(str(submitted(name).newest_build().pk), worker="host:1")
    assert build is not None
    return build


def write(build: Build, *texts: str, stage: str = "", stream: str = "stdout") -> None:
    build.refresh_from_db()
    log = LogWriter(build, lambda text: text)
    log.stage = stage
    for text in texts:
        log.line(text, stream=stream)
    log.flush()


def stage(build: Build, name: str, texts: Iterable[str], *, exit_code: int | None = None, ends: str = "succeeded") -> None:
    """Write a stage and its part of the log. With ``ends=""`` the stage keeps running."""
    build.refresh_from_db()
    row = lifecycle.enter_stage(build, name)
    write(build, *texts, stage=name)
    Stage.objects.filter(pk=row.pk).update(exit_code=exit_code)
    if ends:
        row.refresh_from_db()
        lifecycle.leave_stage(row, Stage.State(ends))


def failed(*, lines: int = 20, cause_line: int | None = None, name: str = "1") -> Build:
    """A build that failed in the stage build after this many lines."""
    build = claimed(name)
    stage(build, "fetch", ["GET archive", "12 MB"])
    stage(build, "build", [f"line {number}" for number in range(3, lines + 1)], exit_code=2, ends="failed")
    build.refresh_from_db()
    lifecycle.fail(build, Cause(Fault.MANUSCRIPT, "build-failed", CAUSE, "Take it away.", log_line=cause_line), stage="build")
    build.refresh_from_db()
    return build


def fill(build: Build, texts: Iterable[str], *, batch: int = 500) -> None:
    """Write a long log, faster than LogWriter does."""
    records = [f"{1_700_000_000_000 + number}\tbuild\tstdout\t{text}\n" for number, text in enumerate(texts)]
    LogBatch.objects.bulk_create(
        LogBatch(build=build, first_line=start + 1, line_count=len(part), records="".join(part))
        for start in range(0, len(records), batch)
        if (part := records[start : start + batch])
    )
    Build.objects.filter(pk=build.pk).update(log_lines=len(records))
    build.refresh_from_db()
