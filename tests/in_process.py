"""Builds with the real stages between the two stand-ins, in the test's own process: no worker, no queue, no outbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from builds import logs, pipeline, tasks
from builds.models import FINAL, Build, Stage, Submission
from builds.stages import Context, Stop
from tests import quick
from tests.rows import claim, submit
from tests.standins import ArchiveHost, DesciServer

STAGES = ["fetch", "unpack", "build", "collect", "deliver"]


@dataclass
class Bench:
    archive: ArchiveHost
    desci: DesciServer

    def submission(self, before: str = "", **files: str) -> Submission:
        self.archive.add("a", "b", quick.repository(before, **files))
        return submit(exports=quick.EXPORTS)

    def run(self, submission: Submission, **changes: Any) -> Build:
        """Run its newest build to its end. ``changes`` of the context."""
        run = self.begun(submission)
        run.context = replace(run.context, **changes)
        pipeline.execute(run)
        run.build.refresh_from_db()
        return run.build

    @staticmethod
    def begun(submission: Submission) -> pipeline.Run:
        return tasks.assemble(claim(submission), Stop())


@contextmanager
def opened(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Both stand-ins, and settings for builds of :mod:`tests.quick`."""
    settings.BUILD_COMMAND = quick.COMMAND
    settings.DELIVERY_PATIENCE = 2
    # No outbox runs beside these builds: desci-server has heard what has to come before the files.
    monkeypatch.setattr(tasks, "_has_heard_of", lambda build: True)
    with ArchiveHost() as archive, DesciServer() as desci:
        settings.GITHUB_URL, settings.DESCI_SERVER_URL = archive.url, desci.url
        yield Bench(archive, desci)


def stages(build: Build) -> list[tuple[str, str]]:
    return list(build.stages.values_list("name", "state"))


def last_line(build: Build) -> str:
    return list(logs.read(build))[-1].text


def statuses(submission: Submission) -> list[str]:
    return list(submission.status_updates.exclude(status="IN_PROGRESS").values_list("status", flat=True))


def check_closed(build: Build) -> None:
    """What holds after every end."""
    assert build.state in FINAL
    assert not build.stages.filter(state=Stage.State.RUNNING).exists()
    assert not build.stages.filter(finished_at=None).exists()
    assert not pipeline.workspace_of(str(build.pk)).exists()
    assert [line.number for line in logs.read(build)] == list(range(1, build.log_lines + 1))


def during(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object]) -> None:
    """Call ``act`` when the stage ``name`` has begun, and wait until the lease's thread has heard of it, if it must."""
    function = "build_stage" if name == "build" else name
    stage = getattr(pipeline, function)

    def acted(context: Context, value: Any = None) -> Any:
        act()
        return stage(context) if name == "fetch" else stage(context, value)

    monkeypatch.setattr(pipeline, function, acted)
