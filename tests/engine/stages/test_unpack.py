"""The stage unpack; tests/lib/test_unzip.py has the hostile archives."""

from __future__ import annotations

from pathlib import Path

import pytest

from builds.engine.manuscript.project import Archive, Project
from builds.engine.stages.unpack import unpack
from builds.errors import ProjectFileMissing
from tests.support.stage_context import KeptLog, KeptReport, make_context
from tests.support.zip_files import Entry, link, zipped

PROJECT = ("repo-main/myst.yml", b"version: 1\n")


def run(tmp_path: Path, *entries: Entry, project_path: str = "myst.yml") -> tuple[Project, KeptLog, KeptReport]:
    path = zipped(tmp_path / "a.zip", *entries)
    log, report = KeptLog(), KeptReport()
    context = make_context(tmp_path, log=log, report=report)
    return unpack(context, Archive(path, "0" * 40, "main", project_path)), log, report


def test_an_ordinary_repository_is_unpacked_without_warnings(tmp_path: Path) -> None:
    project, log, report = run(tmp_path, PROJECT, ("repo-main/a.md", b"text"), link("repo-main/b.md", "a.md"))
    assert project == Project(tmp_path / "workspace/repository", tmp_path / "workspace/repository/myst.yml")
    assert (log.warnings, report.details) == ([], ["2 files, 1 links, 15 bytes"])
    assert report.steps[-1] == (15, 15)


def test_the_project_file_may_be_in_a_folder_under_any_name(tmp_path: Path) -> None:
    project, _log, _report = run(tmp_path, ("r/docs/paper.yaml", b""), ("r/b", b""), project_path="docs/paper.yaml")
    assert project.folder == project.root / "docs"


def test_the_packages_of_its_pixi_lock_are_reported(tmp_path: Path) -> None:
    lock = b"version: 6\npackages:\n- conda: https://conda.example/noarch/pip-24.0-pyh_0.conda\n"
    _project, _log, report = run(tmp_path, ("r/docs/myst.yml", b""), ("r/pixi.lock", lock), project_path="docs/myst.yml")
    assert report.locked == {"pip": "24.0"}


def test_lfs_pointers_and_submodules_are_named(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12345\n"
    modules = b'[submodule "theme"]\n\tpath = themes/a\n\turl = https://x\n'
    _project, log, _report = run(tmp_path, PROJECT, ("repo-main/data/big.nc", pointer), ("repo-main/.gitmodules", modules))
    assert len(log.warnings) == 2
    assert "data/big.nc" in log.warnings[0]
    assert "Git LFS" in log.warnings[0]
    assert "themes/a" in log.warnings[1]


@pytest.mark.parametrize(
    "modules",
    [b"\n" * 30_000_000, b"path=" + b"a " * 15_000_000, b"path = a\0b\n", b"path = " + b"a" * 100_000, b"\xff\n[[["],
    ids=["empty lines", "one long line", "NUL", "long name", "no text"],
)
def test_a_crafted_gitmodules_does_not_hold_the_stage(tmp_path: Path, modules: bytes) -> None:
    run(tmp_path, PROJECT, ("repo-main/.gitmodules", modules))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (
            [("r/docs/myst.yml", b""), ("r/x", b"")],
            "myst.yml was not found in the repository at main. The repository has docs/myst.yml.",
        ),
        ([("r/README.md", b"")], "The repository has no MyST project file."),
        ([("r/MYST.yml", b"")], "was not found"),
        ([("r/book/_toc.yml", b""), ("r/book/_config.yml", b"")], "It is a Jupyter Book 1, with _toc.yml."),
        ([("r/_toc.yml", b""), ("r/docs/myst.yml", b"")], "The repository has docs/myst.yml."),
    ],
)
def test_the_error_for_a_missing_project_file_names_the_others(tmp_path: Path, entries: list[Entry], words: str) -> None:
    with pytest.raises(ProjectFileMissing) as missing:
        run(tmp_path, *entries)
    assert words in missing.value.sentence
