"""Odd manuscripts: those that plain myst can turn into a MECA are built, all others fail with a sentence about the problem.

Each of them once failed. The real myst builds them, and the stage collect checks the result.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from pypdf import PdfReader

from builds.engine.manuscript.exports import Export
from builds.engine.manuscript.project import Project
from builds.engine.stages.build import build
from builds.engine.stages.collect import collect
from builds.errors import BuildError
from tests.support.stage_context import make_context

pytestmark = pytest.mark.slow

MECA = {"format": "meca", "output": "exports/c.zip"}


def config(exports: list[Any], **project: Any) -> str:
    """A project file, in JSON, which is valid YAML."""
    return json.dumps({"version": 1, "project": {"title": "T", **({"exports": exports} if exports else {}), **project}})


def made(tmp_path: Path, files: dict[str, str], exports: list[Any]) -> list[Export]:
    root = tmp_path / "repository"
    for path, text in {"index.md": "# T\n\nText.\n", **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    context = make_context(tmp_path, declared_exports=tuple(exports))
    return collect(context, build(context, Project(root, root / "myst.yml")))


def declared(tmp_path: Path, exports: list[Any], files: dict[str, str] | None = None, **project: Any) -> list[Export]:
    """The exports of a project that declares ``exports`` in its file and in its submission."""
    return made(tmp_path, {"myst.yml": config(exports, **project), **(files or {})}, exports)


def names(exports: list[Export]) -> list[tuple[str, str]]:
    return [(export.role, export.name) for export in exports]


PAGE = ("page-content", "index.json")


@pytest.mark.parametrize(
    ("exports", "expected"),
    [
        ([{"format": "typst"}, {"format": "meca"}], [("typst", "myst.pdf"), ("meca", "/_build/exports/myst"), PAGE]),
        ([{"format": "typst", "output": "A.PDF"}, MECA], [("typst", "A.PDF"), ("meca", "/exports/c"), PAGE]),
        ([{"format": "typst", "output": "paper.typ"}, MECA], [("typst", "paper.typ"), ("meca", "/exports/c"), PAGE]),
        ([{"format": "meca", "output": "c.tar.gz"}], [("meca", "/c.tar.gz"), PAGE]),
        ([{"format": "meca", "output": "exports/A.MECA.ZIP"}], [("meca", "/exports/A.MECA.ZIP"), PAGE]),
        ([{"format": "md", "output": "index.md"}, MECA], [("meca", "/exports/c"), PAGE]),
    ],
)
def test_odd_outputs_are_built(tmp_path: Path, exports: list[Any], expected: list[tuple[str, str]]) -> None:
    assert names(declared(tmp_path, exports)) == expected


def test_an_output_shared_by_two_exports_is_sent_once(tmp_path: Path) -> None:
    exports = [{"format": "pdf", "output": "a.pdf"}, {"format": "typst", "output": "a.pdf"}, MECA]
    assert names(declared(tmp_path, exports)) == [("pdf", "a.pdf"), ("meca", "/exports/c"), PAGE]


@pytest.mark.parametrize("text", ["version: 1\n", "version: 1\nproject:\n", "version: 1\nsite:\n  title: T\n"])
def test_a_project_file_without_a_project_is_built(tmp_path: Path, text: str) -> None:
    assert names(made(tmp_path, {"myst.yml": text}, [])) == [("meca", "/exports/manuscript.meca"), PAGE]


@pytest.mark.parametrize("file", ["exports", "_build"])
def test_a_file_in_place_of_our_folders_is_no_problem(tmp_path: Path, file: str) -> None:
    assert names(made(tmp_path, {"myst.yml": config([]), file: "x"}, [])) == [("meca", "/exports/manuscript.meca"), PAGE]


def test_names_and_texts_that_are_not_valid_xml_are_fixed(tmp_path: Path) -> None:
    picture = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
    files = {"index.md": "# A & B\n\nFrom a\x0cPDF.\n\n![](R&D.svg)\n", "R&D.svg": picture, 'data/a"<b>.csv': "1"}
    [meca, _page] = declared(tmp_path, [MECA], files, resources=["data/**"])
    with zipfile.ZipFile(meca.path) as archive:
        for name in ("manifest.xml", "article.xml"):
            with archive.open(name) as file:
                ElementTree.parse(file)
        assert archive.read("bundle/index.md").decode() == files["index.md"], "the author's file is unchanged"
        assert b"R&amp;D.svg" in archive.read("manifest.xml")


def test_a_pdf_is_made_although_a_reference_cannot_be_looked_up(tmp_path: Path) -> None:
    text = "# T\n\nAs shown [@doi:10.1038/s41586-020-2649-2].\n"
    pdf, meca, _page = declared(tmp_path, [{"format": "typst", "output": "c.pdf"}, MECA], {"index.md": text})
    assert "10.1038/s41586-020-2649-2" in "".join(page.extract_text() for page in PdfReader(pdf.path).pages)
    with zipfile.ZipFile(meca.path) as archive:
        assert not [name for name in archive.namelist() if "csl.json" in name]


def test_our_own_pdf_contains_the_declared_pages(tmp_path: Path) -> None:
    export = {"format": "typst", "article": "other.md", "output": "c.pdf"}
    pdf, *_ = declared(tmp_path, [export, MECA], {"other.md": "# Other\n\nAnother text.\n"})
    assert "Another text" in PdfReader(pdf.path).pages[0].extract_text()


@pytest.mark.parametrize(
    ("files", "exports", "project", "words", "file", "line"),
    [
        ({"exports": "x"}, [MECA], {}, "'exports' in the repository is not a folder", "myst.yml", None),
        ({"exports/c.zip/x": "x"}, [MECA], {}, "has a folder of that name", "myst.yml", None),
        ({}, [{"format": "meca", "output": f"{'x' * 300}.zip"}], {}, "longer than a file name", "myst.yml", None),
        ({}, [], {"toc": [{"title": "X", "children": [{"file": "index.md"}]}]}, "does not begin with a page", "myst.yml", None),
        ({}, [], {"toc": []}, "table of contents in the project file is empty", "myst.yml", None),
        ({}, [None], {}, "can't read `exports` in the manuscript: one of its entries is empty", "", None),
        (
            {"index.md": "# T\n\n$\\undefined{x}$\n"},
            [{"format": "typst", "output": "c.pdf"}, MECA],
            {},
            r"a formula on line 3 of index.md uses \undefined",
            "index.md",
            3,
        ),
    ],
)
def test_a_manuscript_that_cannot_be_built_fails_with_a_sentence_about_the_problem(
    tmp_path: Path, files: dict[str, str], exports: list[Any], project: dict[str, Any], words: str, file: str, line: int | None
) -> None:
    with pytest.raises(BuildError) as caught:
        declared(tmp_path, exports, files, **project)
    assert words in caught.value.sentence
    assert caught.value.sentence.endswith(".")
    assert (caught.value.fault, caught.value.file, caught.value.line) == ("manuscript", file, line)
