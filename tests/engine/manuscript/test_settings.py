"""The project file is read by a limited child process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from builds.engine.manuscript import limited
from builds.engine.manuscript.project import Project
from builds.engine.manuscript.settings import fix_toc, read_settings, read_yamls, write_overlay
from builds.errors import Fault, ProjectFileInvalid
from tests.support.bombs import aliases


def of(tmp_path: Path, text: str) -> Project:
    file = tmp_path / "myst.yml"
    file.write_text(text)
    return Project(tmp_path, file)


LONG_TEXTS = "a: &a '" + "x" * 100_000 + "'\nb: [" + ", ".join(["*a"] * 200) + "]"
DEEP = "a: " + "[" * 200 + "]" * 200
BIG_KEY = "? [a, b]\n: c"


@pytest.mark.parametrize("text", [aliases(), LONG_TEXTS, DEEP, BIG_KEY], ids=["bomb", "long texts", "deep", "big key"])
def test_a_document_that_is_too_complex_is_the_manuscript_s_fault(tmp_path: Path, text: str) -> None:
    project = of(tmp_path, text)
    for use in (
        read_settings,
        fix_toc,
        lambda project: write_overlay(project, tmp_path / "new.yml", top={"site": {}}, in_project={}),
    ):
        with pytest.raises(ProjectFileInvalid) as caught:
            use(project)
        assert caught.value.cause.fault == Fault.MANUSCRIPT
    assert project.file.read_text() == text
    assert not (tmp_path / "new.yml").exists()


def test_a_document_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = of(tmp_path, "version: 1\nproject: {title: once}\n")
    asked = []
    yaml_values = limited.yaml_values

    def count(texts: Sequence[str]) -> list[Any]:
        asked.append(texts)
        return yaml_values(texts)

    monkeypatch.setattr(limited, "yaml_values", count)
    assert read_settings(project) == read_settings(project) == {"version": 1, "project": {"title": "once"}}
    assert len(asked) == 1


def test_aliases_merges_and_unknown_tags_are_read() -> None:
    text = "a: &a {x: 1, y: no}\nb: *a\nc: {<<: *a, x: true}\nd: !own text\ne: 2024-01-01\nf: 1.5\ng:\n1: one\n"
    [value, broken, huge] = read_yamls([text, "a: [", "a: " + "<<" * 1000 + "x" * 1000])
    assert value == {
        "a": {"x": 1, "y": "no"},
        "b": {"x": 1, "y": "no"},
        "c": {"x": True, "y": "no"},
        "d": "text",
        "e": "2024-01-01",
        "f": 1.5,
        "g": None,
        "1": "one",
    }
    assert broken is None and huge is None


def test_an_overlay_keeps_what_it_does_not_replace(tmp_path: Path) -> None:
    project = of(tmp_path, "version: 1\nsite: {a: b}\nproject:\n  date: 2024-01-01\n  title: no  # a note\n  exports: []\n")
    path = tmp_path / "new.yml"
    write_overlay(project, path, top={"site": None}, in_project={"exports": [{"format": "typst"}]})
    assert path.read_text() == (
        "version: 1\nproject:\n  date: 2024-01-01\n  title: no  # a note\n  exports:\n    - format: typst\n"
    )


def test_fixing_a_toc_gives_each_entry_a_line(tmp_path: Path) -> None:
    project = of(tmp_path, "version: 1\nproject:\n  toc: [{file: a.md}, {file: b.md}]\n")
    fix_toc(project)
    assert project.file.read_text() == "version: 1\nproject:\n  toc:\n    - file: a.md\n    - file: b.md\n"
