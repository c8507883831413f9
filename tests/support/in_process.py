"""Builds with the real stages and the two stand-ins, in the test's own process: no worker, queue or outbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from builds.engine.context import Context
from builds.lib.stop import Stop
from builds.models import FINAL, Build, Stage, Submission
from builds.pipeline import assembly, run
from builds.pipeline.context import Run
from builds.record import logs
from builds.record.workspaces import workspace_of
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick
from tests.support.rows import claim, submit

STAGES = ["fetch", "unpack", "build", "collect", "deliver"]


@dataclass
class Bench:
    archive: ArchiveHost
    desci: DesciServer

    def submission(self, before: str = "", **files: str) -> Submission:
        self.archive.add("a", "b", quick.repository(before, **files))
        return submit(exports=quick.EXPORTS)

    def run(self, submission: Submission, **changes: Any) -> Build:
        """Run the newest build to its end, with ``changes`` to its context."""
        started = self.start(submission)
        started.context = replace(started.context, **changes)
        run.execute(started)
        started.build.refresh_from_db()
        return started.build

    @staticmethod
    def start(submission: Submission) -> Run:
        return assembly.assemble(claim(submission), Stop())


@contextmanager
def opened(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Both stand-ins, with settings for the builds of :mod:`tests.support.quick`."""
    settings.BUILD_COMMAND = quick.COMMAND
    settings.DELIVERY_PATIENCE = 2
    # No outbox runs here, so pretend that desci-server has received the update that must come before the files.
    monkeypatch.setattr(assembly, "_has_received_update", lambda build: True)
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
    """Check what must be true after every end."""
    assert build.state in FINAL
    assert not build.stages.filter(state=Stage.State.RUNNING).exists()
    assert not build.stages.filter(finished_at=None).exists()
    assert not workspace_of(str(build.pk)).exists()
    assert [line.number for line in logs.read(build)] == list(range(1, build.log_lines + 1))


def during(monkeypatch: pytest.MonkeyPatch, name: str, call: Callable[[], object]) -> None:
    """Call ``call`` once the stage ``name`` has begun, before its work."""
    name = "fetch_unless" if name == "fetch" else name
    stage = getattr(run, name)

    def called(context: Context, value: Any) -> Any:
        call()
        return stage(context, value)

    monkeypatch.setattr(run, name, called)
