"""One start of myst makes a manuscript's exports and its site's content, and each start is as short as it can be."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from builds.engine.context import Built
from builds.engine.manuscript.project import Project
from builds.engine.myst import compile_cache, recipe, toolchain
from builds.engine.sandbox.sandbox import SYSTEM, program_folders
from builds.engine.stages.build import build
from tests.support.stage_context import KeptLog, make_context

PROJECT = "version: 1\nproject:\n  title: T\n"
SITE = "site:\n  template: book-theme\n"
MECA = "  exports:\n    - format: meca\n"
BROKEN_SITE = SITE + "  projects:\n    - slug: x\n      remote: https://example.org\n"
THEME = "jtex: v1\nkind: site\ntitle: Ours\nversion: 1.0.0\n"


def make_project(tmp_path: Path, files: dict[str, str]) -> Project:
    root = tmp_path / "workspace" / "repository"
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Project(root, root / "myst.yml")


def run(tmp_path: Path, files: dict[str, str], exports: list[Any]) -> tuple[Built, list[str]]:
    """Build a project. Returns what was built, and the commands that the log names."""
    log = KeptLog()
    context = make_context(tmp_path, declared_exports=tuple(exports), log=log)
    built = build(context, make_project(tmp_path, files))
    return built, [text for stream, text in log.lines if stream == "service" and text.startswith("$ ")]


def title_of_page(built: Built) -> str:
    return str(json.loads(built.exports[-1].path.read_text())["frontmatter"]["title"])


@pytest.mark.slow
@pytest.mark.parametrize(("config", "declared"), [(PROJECT + MECA + SITE, ["meca"]), (PROJECT + SITE, [])], ids=["meca", "none"])
def test_one_start_makes_the_exports_and_the_page(tmp_path: Path, config: str, declared: list[str]) -> None:
    built, commands = run(tmp_path, {"myst.yml": config, "index.md": "# The page\n\nText.\n"}, declared)
    assert len(commands) == 1
    assert [export.role for export in built.exports if export.path.is_file()] == ["meca", "page-content"]
    assert title_of_page(built) == "The page"


@pytest.mark.slow
def test_a_theme_in_the_repository_does_not_make_the_page(tmp_path: Path) -> None:
    files = {"myst.yml": f"{PROJECT}{MECA}site:\n  template: ./theme\n", "theme/template.yml": THEME, "index.md": "# The page\n"}
    built, commands = run(tmp_path, files, ["meca"])
    assert len(commands) == 2
    assert "--site" not in commands[0]
    assert title_of_page(built) == "The page"


@pytest.mark.slow
def test_exports_are_made_again_without_a_site_that_fails(tmp_path: Path) -> None:
    built, commands = run(tmp_path, {"myst.yml": PROJECT + MECA + BROKEN_SITE, "index.md": "# The page\n"}, ["meca"])
    assert ["--site" in command for command in commands[:2]] == [True, False]
    assert built.exports[0].path == built.project.folder / "_build/exports/myst.zip"  # only the log names it
    assert title_of_page(built) == "The page"


@pytest.mark.parametrize(
    ("config", "page", "text", "none"),
    [
        (PROJECT, "index.md", "# P\n", True),
        (PROJECT, "index.md", "---\nexports:\n  - format: md\n---\n# P\n", False),
        (PROJECT, "index.ipynb", json.dumps({"cells": [{"source": ["---\n", "exports:\n", "  - docx\n", "---\n"]}]}), False),
        (PROJECT + MECA, "index.md", "# P\n", False),
        ("extends: https://example.org/base.yml\n" + PROJECT, "index.md", "# P\n", False),
        ("version: 1\n", "index.md", "# P\n", False),
        (PROJECT, "notes.txt", "no page", False),
    ],
    ids=["none", "page", "notebook", "project", "inherited", "no project", "no page"],
)
def test_only_a_project_without_any_exports_starts_with_our_meca(
    tmp_path: Path, config: str, page: str, text: str, none: bool
) -> None:
    project = make_project(tmp_path, {"myst.yml": config, page: text})
    assert recipe.declares_none(project, []) is none


def test_a_page_with_exports_declares_some(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"myst.yml": PROJECT, "index.md": "# P\n"})
    assert not recipe.declares_none(project, [(project.folder / "other.md", "docx")])


# --- the programs


def versions(environment: dict[str, str]) -> list[str]:
    commands = (["node", "--version"], ["npm", "--version"], ["myst", "--version"], ["npm", "root", "--global"])
    return [subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout for command in commands]


@pytest.mark.skipif(not toolchain.node_programs(), reason="Node is no Python package here")
def test_the_short_ways_to_node_npm_and_myst_lead_to_the_same_programs(tmp_path: Path) -> None:
    environment = toolchain.environment(tmp_path, extra={}, network=False)
    assert str(toolchain.BIN_NODE) in environment["PATH"].split(":")
    own = {**environment, "PATH": environment["PATH"].replace(f"{toolchain.BIN_NODE}:", "")}
    assert versions(environment) == versions(own)


def test_programs_that_are_not_python_packages_are_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "find_spec", lambda name: None)
    environment = toolchain.environment(tmp_path, extra={}, network=False)
    assert str(toolchain.BIN_NODE) not in environment["PATH"]
    assert not [name for name in environment if name.startswith("JOBSITE_")]


# --- the compile cache


@pytest.mark.skipif(not toolchain.node_programs(), reason="Node is no Python package here")
@pytest.mark.parametrize("uid", [None, 1_900_000_123])
def test_node_takes_what_the_installation_compiled(tmp_path: Path, uid: int | None) -> None:
    folder, place = tmp_path / "cache", tmp_path / "place"
    compile_cache.fill(folder)
    environment = toolchain.environment(tmp_path, extra={"NODE_DEBUG_NATIVE": "COMPILE_CACHE"}, network=False)
    told = subprocess.run(
        ["myst", "--version"],
        env={**environment, **compile_cache.provide(place, {uid}, folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "was accepted" in told.stdout + told.stderr
    assert uid is None or [path for path in place.iterdir() if path.name.endswith(f"-{uid}")]


def test_every_user_of_a_build_can_read_the_compile_cache(tmp_path: Path) -> None:
    compile_cache.fill(tmp_path / "cache")
    made = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert bool(made) is bool(toolchain.node_programs())
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in made)


def test_without_a_compile_cache_node_gets_none(tmp_path: Path) -> None:
    assert compile_cache.provide(tmp_path / "place", set(), tmp_path / "missing") == {}
    assert not (tmp_path / "place").exists()


def test_the_compile_cache_is_where_builds_read_and_do_not_write() -> None:
    readable = [folder.resolve() for folder in (*program_folders(), *map(Path, SYSTEM))]
    assert any(compile_cache.FOLDER.resolve().is_relative_to(folder) for folder in readable)
