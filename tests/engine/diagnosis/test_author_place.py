"""Complaints about files that tools made, or without a line, and the author's place that they are about."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builds.engine.diagnosis import Clue, Clues, Pages
from builds.engine.findings.catalogue.pages import TABLE_COMMENT
from builds.engine.manuscript.project import Project
from builds.errors import Fault

PAGE = """---
title: On the Drying of Paint
---

The layers dry *slowly* in cold rooms with little moving air.

![a figure](figures/a-very-long-name-of-a-figure.png)

$$ E = \\dsfa c^2 $$

See [](#fig:none) and ![](Plot.png).
"""
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
TYPST = "  ┌─ _build/temp/mystX/paper.typ:9:1\n  │\n9 │ {quoted}"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A manuscript in the folder ``paper`` of its repository."""
    folder = tmp_path / "paper"
    (folder / "figures").mkdir(parents=True)
    (folder / "myst.yml").write_text("version: 1\nproject:\n  title: 2026\n  authors:\n    - name: A\n      orcid: 1234\n")
    (folder / "index.md").write_text(PAGE)
    (folder / "figures" / "plot.PNG").write_bytes(b"\x89PNG")
    (folder / "plot.png").write_bytes(b"\x89PNG")
    return Project(tmp_path, folder / "myst.yml")


def explain(project: Project, *lines: str) -> Clue:
    clues = Clues(project.folder, within="paper", pages=Pages(project))
    for number, line in enumerate("\n".join(lines).split("\n"), 1):
        clues.see(number, "stderr", line)
    clue = clues.explain()
    assert clue is not None
    return clue


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ('⛔️ index.md Cannot find image "figures/a-very-long-name-of-a-figure.png" in /x', 7),
        ("⚠️  index.md Cross reference target was not found: fig:none", 11),
        ("error: expected content\n" + TYPST.format(quoted="The layers dry _slowly_ in cold rooms with little moving air."), 5),
        ("error: unknown variable: dsfa\n" + TYPST.format(quoted="$ E = dsfa c^2 $"), 9),
        ("error: expected content\n" + TYPST.format(quoted="Nothing of the kind stands anywhere in here"), None),
    ],
)
def test_a_complaint_gets_the_authors_line(project: Project, lines: str, line: int | None) -> None:
    clue = explain(project, lines)
    assert (clue.file, clue.line) == ("paper/index.md" if line else "", line)


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ("⛔️ myst.yml 'title' must be string (at myst.yml#config.project)", 3),
        ("⛔️ myst.yml 'orcid' ORCID \"1234\" is not valid, try an ID", 6),
        ("⛔️ myst.yml 'doi' must be valid DOI", None),
    ],
)
def test_a_complaint_about_the_project_file_gets_its_line(project: Project, lines: str, line: int | None) -> None:
    clue = explain(project, lines)
    assert (clue.file, clue.line) == ("paper/myst.yml", line)


@pytest.mark.parametrize(
    ("content", "code", "file", "line"),
    [
        ("GIF89a", "image-unreadable", "paper/index.md", 7),
        ("", "image-empty", "paper/index.md", 7),
        (LFS, "image-lfs-pointer", "paper/figures/a-very-long-name-of-a-figure.png", None),
    ],
)
def test_a_picture_that_typst_cant_read_is_found_where_it_is_shown(
    project: Project, content: str, code: str, file: str, line: int | None
) -> None:
    (project.folder / "figures" / "a-very-long-name-of-a-figure.png").write_text(content)
    copied = f"_build/temp/mystX/files/a-very-long-name-of--{'0' * 32}.png"
    clue = explain(project, "error: failed to decode image (unexpected end of file)", TYPST.format(quoted=f'#image("{copied}")'))
    assert (clue.code, clue.file, clue.line) == (code, file, line)


def test_a_picture_whose_name_has_a_space_is_named(project: Project) -> None:
    (project.folder / "my plot.png").write_bytes(b"\x89PNG")
    clue = explain(project, '⛔️ index.md:11 Cannot find image "my%20plot.png" in /x')
    assert "(but paper/my plot.png is: MyST can't find a name with a space)" in clue.sentence


def test_a_picture_whose_name_differs_by_case_is_named(project: Project) -> None:
    clue = explain(project, '⛔️ index.md:11 Cannot find image "Plot.png" in /x')
    assert "(but paper/plot.png is: upper and lower case matter)" in clue.sentence


def test_the_complaint_about_what_typst_misses_is_the_cause(project: Project) -> None:
    """Typst names what the author wrote; myst names the place."""
    clue = explain(
        project,
        '⚠️  index.md:2 Could not link citation with label "knuth1984".',
        '⚠️  index.md:11 No target for internal reference "fig:none" was found.',
        "error: label `<fig:none>` does not exist in the document",
        TYPST.format(quoted="See @fig:none"),
    )
    assert (clue.code, clue.line) == ("cross-reference-unresolved", 11)


def test_the_complaint_about_a_command_that_typst_does_not_know_is_the_cause(project: Project) -> None:
    complaint = "⛔️ index.md:9:5 Undefined control sequence: \\dsfa at position 5: E = \\\u0332d\u0332s\u0332f\u0332a\u0332 c^2"
    clue = explain(project, complaint, "error: unknown variable: dsfa", TYPST.format(quoted="$ E = dsfa c^2 $"))
    assert (clue.code, clue.file, clue.line) == ("math-command-unknown", "paper/index.md", 9)
    assert "uses \\dsfa, which MyST does not know" in clue.sentence


def test_only_ordinary_files_of_the_repository_are_read(project: Project) -> None:
    secret = project.root.parent / "secret.md"
    secret.write_text("The layers dry slowly in cold rooms.\n")
    (project.folder / "index.md").unlink()
    (project.folder / "index.md").symlink_to(secret)
    os.mkfifo(project.folder / "pipe.md")
    pages = Pages(project)
    assert set(pages.sources()) >= {"paper/index.md", "paper/pipe.md"}
    assert [pages.lines(name) for name in ("paper/index.md", "paper/pipe.md", "paper/none.md")] == [(), (), ()]
    clue = explain(project, "error: expected content", TYPST.format(quoted="The layers dry slowly in cold rooms."))
    assert clue.file == ""


CRASH = "TypeError: Cannot read properties of undefined (reading '{name}')\n    at visit (/x/mystmd_py/myst.cjs:1:2)"


@pytest.mark.parametrize(
    ("name", "code", "fault", "file"),
    [("reduce", "table-comment", Fault.MANUSCRIPT, "a.md"), ("map", "tool-crashed", Fault.UNKNOWN, "")],
)
def test_a_known_crash_of_myst_is_what_our_check_has_found(name: str, code: str, fault: Fault, file: str) -> None:
    clues = Clues(checked=lambda: (TABLE_COMMENT.finding(file="a.md", line=7),))
    for number, line in enumerate(CRASH.format(name=name).split("\n"), 1):
        clues.see(number, "stderr", line)
    error = clues.failure(exit_code=0, command="myst build", role="meca")
    assert (error.code, error.fault, error.file) == (code, fault, file)
    assert [found.code for found in clues.findings()] == [code]
