"""Repositories with the pixi task, and a stand-in for pixi that runs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from builds.engine.context import Built
from builds.engine.manuscript.project import Project
from builds.engine.myst import toolchain
from builds.engine.myst.toolchain import has_pixi_task, pixi_version
from builds.engine.sandbox.probe import choose
from builds.engine.sandbox.sandbox import Policy
from builds.engine.stages.build import build
from builds.errors import CommandFailed
from tests.support.stage_context import KeptLog, KeptReport, make_context

pytestmark = pytest.mark.slow

MANIFEST = '[workspace]\nchannels = []\nplatforms = ["linux-64"]\n[tasks]\nbuild-meca = "make it"\n'
MYST = "version: 1\nproject:\n  title: T\n"
MAKES = "mkdir -p exports _build/site/content && echo made > exports/a.zip && echo '{}' > _build/site/content/index.json"


@pytest.fixture
def pixi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a program pixi on the service's PATH. The test writes it."""
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
def test_a_repository_s_task_is_run(tmp_path: Path, pixi: Path, name: str, manifest: str) -> None:
    built, report = run(tmp_path, pixi, MAKES, manifest=manifest, name=name)
    assert built.exports[0].path.read_text() == "made\n"
    assert (report.commands, report.version, report.exit_codes) == ([["pixi run build-meca"]], "pixi 9.9", [0])


def test_pixi_is_asked_for_its_version_once_per_program_file(pixi: Path) -> None:
    asked = pixi.with_name("asked")
    for number in (1, 2):
        pixi.unlink(missing_ok=True)
        pixi.write_text(f"#!/bin/sh\necho {number} >> {asked}\necho pixi {number}\n")
        pixi.chmod(0o755)
        assert [pixi_version(), pixi_version()] == [f"pixi {number}"] * 2
    assert asked.read_text() == "1\n2\n"


@pytest.mark.parametrize("text", ["#!/nowhere\n", "#!/bin/sh\nexec sleep 60\n"], ids=["broken", "silent"])
def test_a_version_that_pixi_does_not_tell_is_empty(pixi: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "VERSION_SECONDS", 0.2)
    pixi.write_text(text)
    pixi.chmod(0o755)
    assert pixi_version() == ""


@pytest.mark.parametrize(("manifest", "command"), [("[tasks]\nother = 'x'\n", ""), ("not [ toml", ""), (MANIFEST, "myst")])
def test_the_bundled_recipe_is_run_otherwise(tmp_path: Path, pixi: Path, manifest: str, command: str) -> None:
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


def test_a_failed_task_fails_the_build_with_its_message(tmp_path: Path, pixi: Path) -> None:
    with pytest.raises(CommandFailed, match=r"^Failed to build the repo files: .*no such notebook") as failed:
        run(tmp_path, pixi, "echo 'Error: no such notebook' >&2; exit 1")
    assert failed.value.log_line == 2


def test_pixi_runs_in_the_sandbox_and_its_refused_requests_are_reported(tmp_path: Path, pixi: Path) -> None:
    """The proxy fetches its packages. It refuses a host that is not listed, and the log names that host."""
    chosen = choose("require", Policy())
    if not chosen.allowed:
        pytest.skip("no sandbox works here")
    ask = "import urllib.request as r\\ntry: r.urlopen('http://evil.example/')\\nexcept OSError as e: print(e)"
    log = KeptLog()
    workspace = tmp_path / "workspace"
    (workspace / "repository").mkdir(parents=True)
    task = f'printf "{ask}" > ask.py; {sys.executable} -I ask.py; {MAKES}'
    built, _report = run(workspace, pixi, task, log=log, workspace=workspace, sandbox=chosen.sandbox(workspace, "a build"))
    assert built.exports[0].path.read_text() == "made\n"
    assert "HTTP Error 403: Forbidden" in str(log)
    assert "The proxy refused access to 'evil.example': it is not on the list of hosts." in log.warnings


def test_compiled_programs_can_be_read_by_the_user_of_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "program.py").write_text("x = 1\n")
    monkeypatch.setattr(toolchain, "TOOLS", tmp_path)
    before = os.umask(0o077)
    try:
        toolchain.compile_tools()
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    [compiled] = (tmp_path / "__pycache__").iterdir()
    assert compiled.parent.stat().st_mode & 0o005 == 0o005
    assert compiled.stat().st_mode & 0o004
