"""What the JATS of a MECA lacks of the pages: the real reader compares them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from builds.engine.context import Context
from builds.engine.findings.catalogue.pages import TABLE_COMMENT
from builds.engine.manuscript.project import Project
from builds.engine.myst.inspection import ExportFile, Pages, inspect
from tests.support.stage_context import make_context

MANIFEST = '<manifest><item item-type="article-metadata"><instance href="a.xml"/></item></manifest>'
PARAGRAPH = {"type": "paragraph", "children": [{"type": "text", "value": "Paint dries slowly in every weather."}]}


def heading(text: str, line: int, **more: Any) -> dict[str, Any]:
    return {"type": "heading", "position": {"start": {"line": line}}, "children": [{"type": "text", "value": text}], **more}


def page(*nodes: Any, slug: str = "index", location: str = "/index.md") -> dict[str, Any]:
    mdast = {"type": "root", "children": [{"type": "block", "children": list(nodes)}]}
    return {"slug": slug, "location": location, "frontmatter": {"title": "T"}, "mdast": mdast}


def lost(tmp_path: Path, jats: str, *pages: Any, **given: Any) -> list[tuple[str, str, int | None]]:
    """The findings about the JATS: their code, file and line."""
    context = make_context(tmp_path)
    found = compare(context, tmp_path, jats, pages, **given)
    return [(each.code.removeprefix("jats-"), each.file, each.line) for each in found if each.export == "meca"]


def compare(context: Context, tmp_path: Path, jats: str, pages: Any, **given: Any) -> Any:
    folder = tmp_path / "repository" / "_build/site/content"
    folder.mkdir(parents=True)
    for number, content in enumerate(pages):
        (folder / f"{number}.json").write_text(json.dumps(content))
    path = context.workspace / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.xml", MANIFEST)
        archive.writestr("a.xml", jats)
    project = Project(tmp_path / "repository", tmp_path / "repository" / "myst.yml")
    inspect(context, [ExportFile("meca", path, "the MECA", Pages(project, **given))])
    return context.findings.all


def article(body: str = "<p>Paint dries slowly in every weather.</p>", more: str = "", id_: str = "index") -> str:
    front = "<front><article-meta><title-group><article-title>T</article-title></title-group></article-meta></front>"
    return f'<article id="{id_}">{front}<body>{body}</body>{more}</article>'


METHODS = "<sec><title>The <italic>methods</italic></title><p>Paint.</p></sec>"
TWO = '<sub-article id="two"><front-stub/><body><p>Second.</p></body></sub-article>'


@pytest.mark.parametrize(
    ("jats", "pages", "expected"),
    [
        (article(), [page(PARAGRAPH)], []),
        (article(METHODS), [page(heading("The methods", 3))], []),
        (article(), [page(heading("The methods", 3), PARAGRAPH)], [("section-missing", "index.md", 3)]),
        (article(""), [page(PARAGRAPH)], [("body-empty", "index.md", None)]),
        (article(""), [page(heading("Only a heading", 1))], [("body-empty", "index.md", None)]),
        (article(""), [page()], []),
        (article('<fig><graphic href="a.png"/></fig>'), [page({"type": "image", "url": "a.png"})], []),
        (article(more=TWO), [page(PARAGRAPH), page(PARAGRAPH, slug="two", location="/two.md")], []),
        (
            article("<p>First.</p>"),
            [page(), page(PARAGRAPH, slug="two", location="/two.md")],
            [("page-missing", "two.md", None)],
        ),
        # Another program names its articles in another way.
        (article(id_="x"), [page(PARAGRAPH)], []),
        (article("<p>First.</p>", id_="x"), [page(PARAGRAPH)], [("page-missing", "index.md", None)]),
        # What is hidden, or in a box, is no section of the JATS.
        (article(), [page(heading("Hidden", 3, visibility="remove"), PARAGRAPH)], []),
        (article("<p>A box</p>"), [page({"type": "admonition", "children": [heading("A box", 3)]})], []),
        # A formula is written in another way.
        (article(), [page({"type": "heading", "children": [{"type": "inlineMath", "value": "x"}]}, PARAGRAPH)], []),
    ],
)
def test_a_jats_is_compared_with_the_pages(tmp_path: Path, jats: str, pages: list[Any], expected: list[Any]) -> None:
    assert lost(tmp_path, jats, *pages) == expected


def test_pages_that_a_known_crash_leaves_out_are_not_named_once_more(tmp_path: Path) -> None:
    """The finding says that the MECA lacks pages. The advice for other missing pages would mislead."""
    context = make_context(tmp_path)
    context.find(TABLE_COMMENT, file="two.md", line=7)
    pages = [page(), page(PARAGRAPH, slug="two", location="/two.md")]
    assert [found.code for found in compare(context, tmp_path, article("<p>First.</p>"), pages)] == ["table-comment"]


def test_a_dropped_node_is_named_where_it_stands(tmp_path: Path) -> None:
    source = tmp_path / "repository" / "index.md"
    source.parent.mkdir()
    source.write_text("# T\n\n```{include} part.md\n```\n")
    include = {"type": "include", "file": "part.md", "children": [PARAGRAPH]}
    card = {"type": "card", "position": {"start": {"line": 7}}, "children": [heading("In a card", 8)]}
    found = lost(tmp_path, article(), page(PARAGRAPH, include, card), dropped=("include", "card", "other"))
    assert found == [("without-node", "index.md", 3), ("without-node", "index.md", 7), ("without-node", "", None)]


TEXT = {"type": "text", "value": "Two words"}
CITED = {"type": "cite", "children": [{"type": "text", "value": "Smith, 2020"}]}
UNKNOWN = {"type": "cite", "error": "not found", "children": []}


def at(line: int, *children: Any, type_: str = "paragraph") -> dict[str, Any]:
    return {"type": type_, "position": {"start": {"line": line}}, "children": [*children]}


@pytest.mark.parametrize(
    ("body", "nodes", "expected"),
    [
        ("<p>Two  <b>words</b></p>", [at(3, TEXT)], []),
        ("<p>Two <fn>b</fn>words</p>", [at(3, TEXT)], [("text-missing", "index.md", 3)]),
        ("<p>x</p>", [at(3, TEXT), at(4, {**TEXT, "value": "in a box"}, type_="admonition")], [("text-missing", "index.md", 3)]),
        ("<p>x</p>", [at(3, {**TEXT, "visibility": "remove"})], []),
        ('<p>x <xref ref-type="bibr" rid="ref-1">Smith, 2020</xref></p>', [at(3, CITED)], [("reference-missing", "index.md", 3)]),
        ('<p>x <xref ref-type="bibr" rid="ref-1">Smith, 2020</xref></p><ref id="ref-1"/>', [at(3, CITED)], []),
        ('<p>x <xref ref-type="bibr" rid="key"/></p>', [at(3, UNKNOWN)], []),
        ("<p>Two words</p>", [at(3, TEXT, {"type": "break"})], [("break", "index.md", 3)]),
        ("<p>Two words<break/></p>", [at(3, TEXT, {"type": "break"})], []),
    ],
)
def test_texts_references_and_breaks(tmp_path: Path, body: str, nodes: list[Any], expected: list[Any]) -> None:
    assert lost(tmp_path, article(body), page(*nodes)) == expected


def test_code_that_mystmd_escaped_twice_is_fixed(tmp_path: Path) -> None:
    code = {"type": "code", "value": "if a < b and c:"}
    jats = article("<code>if a &amp;lt; b and c:</code><p>&amp;lt;</p>")
    assert lost(tmp_path, jats, page(at(3, code))) == []
    with zipfile.ZipFile(next(tmp_path.rglob("a.zip"))) as archive:
        assert archive.read("a.xml").decode() == jats.replace("&amp;lt; b", "&lt; b")


def test_the_line_of_what_is_in_a_notebook(tmp_path: Path) -> None:
    notebook = tmp_path / "repository" / "a.ipynb"
    notebook.parent.mkdir()
    notebook.write_text('{\n "cells": [\n  "It is \\"Two words\\""]}')
    nodes = [at(1, {**TEXT, "value": 'It is "Two words"'})]
    assert lost(tmp_path, article(), page(PARAGRAPH, *nodes, location="/a.ipynb")) == [("text-missing", "a.ipynb", 3)]


def test_only_pages_of_the_export_are_compared(tmp_path: Path) -> None:
    pages = [page(PARAGRAPH), page(heading("Elsewhere", 1), slug="two", location="/two.md")]
    assert lost(tmp_path, article(), *pages, locations=("index.md",)) == []


@pytest.mark.parametrize("mdast", [7, {"children": 7}, {"type": "heading", "children": 7}, {"type": "root", "children": [[[]]]}])
def test_pages_of_an_unexpected_form_do_not_fail_the_export(tmp_path: Path, mdast: Any) -> None:
    assert lost(tmp_path, article(), {"slug": 7, "location": "/index.md", "frontmatter": 7, "mdast": mdast}) == []


def test_what_lies_only_in_the_meca_is_named(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    path = context.workspace / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        manuscript = '<item item-type="manuscript"><instance href="a.docx"/></item></manifest>'
        archive.writestr("manifest.xml", MANIFEST.replace("</manifest>", manuscript))
        archive.writestr("a.xml", article())
        archive.writestr("a.docx", "x")
    assert inspect(context, [ExportFile("meca", path, "the MECA")]).contents == "the JATS article a.xml, a.docx"
