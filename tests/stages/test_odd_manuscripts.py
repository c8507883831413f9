"""Manuscripts of which bare myst makes a MECA arrive, whatever is odd about them; every other one ends in a sentence about it.

Each was seen to fail once. Built by the real myst, and collected.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from pypdf import PdfReader

from builds.errors import BuildError
from builds.stages import Export, Project
from builds.stages.build import build
from builds.stages.collect import collect
from tests.stages.context import make_context

MECA = {"format": "meca", "output": "exports/c.zip"}


def config(exports: list[Any], **project: Any) -> str:
    """A project file; JSON is YAML."""
    return json.dumps({"version": 1, "project": {"title": "T", **({"exports": exports} if exports else {}), **project}})


def made(tmp_path: Path, files: dict[str, str], exports: list[Any]) -> list[Export]:
    root = tmp_path / "repository"
    for path, text in {"index.md": "# T\n\nText.\n", **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    context = make_context(tmp_path, declared_exports=tuple(exports))
    return collect(context, build(context, Project(root, root / "myst.yml")))


def declared(tmp_path: Path, exports: list[Any], files: dict[str, str] | None = None, **project: Any) -> list[Export]:
    """Of a project that declares ``exports``, in its file and in its submission."""
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
def test_odd_outputs(tmp_path: Path, exports: list[Any], expected: list[tuple[str, str]]) -> None:
    assert names(declared(tmp_path, exports)) == expected


def test_one_output_of_two_exports_is_sent_once(tmp_path: Path) -> None:
    exports = [{"format": "pdf", "output": "a.pdf"}, {"format": "typst", "output": "a.pdf"}, MECA]
    assert names(declared(tmp_path, exports)) == [("pdf", "a.pdf"), ("meca", "/exports/c"), PAGE]


@pytest.mark.parametrize("text", ["version: 1\n", "version: 1\nproject:\n", "version: 1\nsite:\n  title: T\n"])
def test_a_project_file_without_a_project(tmp_path: Path, text: str) -> None:
    assert names(made(tmp_path, {"myst.yml": text}, [])) == [("meca", "/exports/manuscript.meca"), PAGE]


@pytest.mark.parametrize("file", ["exports", "_build"])
def test_a_file_where_our_folders_are(tmp_path: Path, file: str) -> None:
    assert names(made(tmp_path, {"myst.yml": config([]), file: "x"}, [])) == [("meca", "/exports/manuscript.meca"), PAGE]


def test_names_and_texts_that_are_no_xml(tmp_path: Path) -> None:
    picture = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
    files = {"index.md": "# A & B\n\nFrom a\x0cPDF.\n\n![](R&D.svg)\n", "R&D.svg": picture, 'data/a"<b>.csv': "1"}
    [meca, _page] = declared(tmp_path, [MECA], files, resources=["data/**"])
    with zipfile.ZipFile(meca.path) as archive:
        for name in ("manifest.xml", "article.xml"):
            with archive.open(name) as file:
                ElementTree.parse(file)
        assert archive.read("bundle/index.md").decode() == files["index.md"], "the author's own is left as it is"
        assert b"R&amp;D.svg" in archive.read("manifest.xml")


def test_a_reference_that_cannot_be_looked_up_keeps_no_pdf_from_being_made(tmp_path: Path) -> None:
    text = "# T\n\nAs shown [@doi:10.1038/s41586-020-2649-2].\n"
    pdf, meca, _page = declared(tmp_path, [{"format": "typst", "output": "c.pdf"}, MECA], {"index.md": text})
    assert "10.1038/s41586-020-2649-2" in "".join(page.extract_text() for page in PdfReader(pdf.path).pages)
    with zipfile.ZipFile(meca.path) as archive:
        assert not [name for name in archive.namelist() if "csl.json" in name]


def test_a_pdf_of_our_own_holds_the_pages_that_were_asked_for(tmp_path: Path) -> None:
    export = {"format": "typst", "article": "other.md", "output": "c.pdf"}
    pdf, *_ = declared(tmp_path, [export, MECA], {"other.md": "# Other\n\nAnother text.\n"})
    assert "Another text" in PdfReader(pdf.path).pages[0].extract_text()


@pytest.mark.parametrize(
    ("files", "exports", "project", "words", "file", "line"),
    [
        ({"exports": "x"}, [MECA], {}, "'exports' in the repository is no folder", "myst.yml", None),
        ({"exports/c.zip/x": "x"}, [MECA], {}, "is a folder, not a file", "myst.yml", None),
        ({}, [{"format": "meca", "output": f"{'x' * 300}.zip"}], {}, "longer than a file's name", "myst.yml", None),
        ({}, [], {"toc": [{"title": "X", "children": [{"file": "index.md"}]}]}, "does not begin with a page", "", None),
        ({}, [], {"toc": []}, "table of contents in the project file is empty", "", None),
        ({}, [None], {}, "`Export` in the front matter", "", None),
        (
            {"index.md": "# T\n\n$\\undefined{x}$\n"},
            [{"format": "typst", "output": "c.pdf"}, MECA],
            {},
            "unknown variable: undefined. MyST's first complaint: index.md, line 3: Undefined control sequence",
            "index.md",
            3,
        ),
    ],
)
def test_what_cannot_be_built_ends_in_a_sentence_about_it(
    tmp_path: Path, files: dict[str, str], exports: list[Any], project: dict[str, Any], words: str, file: str, line: int | None
) -> None:
    with pytest.raises(BuildError) as caught:
        declared(tmp_path, exports, files, **project)
    assert words in caught.value.sentence
    assert caught.value.sentence.endswith(".")
    assert (caught.value.fault, caught.value.file, caught.value.line) == ("manuscript", file, line)
