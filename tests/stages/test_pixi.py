"""A repository with the pixi task, and a pixi that does what the real one does with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from builds.errors import CommandFailed
from builds.sandbox import Policy
from builds.sandbox_choice import choose
from builds.stages import Built, Project
from builds.stages.build import build
from builds.toolchain import has_pixi_task
from tests.stages.context import KeptLog, KeptReport, make_context

MANIFEST = '[workspace]\nchannels = []\nplatforms = ["linux-64"]\n[tasks]\nbuild-meca = "make it"\n'
MYST = "version: 1\nproject:\n  title: T\n"
MAKES = "mkdir -p exports _build/site/content && echo made > exports/a.zip && echo '{}' > _build/site/content/index.json"


@pytest.fixture
def pixi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pixi, on the PATH of the service, that runs what the test writes into it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "pixi"


def run(
    tmp_path: Path, pixi: Path, task: str, *, manifest: str = MANIFEST, name: str = "pixi.toml", command: str = "", **context: Any
) -> tuple[Built, KeptReport]:
    pixi.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "pixi 9.9" && exit\n[ "$*" = "run build-meca" ] || exit 9\n{task}\n'
    )
    pixi.chmod(0o755)
    root = tmp_path / "repository"
    root.mkdir(exist_ok=True)
    for file, text in ((name, manifest), ("myst.yml", MYST), ("index.md", "# P\n")):
        (root / file).write_text(text)
    report = KeptReport()
    values = {
        "build_command": command,
        "report": report,
        "declared_exports": ({"format": "meca", "output": "exports/a.zip"},),
        **context,
    }
    return build(make_context(tmp_path, **values), Project(root, root / "myst.yml")), report


@pytest.mark.parametrize(
    ("name", "manifest"),
    [
        ("pixi.toml", MANIFEST),
        ("pyproject.toml", "[tool.pixi.tasks]\nbuild-meca = 'x'\n"),
        ("pixi.toml", "[feature.x.tasks]\nbuild-meca = 'x'\n"),
    ],
)
def test_the_task_is_run_where_there_is_one(tmp_path: Path, pixi: Path, name: str, manifest: str) -> None:
    built, report = run(tmp_path, pixi, MAKES, manifest=manifest, name=name)
    assert built.exports[0].path.read_text() == "made\n"
    assert (report.commands, report.version, report.exit_codes) == ([["pixi run build-meca"]], "pixi 9.9", [0])


@pytest.mark.parametrize(("manifest", "command"), [("[tasks]\nother = 'x'\n", ""), ("not [ toml", ""), (MANIFEST, "myst")])
def test_otherwise_the_bundled_recipe_is(tmp_path: Path, pixi: Path, manifest: str, command: str) -> None:
    built, report = run(tmp_path, pixi, "exit 7", manifest=manifest, command=command)
    assert built.exports[0].path.read_bytes().startswith(b"PK")
    assert report.commands[0][0] == "myst"


@pytest.mark.parametrize(
    "manifest", [f"a{'.a' * 400_000} = 1\n{MANIFEST}", f"{MANIFEST}x = [{'[],' * 300_000}"], ids=["deep", "broken"]
)
def test_a_manifest_that_takes_hours_to_read_has_no_task(tmp_path: Path, pixi: Path, manifest: str) -> None:
    pixi.touch(0o755)
    project = Project(tmp_path, tmp_path / "myst.yml")
    (tmp_path / "pixi.toml").write_text(MANIFEST)
    assert has_pixi_task(project)
    (tmp_path / "pixi.toml").write_text(manifest)
    assert not has_pixi_task(project)


def test_a_task_that_fails_fails_the_build_with_its_words(tmp_path: Path, pixi: Path) -> None:
    with pytest.raises(CommandFailed, match=r"^Failed to build the repo files: .*no such notebook") as failed:
        run(tmp_path, pixi, "echo 'Error: no such notebook' >&2; exit 1")
    assert failed.value.log_line == 2


def test_it_runs_in_the_sandbox_wherever_pixi_is_and_what_it_asks_of_the_network_is_told(tmp_path: Path, pixi: Path) -> None:
    """Its packages come through the proxy; a host that is not listed is refused, and the author is told which."""
    chosen = choose("require", Policy())
    if not chosen.allowed:
        pytest.skip("nothing can be shut in here")
    ask = "import urllib.request as r\\ntry: r.urlopen('http://evil.example/')\\nexcept OSError as e: print(e)"
    log = KeptLog()
    workspace = tmp_path / "workspace"
    (workspace / "repository").mkdir(parents=True)
    task = f'printf "{ask}" > ask.py; {sys.executable} -I ask.py; {MAKES}'
    built, _report = run(workspace, pixi, task, log=log, workspace=workspace, sandbox=chosen.sandbox(workspace, "a build"))
    assert built.exports[0].path.read_text() == "made\n"
    assert "HTTP Error 403: Forbidden" in str(log)
    assert "The network refused the build 'evil.example': it is not on the list of hosts." in log.warnings
