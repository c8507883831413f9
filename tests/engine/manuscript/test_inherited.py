"""The exports of the files that a project file extends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builds.engine.manuscript import inherited
from builds.engine.manuscript.inherited import every_export, with_inherited
from builds.engine.manuscript.project import Project


def project_of(folder: Path, **files: str) -> Project:
    for name, text in files.items():
        (folder / f"{name}.yml").write_text(text)
    return Project(folder, folder / "myst.yml")


def declares(*outputs: str, extends: str = "") -> str:
    exports = ", ".join(f"{{format: pdf, output: {output}}}" for output in outputs)
    return f"version: 1\nextends: [{extends}]\nproject:\n  exports: [{exports}]\n"


def outputs(entries: list[Any]) -> list[str]:
    return [entry["output"] for entry in entries]


def test_inherited_exports_come_first_and_each_file_is_read_once(tmp_path: Path) -> None:
    project = project_of(
        tmp_path,
        myst=declares("own.pdf", extends="a.yml, b.yml"),
        a=declares("a.pdf", extends="b.yml, myst.yml, a.yml"),
        b=declares("b.pdf"),
    )
    assert outputs(every_export(project, [])) == ["b.pdf", "a.pdf", "own.pdf"]
    assert outputs(with_inherited(project, [])) == ["b.pdf", "a.pdf"]


def test_what_is_delivered_is_declared_by_the_submission_or_inherited(tmp_path: Path) -> None:
    """CONTRACT §3: the project file's own exports are those that desci-server sends."""
    project = project_of(tmp_path, myst=declares("own.pdf", extends="a.yml"), a=declares("a.pdf"))
    submitted = [{"format": "meca", "output": "paper.zip"}]
    assert outputs(with_inherited(project, submitted)) == ["paper.zip", "a.pdf"]
    assert outputs(every_export(project, submitted)) == ["paper.zip", "a.pdf", "own.pdf"]


def test_extended_files_share_the_limit_of_one_project_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the longest file may take twenty seconds. Twenty of them held a worker for minutes."""
    project = project_of(
        tmp_path,
        myst=declares("own.pdf", extends="a.yml, b.yml, c.yml"),
        **{name: declares(f"{name}.pdf") + "#" * 1000 for name in "abc"},
    )
    monkeypatch.setattr(inherited, "MAX_YAML_COST", 2500)
    assert outputs(every_export(project, [])) == ["a.pdf", "b.pdf", "own.pdf"]
