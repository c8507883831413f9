"""Exports hold what the author wrote, with the real myst: every page, the author's layout, and every declared export."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from builds.engine.context import Built, Context
from builds.engine.findings import Finding
from builds.engine.manuscript.project import Project
from builds.engine.myst import toolchain
from builds.engine.stages.build import build
from builds.engine.stages.collect import collect
from builds.errors import BuildError
from tests.support.stage_context import make_context

pytestmark = pytest.mark.slow

MECA = {"format": "meca", "output": "m.zip"}
# Without LaTeX and network its template can't be fetched.
PDF = {"format": "pdf", "output": "paper.pdf"}
OWN = {"format": "typst", "template": "./template", "output": "paper.pdf"}
TEMPLATE = {
    "template.yml": "myst: v1\nkind: typst\ntitle: A\nversion: 1.0.0\ndoc:\n  - id: title\nfiles:\n  - template.typ\n  - lib.typ\n",
    "template.typ": '#import "lib.typ": *\n[-IMPORTS-]\n#show: paper.with(title: "[-doc.title-]")\n[-CONTENT-]\n',
    "lib.typ": "#let breakableDefault = true\n#let paper(title: none, body) = {\n  heading(title)\n  body\n}\n",
}


def write(tmp_path: Path, files: dict[str, str], exports: list[Any], **project: Any) -> Project:
    root = tmp_path / "repository"
    config = json.dumps({"version": 1, "project": {"title": "T", "exports": exports, **project}})
    for path, text in {"myst.yml": config, "index.md": "# First\n\nText of one.\n", **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Project(root, root / "myst.yml")


def made(tmp_path: Path, files: dict[str, str], exports: list[Any], **project: Any) -> tuple[Context, Built]:
    context = make_context(tmp_path, declared_exports=tuple(exports))
    return context, build(context, write(tmp_path, files, exports, **project))


def template(**changes: str) -> dict[str, str]:
    """A template in the repository. ``changes`` replace texts of its files, by the names of the files without their endings."""
    files = dict(TEMPLATE)
    for name, change in changes.items():
        old, new = change.split(" => ")
        file = {"lib": "lib.typ", "main": "template.typ"}[name]
        assert old in files[file]
        files[file] = files[file].replace(old, new)
    return {f"template/{name}": text for name, text in files.items()}


def pdf_text(built: Built) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(built.exports[0].path).pages)


def found(context: Context, code: str) -> list[Finding]:
    return [finding for finding in context.findings.all if finding.code == code]


PAGES = {f"{name}.md": f"# Chapter {name}\n\nText of {name}.\n" for name in ("two", "three")}
TOC = [{"file": "index.md"}, {"file": "two.md"}, {"title": "Part", "children": [{"file": "three.md"}]}]


@pytest.mark.parametrize("toc", [TOC, None], ids=["toc", "no toc"])
def test_our_pdf_holds_every_page(tmp_path: Path, toc: Any) -> None:
    context, built = made(tmp_path, PAGES, [PDF, MECA], **({"toc": toc} if toc else {}))
    text = pdf_text(built)
    assert [word in text for word in ("Text of one", "Text of two", "Text of three", "Part")] == [True] * 3 + [bool(toc)]
    assert [finding.export for finding in found(context, "own-template-used")] == ["pdf"]


def test_our_pdf_holds_only_the_articles_that_the_author_names(tmp_path: Path) -> None:
    _context, built = made(tmp_path, PAGES, [{**PDF, "articles": ["three.md"]}, MECA], toc=TOC)
    text = pdf_text(built)
    assert ("Text of three" in text, "Text of one" in text, "Text of two" in text) == (True, False, False)


def test_a_first_page_that_myst_leaves_out_is_named(tmp_path: Path) -> None:
    context, built = made(tmp_path, {**PAGES, **template()}, [OWN, MECA], toc=TOC)
    assert ("Text of one" in pdf_text(built), "Text of two" in pdf_text(built)) == (False, True)
    assert [(each.file, each.export) for each in found(context, "first-page-left-out")] == [("index.md", "typst")]


def test_a_pdf_of_one_page_or_of_named_pages_lacks_none(tmp_path: Path) -> None:
    named = {**OWN, "articles": ["two.md"]}
    for name, files, exports in (("one", template(), [OWN, MECA]), ("named", {**PAGES, **template()}, [named, MECA])):
        (tmp_path / name).mkdir()
        context, _built = made(tmp_path / name, files, exports)
        assert found(context, "first-page-left-out") == []


def test_our_own_meca_holds_every_page(tmp_path: Path) -> None:
    _context, built = made(tmp_path, PAGES, [], toc=TOC)
    article = zipfile.ZipFile(built.exports[0].path).read("article.xml").decode()
    assert all(f"Text of {name}" in article for name in ("one", "two", "three"))


@pytest.mark.parametrize(
    "change",
    [
        {"lib": "heading(title) => headingx(title)"},
        {"main": "paper.with(title => paper.with(titel"},
        {"main": '"lib.typ" => "other.typ"'},
        {"main": "[-CONTENT-] => [-CONTENT"},
    ],
    ids=["its code", "its call", "its file", "its placeholders"],
)
def test_a_template_that_is_at_fault_is_replaced(tmp_path: Path, change: dict[str, str]) -> None:
    context, built = made(tmp_path, template(**change), [OWN, MECA])
    [finding] = found(context, "own-template-used")
    assert (finding.export, "Text of one" in pdf_text(built)) == ("typst", True)
    assert "paper.pdf was made with the journal's template, because its own could not be used (" in finding.text


@pytest.mark.parametrize(
    ("page", "files"),
    [
        ("```{figure} none.png\nA picture.\n```\n", {}),
        ("```{figure} fig.png\nA picture.\n```\n", {"fig.png": "no picture"}),
        ("See [@nobody].\n", {}),
        ("See [@a].\n", {"refs.bib": "@article{a,\n title={x\n"}),
        ("$$\\nosuch{x} + \\frac{1}$$\n", {}),
    ],
    ids=["missing picture", "damaged picture", "unknown citation", "unreadable bibliography", "formula"],
)
def test_a_fault_of_the_manuscript_never_changes_the_layout(tmp_path: Path, page: str, files: dict[str, str]) -> None:
    context, built = made(tmp_path, {"index.md": f"# First\n\n{page}", **template(), **files}, [OWN, MECA])
    assert found(context, "own-template-used") == []
    with pytest.raises(BuildError, match="was not made"):
        collect(context, built)


def test_a_meca_declared_through_extends_is_delivered(tmp_path: Path) -> None:
    base = json.dumps({"version": 1, "project": {"exports": [{"format": "meca", "output": "out/whole.zip"}]}})
    config = json.dumps({"version": 1, "extends": "base.yml", "project": {"title": "T", "toc": TOC}})
    context, built = made(tmp_path, {**PAGES, "myst.yml": config, "base.yml": base, "out/whole.zip": "stale"}, [])
    assert [(export.role, export.name) for export in built.exports] == [("meca", "/out/whole"), ("page-content", "index.json")]
    assert (found(context, "meca-added"), len(found(context, "stale-export-removed"))) == ([], 1)
    assert collect(context, built)[0].size > 0


def reported(context: Context) -> list[tuple[str, str, int | None, str]]:
    codes = ("export-format-unknown", "export-missing", "export-not-delivered", "page-exports-not-delivered")
    return [(each.code, each.file, each.line, each.export) for each in context.findings.all if each.code in codes]


def test_every_declared_export_is_made_or_named(tmp_path: Path) -> None:
    exports = [
        {"format": "pfd", "output": "a.pdf"},
        {"format": "epub", "output": "a.epub"},
        {"format": "docx", "output": "a.docx"},  # its template can't be fetched
        {"format": "jats", "output": "a.xml"},
        {"format": "md", "output": "a.md"},
        MECA,
        {"format": "meca", "output": "second.zip"},
    ]
    listed = "".join(f"    - format: {each['format']}\n      output: {each['output']}\n" for each in exports)
    config = f"version: 1\nproject:\n  title: T\n  exports:\n{listed}"
    context, built = made(tmp_path, {"myst.yml": config}, exports)
    assert reported(context) == [
        ("export-format-unknown", "myst.yml", 5, ""),
        ("export-format-unknown", "myst.yml", 7, "epub (a.epub)"),
        ("export-missing", "myst.yml", 10, "docx (a.docx)"),
        ("export-not-delivered", "myst.yml", 12, "xml (a.xml)"),
        ("export-not-delivered", "myst.yml", 14, "md (a.md)"),
        ("export-not-delivered", "myst.yml", 18, "meca (second.zip)"),
    ]
    texts = [finding.text for finding in context.findings.all]
    assert "The export xml (a.xml) was made. It is delivered inside the MECA only." in texts
    assert "The export md (a.md) was made. It is not delivered." in texts
    assert any("docx (a.docx) was not made: the Word template" in text for text in texts)
    assert collect(context, built)


def declaring(name: str, text: str = "") -> str:
    return f"---\ntitle: {name}\nexports:\n  - format: md\n    output: {name}-out.md\n---\n\nText of {name}.{text}\n"


def test_exports_of_pages_are_named_and_only_those_of_the_root_page_are_made(tmp_path: Path) -> None:
    files = {f"{name}.md": declaring(name) for name in ("index", "two", "three")}
    context, built = made(tmp_path, files, [PDF, MECA])
    assert [(name, (built.project.folder / f"{name}-out.md").exists()) for name in ("index", "two", "three")] == [
        ("index", True),
        ("two", False),
        ("three", False),
    ]
    assert reported(context) == [("page-exports-not-delivered", "index.md", None, "")]
    assert "two-out.md) of two.md" in found(context, "page-exports-not-delivered")[0].text
    assert "Text of three" in pdf_text(built)
    with zipfile.ZipFile(built.exports[1].path) as meca:
        assert {"paper.pdf", "article.xml", "bundle/three.md"} <= set(meca.namelist())


def test_a_project_whose_pages_alone_declare_exports_gets_them_of_the_root_page(tmp_path: Path) -> None:
    files = {f"{name}.md": declaring(name) for name in ("index", "two")}
    context, built = made(tmp_path, files, [])
    assert [(built.project.folder / f"{name}-out.md").exists() for name in ("index", "two")] == [True, False]
    assert collect(context, built)[0].role == "meca"


def test_pages_that_declare_nothing_that_is_contained_are_not_built_for_it(tmp_path: Path) -> None:
    context, built = made(tmp_path, {"two.md": declaring("two")}, [])
    assert not (built.project.folder / "two-out.md").exists()
    assert collect(context, built)[0].role == "meca"


EPS = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n0 0 1 setrgbcolor 5 5 30 30 rectfill\nshowpage\n%%EOF\n"


@pytest.mark.skipif(not toolchain.converts_eps(), reason="Ghostscript is not installed")
def test_an_eps_picture_is_in_the_pdf(tmp_path: Path) -> None:
    page = "# First\n\n```{figure} fig.eps\nA picture.\n```\n"
    _context, built = made(tmp_path, {"index.md": page, "fig.eps": EPS}, [PDF, MECA])
    resources: Any = PdfReader(built.exports[0].path).pages[0]["/Resources"]
    pictures = [each.get_object() for each in resources["/XObject"].values()]
    assert [(picture["/Width"], picture["/Height"]) for picture in pictures if picture["/Subtype"] == "/Image"] == [(167, 167)]


def test_our_pdf_says_which_picture_is_missing(tmp_path: Path) -> None:
    _context, built = made(tmp_path, {"index.md": "# First\n\n![A](fig.png)\n"}, [PDF, MECA])
    assert "The picture fig.png is missing." in pdf_text(built)
