"""What was made is compared with what was written: the pages with the sources, and the PDFs with the pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from builds.engine.findings.catalogue.sources import SOURCES
from builds.engine.myst import reading
from builds.engine.tools.reading import whole
from builds.engine.tools.reading.leftovers import leftovers, words_as_formula
from builds.engine.tools.reading.markdown import Markdown
from builds.engine.tools.reading.passages import Passage, Text
from builds.engine.tools.reading.swallowed import known_words, swallowed

assert reading.CATALOGUE  # registers the kinds


def text(value: str, type_: str = "text") -> dict[str, Any]:
    return {"type": type_, "value": value}


def at(line: int, *children: Any, type_: str = "paragraph", **more: Any) -> dict[str, Any]:
    return {"type": type_, "position": {"start": {"line": line}}, "children": [*children], **more}


def pdf(path: Path, *pages: str) -> Path:
    """A PDF with a line of text for each line of ``pages``."""
    writer = PdfWriter()
    font = DictionaryObject({NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1")})
    font[NameObject("/BaseFont")] = NameObject("/Helvetica")
    for content in pages:
        page = writer.add_blank_page(300, 300)
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F"): font})})
        stream = DecodedStreamObject()
        stream.set_data(
            b"BT /F 9 Tf 12 TL 20 280 Td " + b"".join(b"(%s) Tj T* " % each.encode() for each in content.split("\n")) + b"ET"
        )
        page[NameObject("/Contents")] = writer._add_object(stream)
    writer.write(path)
    return path


def check(tmp_path: Path, nodes: list[Any], source: str, *pages: str, parts: Any = None) -> list[tuple[str, str, int | None]]:
    """The findings of a manuscript of one page."""
    (tmp_path / "myst.yml").write_text("version: 1\nproject:\n  toc:\n    - file: index.md\n")
    (tmp_path / "index.md").write_text(source)
    made = tmp_path / "_build" / "index.json"
    made.parent.mkdir()
    front = {"parts": parts} if parts else {}
    mdast = {"type": "root", "children": nodes}
    made.write_text(json.dumps({"location": "/index.md", "frontmatter": front, "mdast": mdast}))
    pdfs = [{"path": str(pdf(tmp_path / "a.pdf", *pages)), "articles": ["index.md"]}] if pages else []
    found = [*whole.check({"page": str(made), "root": str(tmp_path), "file": str(tmp_path / "myst.yml"), "pdfs": pdfs})]
    for each in found:
        assert SOURCES[each.code].finding(file=each.file, line=each.line, **dict[str, Any](each.words)).text
    return [(each.code, each.file, each.line) for each in found]


LONG = "Paint that was put onto a wall dries more slowly in a cold room than in a warm one, and it stays soft."
BOX = at(5, at(6, text("Look at the wall.")), type_="admonition")


def test_a_text_that_the_pdf_lacks(tmp_path: Path) -> None:
    nodes = [at(3, text(LONG)), BOX, at(9, text("x"), {"type": "cite", "children": [text("Smith, 2020")]})]
    assert check(tmp_path, nodes, f"{LONG}\nLook at the wall.", LONG) == [("pdf-text-missing", "index.md", 6)]


@pytest.mark.parametrize(
    "pages",
    [
        (LONG + "\nLook at the wall.",),
        # A page ends in a word, and the next begins with a running title.
        (
            "Paint that was put onto a wall dries more slowly in a cold room than in a warm one, and it stays soft.\nLook at",
            "T 2\nthe wall.",
        ),
        # A hyphen at the end of a line, and capital letters.
        (LONG.replace("slowly", "slow-\nly").upper() + "\nLook at the wall.",),
        # A figure is between two lines.
        (LONG[:70] + "\nFigure 1. A wall.\n" + LONG[70:], "Look at the wall."),
        # The text can't be read: its letters have other codes.
        ("\n".join(["Qbjou uibu xbt qvu poup b xbmm esjft npsf tmpxmz jo b dpme sppn uibo jo b xbsn pof"] * 3),),
    ],
)
def test_a_pdf_that_is_whole(tmp_path: Path, pages: tuple[str, ...]) -> None:
    assert check(tmp_path, [at(3, text(LONG)), BOX], f"{LONG}\nLook at the wall.", *pages) == []


def test_a_description_of_a_picture_is_no_caption(tmp_path: Path) -> None:
    picture = {"type": "image", "alt": "first wall"}
    panel = {"type": "container", "subcontainer": True, "children": [picture, at(5, text("first wall"), type_="caption")]}
    own = {"type": "container", "subcontainer": True, "children": [picture, at(6, text("A caption"), type_="caption")]}
    source = f"{LONG}\nfirst wall\nA caption"
    assert check(tmp_path, [at(3, text(LONG)), panel, own], source, LONG) == [("pdf-text-missing", "index.md", 6)]


def test_a_part_for_which_the_template_has_no_place(tmp_path: Path) -> None:
    parts = {"appendix": {"mdast": {"type": "root", "children": [at(2, text("All the numbers"))]}}}
    assert check(tmp_path, [at(3, text(LONG))], LONG, LONG, parts=parts) == [("pdf-part-missing", "index.md", 2)]


CITED = {"type": "cite", "partial": "year", "children": [text("(2020)")]}


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("(2020)", []),
        ("Smith & Jones (2020)", [("citation-form", "index.md", 3)]),
    ],
)
def test_a_citation_of_which_the_pdf_prints_more(tmp_path: Path, printed: str, expected: list[Any]) -> None:
    nodes = [at(3, text(f"{LONG} That was in "), {"type": "citeGroup", "children": [CITED]}, text(" for the first time."))]
    whole_form = {"type": "cite", "children": [text("Smith & Jones, 2020")]}
    nodes.append(at(4, text("And it was seen again by "), whole_form, text(".")))
    source = f"{LONG} That was in {{cite:year}}`a` for the first time.\nAnd it was seen again by [@a]."
    page = f"{LONG} That was in {printed} for the first time.\nAnd it was seen again by [1]."
    assert check(tmp_path, nodes, source, page) == expected


def test_source_code_in_place_of_a_picture(tmp_path: Path) -> None:
    typst = "image(\\223files/a.png\\224, width: 90%)"
    found = check(tmp_path, [at(3, text(LONG))], LONG, LONG + "\n" + typst)
    assert found in ([("pdf-source-printed", "", None)], [])  # the base font may have other quotes


def figure(number: str, caption: str) -> dict[str, Any]:
    words = at(3, {"type": "captionNumber", "children": [text(f"Figure {number}:")]}, text(caption))
    return {
        "type": "container",
        "kind": "figure",
        "identifier": "f",
        "enumerator": number,
        "children": [at(3, words, type_="caption")],
    }


@pytest.mark.parametrize(("printed", "expected"), [("2", [("reference-number-wrong", "index.md", 9)]), ("1", [])])
def test_a_reference_with_another_number_than_the_figure(tmp_path: Path, printed: str, expected: list[Any]) -> None:
    reference = at(9, text("Figure 1"), type_="crossReference", kind="figure", identifier="f", enumerator="1")
    nodes = [figure("1", "A wall with paint"), at(9, text("Look at "), reference)]
    shown = f"Figure {printed}. A wall with paint\nLook at Figure 1"
    assert check(tmp_path, nodes, "A wall with paint. Look at", shown) == expected


@pytest.mark.parametrize(
    ("source", "nodes", "lost"),
    [
        ("A std::vector<double> grows.", [at(1, text("A std::vector grows."))], ["double"]),
        ("One **bold**ly word.", [at(1, text("One "), text("bold"), text("ly word."))], []),
        ("| a |\n|---|\n| b | surplus |", [at(1, text("a")), at(3, text("b"))], ["surplus"]),
        (
            "(a-label)=\n[link](some/where.md) {doc}`other` @key2020 [-@key2021] &alpha; <https://example.org> me@example.org",
            [],
            [],
        ),
        ('% comment\n<!-- comment -->\n[ref]: https://example.org\n+++ {"part": "abstract"}', [], []),
        (
            "`code` and $formula$ are\n\n```python\nthese\n```",
            [
                at(
                    1,
                    text(
                        "and",
                    ),
                    text("are"),
                )
            ],
            [],
        ),
    ],
)
def test_words_that_are_in_no_page(source: str, nodes: list[Any], lost: list[str]) -> None:
    known = known_words([{"mdast": {"children": nodes}}, {"links": ["link"]}])
    assert [words for _line, words in swallowed(Markdown(source), known)] == lost


@pytest.mark.parametrize(
    "value",
    [
        "see \\cite{smith}",
        "\\begin{figure}",
        "\\newpage",
        "dear {{ name }},",
        "{% include x.md %}",
        ".. note:: This",
        "see :ref:",
        "a box {#fig-a width=50%}",
        "words]{.red}",
        "a note^[inline]",
        "x^2^ and",
        ":::note",
        "the [text][nowhere]",
        "!!! note",
        "##Methods",
        "~~old~~",
    ],
)
def test_markup_that_is_printed(value: str) -> None:
    assert [line for _kind, _text, line in leftovers(at(3, {**text(value), "position": {"start": {"line": 3}}}))] == [3]


@pytest.mark.parametrize(
    "value",
    [
        "C:\\data\\new",
        "set {a, b}",
        "p < 0.05** and ***",
        "cited [1][2] or a[i][j]",
        "10^6",
        "a: b",
        "## heading",
        "~5 and ~6",
        "#1",
    ],
)
def test_text_that_only_looks_like_markup(value: str) -> None:
    assert list(leftovers(at(3, text(value)))) == []
    assert list(leftovers(at(3, text("\\cite{smith} {{ name }}", "inlineCode"), text("\\cite{a}", "inlineMath")))) == []


@pytest.mark.parametrize(
    ("value", "count"), [("5 and a formula", 1), ("a + b", 0), ("x \\text{if all is well}", 0), ("n log n", 0)]
)
def test_words_between_dollar_signs(value: str, count: int) -> None:
    assert len(list(words_as_formula(at(3, text(value, "inlineMath"))))) == count


def test_a_text_is_looked_for_a_limited_number_of_times() -> None:
    pages = Text([f"page {number} of many" for number in range(3000)])
    assert not all(pages.lacks(Passage(f"nowhere {number} at all")) for number in range(200))
