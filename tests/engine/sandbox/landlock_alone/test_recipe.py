"""The bundled recipe, whose programs can't list the folders above those that they may read."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from builds.engine.context import Context, Limits
from builds.engine.manuscript.project import Project
from builds.engine.myst.shell import Shell
from builds.engine.process.ceilings import Ceilings
from builds.engine.sandbox.probe import choose
from builds.engine.sandbox.sandbox import Policy
from builds.engine.stages.build import build
from builds.errors import LimitHit, ProcessesFull
from tests.engine.sandbox.test_sandbox import WORKING_KINDS
from tests.support.stage_context import make_context

SAMPLE = Path(__file__).parents[3] / "sample"
EXPORTS = ({"format": "typst", "output": "exports/sample.pdf"}, {"format": "meca", "output": "exports/sample.meca.zip"})

pytestmark = pytest.mark.skipif("landlock" not in WORKING_KINDS, reason="Landlock alone does not work here")


def test_all_exports_of_the_sample_are_made(tmp_path: Path) -> None:
    ctx = make_context(tmp_path, declared_exports=EXPORTS)
    ctx = replace(ctx, sandbox=choose("landlock", Policy()).sandbox(ctx.workspace, ctx.build_id))
    root = Path(shutil.copytree(SAMPLE, ctx.workspace / "repository", ignore=shutil.ignore_patterns("_build", "exports")))
    made = build(ctx, Project(root, root / "myst.yml"))
    assert {plan.role: plan.path.is_file() for plan in made.exports} == {"typst": True, "meca": True, "page-content": True}
    assert "the journal's template" not in str(ctx.log)


# Its parent runs before the command does, so the end of the command does not take it along. It is so large because processes of an earlier
# test may have been counted that end meanwhile, and make room.
CROWD = 'read line; for i in $(seq 60); do sleep 60 & done; touch "$0"; wait'


class CrowdedShell(Shell):
    """Other processes of the same user start as soon as the command has said a line. They last until the test ends it."""

    def __init__(self, ctx: Context, environment: dict[str, str], others: ExitStack) -> None:
        super().__init__(ctx, Project(ctx.workspace, ctx.workspace / "myst.yml"), environment)
        argv = ["sh", "-c", CROWD, str(ctx.workspace / "crowded")]
        self._crowd = others.enter_context(subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True))
        others.callback(os.killpg, self._crowd.pid, signal.SIGKILL)

    def on_lines(self, lines: Sequence[str]) -> None:
        if "ready" in lines and self._crowd.stdin:
            self._crowd.stdin.close()


def shell_of(tmp_path: Path, *, max_processes: int, others: ExitStack) -> Shell:
    """A shell in which the kernel lets the user have ten processes more than now."""
    ctx = make_context(tmp_path, limits=Limits(ceilings=Ceilings(processes=max_processes)))
    sandbox = choose("landlock", Policy()).sandbox(ctx.workspace, ctx.build_id, limits={"NPROC": 10})
    return CrowdedShell(replace(ctx, sandbox=sandbox), {"PATH": "/usr/bin:/bin"}, others)


# The kernel counts all processes of a user, whichever build they belong to.
def test_processes_of_others_are_not_blamed_on_the_build(tmp_path: Path) -> None:
    with ExitStack() as others:
        shell = shell_of(tmp_path, max_processes=1000, others=others)
        with pytest.raises(ProcessesFull):
            shell.run(["/bin/sh", "-c", "echo ready; until [ -e crowded ]; do :; done; sleep 2 & wait"])


def test_its_own_processes_are_blamed_on_the_build(tmp_path: Path) -> None:
    with ExitStack() as others:
        shell = shell_of(tmp_path, max_processes=10, others=others)
        with pytest.raises(LimitHit):
            raise shell.clues.failure(
                exit_code=shell.run(["/bin/sh", "-c", "for i in $(seq 60); do sleep 2 & done; wait"]), command="sleep"
            )
