"""The bundled recipe where Landlock alone shuts the build in: its programs see no folder that leads to what they may read."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from builds.ceilings import Ceilings
from builds.errors import LimitHit, ProcessesFull
from builds.sandbox import Policy
from builds.sandbox_choice import choose
from builds.shell import Shell
from builds.stages import Limits, Project
from builds.stages.build import build
from tests.stages.context import make_context
from tests.test_sandbox import MODES

SAMPLE = Path(__file__).parents[1] / "sample"
EXPORTS = ({"format": "typst", "output": "exports/sample.pdf"}, {"format": "meca", "output": "exports/sample.meca.zip"})


pytestmark = pytest.mark.skipif("landlock" not in MODES, reason="Landlock alone can't shut anything in here")


def test_all_exports_of_the_sample_are_made(tmp_path: Path) -> None:
    ctx = make_context(tmp_path, declared_exports=EXPORTS)
    ctx = replace(ctx, sandbox=choose("landlock", Policy()).sandbox(ctx.workspace, ctx.build_id))
    root = Path(shutil.copytree(SAMPLE, ctx.workspace / "repository", ignore=shutil.ignore_patterns("_build", "exports")))
    made = build(ctx, Project(root, root / "myst.yml"))
    assert {plan.role: plan.path.is_file() for plan in made.exports} == {"typst": True, "meca": True, "page-content": True}
    assert "the journal's own template" not in str(ctx.log)


@pytest.mark.parametrize(("may", "error"), [(1000, ProcessesFull), (10, LimitHit)], ids=["others", "itself"])
def test_whose_processes_were_too_many_is_told_apart(tmp_path: Path, may: int, error: type[Exception]) -> None:
    """The kernel counts a user's, whoever's build they are of."""
    ctx = make_context(tmp_path, limits=Limits(ceilings=Ceilings(processes=may)))
    sandbox = choose("landlock", Policy()).sandbox(ctx.workspace, ctx.build_id, limits={"NPROC": 10})
    shell = Shell(replace(ctx, sandbox=sandbox), ctx.workspace, {"PATH": "/usr/bin:/bin"})
    with pytest.raises(error):
        raise shell.clues.failure(
            exit_code=shell.run(["/bin/sh", "-c", "for i in $(seq 60); do sleep 2 & done; wait"]), command="sleep"
        )
