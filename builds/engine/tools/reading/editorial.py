"""The editorial checks: each gives one verdict on a manuscript as it was built."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .content import Content, count_words, read_pages
from .found import Found, found
from .passages import line_of
from .pdf import Pdf, read_pdf

PASSED, ADVISED, FAILED = "passed", "advised", "failed"
MAX_NAMED = 5
MIN_ABSTRACT, MAX_ABSTRACT = 20, 400
# Latin, Greek and Cyrillic letters and their signs: fonts for text have them, and a PDF may compose them from two glyphs.
FIRST_UNCOMMON = 0x590


@dataclass(frozen=True)
class Verdict:
    """``code`` is the check's; ``severity`` is its outcome, which ``text`` says in a sentence."""

    code: str
    severity: str
    text: str


def judge(root: Path, pdfs: list[Path]) -> Iterator[Verdict]:
    """Every check once, on the site's content (``root`` is its first page) and the PDFs."""
    pages = read_pages(root) or [Content({})]
    read = [pdf for path in pdfs if (pdf := read_pdf(path))]
    front = pages[0].front
    yield from _metadata(pages[0], front)
    yield _authors(front.get("authors"))
    yield _references(pages)
    yield _alt_texts(pages)
    yield _links(pages)
    yield _length(pages, read)
    yield _fonts(read)


def _length(pages: list[Content], pdfs: list[Pdf]) -> Verdict:
    words = sum(count_words(page.text) for page in pages)
    if not words:
        return Verdict("editorial-length", FAILED, "The manuscript has no text.")
    printed = f", pages in the PDF: {' and '.join(str(pdf.pages) for pdf in pdfs)}" if pdfs else ""
    return Verdict("editorial-length", PASSED, f"Words: {words}{printed}.")


def _metadata(page: Content, front: dict[str, Any]) -> Iterator[Verdict]:
    title = front.get("title")
    yield _either("editorial-title", bool(title), f"The title is {_quoted(title)}.", "There is no title.")
    abstract = count_words(page.part("abstract") or _abstract_in(page))
    if not abstract:
        yield Verdict("editorial-abstract", FAILED, "There is no abstract.")
    else:
        good = MIN_ABSTRACT <= abstract <= MAX_ABSTRACT
        length = "" if good else f": most have between {MIN_ABSTRACT} and {MAX_ABSTRACT}"
        yield Verdict("editorial-abstract", PASSED if good else ADVISED, f"The abstract has {abstract} words{length}.")
    keywords = [str(word) for word in _list(front.get("keywords"))]
    yield _either(
        "editorial-keywords",
        bool(keywords),
        f"{_count(keywords, 'keyword')}: {_named(keywords)}.",
        "There are no keywords.",
        ADVISED,
    )
    licence = front.get("license")
    content = licence.get("content") if isinstance(licence, dict) else licence
    name = content.get("id") or content.get("name") if isinstance(content, dict) else content
    yield _either("editorial-license", bool(name), f"The licence is {_quoted(name)}.", "There is no licence.")


def _abstract_in(page: Content) -> str:
    """The abstract where it is a block of the page itself."""
    for node in page.of("block", "div"):
        data = node.get("data")
        if isinstance(data, dict) and data.get("part") == "abstract":
            return Content({"mdast": node}).text
    return ""


def _authors(value: Any) -> Verdict:
    authors = [author for author in _list(value) if isinstance(author, dict)]
    if not authors:
        return Verdict("editorial-authors", FAILED, "There are no authors.")
    lacks = {
        "an affiliation": [author for author in authors if not author.get("affiliations")],
        "an ORCID": [author for author in authors if not author.get("orcid")],
    }
    lacking = [f"{_named([str(author.get('name')) for author in each])} without {what}" for what, each in lacks.items() if each]
    if lacking:
        return Verdict("editorial-authors", ADVISED, f"{_count(authors, 'author')}: {'; '.join(lacking)}.")
    return Verdict("editorial-authors", PASSED, f"{_count(authors, 'author')}, each with an affiliation and an ORCID.")


def _references(pages: list[Content]) -> Verdict:
    references = {key: value for page in pages for key, value in page.references().items()}
    without = sorted(
        key for key, value in references.items() if not value.get("doi") and "doi.org/" not in str(value.get("html"))
    )
    if not references:
        return Verdict("editorial-references", ADVISED, "Nothing is cited.")
    if without:
        return Verdict(
            "editorial-references", ADVISED, f"References without a DOI: {len(without)} of {len(references)} ({_named(without)})."
        )
    return Verdict("editorial-references", PASSED, f"References with a DOI: all {len(references)}.")


def _alt_texts(pages: list[Content]) -> Verdict:
    images = [(page, image) for page in pages for image in page.of("image")]
    lacking = [_place(page, image) for page, image in images if _lacks_alt(image)]
    if lacking:
        return Verdict(
            "editorial-alt",
            ADVISED,
            f"Pictures without an alternative text: {len(lacking)} of {len(images)} ({_named(lacking)}).",
        )
    return Verdict(
        "editorial-alt", PASSED, f"Pictures with an alternative text: all {len(images)}." if images else "There are no pictures."
    )


def _lacks_alt(image: dict[str, Any]) -> bool:
    data = image.get("data")
    return not image.get("alt") or (isinstance(data, dict) and bool(data.get("altTextIsAutoGenerated")))


def _links(pages: list[Content]) -> Verdict:
    every = [(page, node) for page in pages for node in page.of("crossReference", "cite", "link")]
    broken = [_place(page, node) for page, node in every if not _resolves(node)]
    if broken:
        return Verdict(
            "editorial-links",
            FAILED,
            f"Links, citations and cross-references that lead nowhere: {len(broken)} of {len(every)} ({_named(broken)}).",
        )
    return Verdict(
        "editorial-links",
        PASSED,
        f"Links, citations and cross-references that resolve: all {len(every)}." if every else "There are no links.",
    )


def _resolves(node: dict[str, Any]) -> bool:
    """Whether a link resolves. One into the web is not tried."""
    if node.get("type") == "cite":
        return not node.get("error")
    if node.get("type") == "crossReference":
        return bool(node.get("resolved") or node.get("remote") or node.get("url"))
    url = str(node.get("url") or "#")
    # mystmd also notes an error where it could not ask a site about a link.
    return url.startswith(("http://", "https://")) or (not node.get("error") and not url.startswith("#"))


def _fonts(pdfs: list[Pdf]) -> Verdict:
    missing = sorted({name for pdf in pdfs for name in pdf.unembedded})
    if not pdfs:
        return Verdict("editorial-fonts", ADVISED, "There is no PDF to look for its fonts.")
    if missing:
        return Verdict("editorial-fonts", FAILED, f"Not embedded in the PDF: {_named(missing)}.")
    return Verdict("editorial-fonts", PASSED, "All fonts are embedded in the PDF.")


def missing_glyphs(root: Path, path: Path, articles: list[str]) -> Iterator[Found]:
    """The characters of the ``articles`` that none of the fonts of the PDF at ``path`` has: they are blank, or boxes."""
    pdf = read_pdf(path)
    if pdf is None or not pdf.characters:
        return
    shown = {form for each in pdf.characters for form in (each, *unicodedata.normalize("NFKD", each))}
    for page in read_pages(root):
        if page.location in articles and (found_here := _missing(page, shown)):
            characters, line = found_here
            words = " ".join(f"{each} (U+{ord(each):04X})" for each in characters[: MAX_NAMED * 2])
            yield found("glyphs-missing", page.location, line, characters=words, name=path.name)


def _missing(page: Content, shown: set[str]) -> tuple[list[str], int | None] | None:
    characters: dict[str, int | None] = {}
    for node in page.of("text", "inlineCode", "code"):
        for each in str(node.get("value") or ""):
            if is_uncommon(each) and each not in shown and not set(unicodedata.normalize("NFKD", each)) <= shown:
                characters.setdefault(each, line_of(node))
    return (list(characters), next(iter(characters.values()))) if characters else None


def is_uncommon(character: str) -> bool:
    """Whether a character has a glyph of its own, and is none that each font for text has."""
    return ord(character) >= FIRST_UNCOMMON and unicodedata.category(character) in (
        "Lo",
        "Lu",
        "Ll",
        "So",
        "Sm",
        "Nd",
        "No",
        "Nl",
    )


def _either(code: str, good: bool, passed: str, failed: str, otherwise: str = FAILED) -> Verdict:
    return Verdict(code, PASSED if good else otherwise, passed if good else failed)


def _place(page: Content, node: dict[str, Any]) -> str:
    name = str(node.get("urlSource") or node.get("label") or node.get("url") or "")[:80]
    line = line_of(node)
    return f"{name} ({page.location}{f', line {line}' if line else ''})"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if isinstance(value, str) and value else []


def _quoted(value: Any) -> str:
    return str(value)[:150] if value else ""


def _count(things: list[Any], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _named(names: list[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(name[:120] for name in names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
