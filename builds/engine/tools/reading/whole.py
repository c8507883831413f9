"""Compares what was made with what was written: the sources with the pages, and the pages with the PDFs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from . import citations, leftovers, manuscript, numbers, passages, swallowed
from .content import Content, read_pages
from .found import Found, found
from .passages import Passage, Text
from .pdf import read_texts
from .project import Project

MAX_OF_PAGE, MAX_LABELS = 8, 20_000
# If a PDF shows this little of the pages, but has as much text as they have, then its text can't be read.
MIN_READABLE, MIN_TEXT = 0.5, 0.5
ROOTED = ("text-in-no-page",)  # its file is named from the repository's root, and its line is that of the file
SHOWN = ("start", "markup", "words", "text")  # the words of a finding that stand in the source
# How Typst's source begins. A manuscript about Typst would show it as code, with straight quotes.
SOURCE = re.compile(r"\bimage\(“[^\s”]{1,60}|#(?:figure|image|link|footnote)\(“?[^\s]{0,40}")


def check(plan: dict[str, Any]) -> Iterator[Found]:
    """What the pages lack of the sources, and the PDFs of the pages.

    ``plan`` has the JSON of the first page (``page``), the project's file (``file``) in the repository's folder (``root``), and
    ``pdfs``, each with its ``path`` and the ``articles`` that it has to hold, as they are named in the pages' JSON.
    """
    pages, folder = read_pages(Path(plan["page"])), Path(plan["file"]).parent
    for each in _check(plan, pages):
        has_cells = each.file.endswith(".ipynb") and each.code not in ROOTED
        shown = next((each.words[name] for name in SHOWN if name in each.words), "")
        yield replace(each, line=passages.line_in(folder / each.file, each.line, shown)) if has_cells or not each.line else each


def _check(plan: dict[str, Any], pages: Sequence[Content]) -> Iterator[Found]:
    for page in pages:
        yield from _leftovers(page)
    yield from _swallowed(Path(plan["root"]), Path(plan["file"]), pages)
    for pdf in plan["pdfs"]:
        wanted = [page for page in pages if page.location in pdf["articles"]]
        yield from _lost_in_pdf(Path(pdf["path"]), wanted)


def referenced(page: Path) -> list[str]:
    """The labels to which a page of the site at ``page`` refers, or which it embeds."""
    nodes = (node for each in read_pages(page) for node in each.of("crossReference", "embed"))
    found = (node.get("identifier") or (node.get("source") or {}).get("label") for node in nodes)
    return sorted({str(label).lower() for label in found if label})[:MAX_LABELS]


def _leftovers(page: Content) -> Iterator[Found]:
    seen: set[str] = set()
    for kind, text, line in leftovers.leftovers(page.value.get("mdast")):
        if kind not in seen:
            seen.add(kind)
            yield found("markup-printed", page.location, line, kind=kind, markup=text)
    for text, line in leftovers.words_as_formula(page.value.get("mdast")):
        yield found("text-as-formula", page.location, line, words=text)
        return


def _swallowed(root: Path, file: Path, pages: Sequence[Content]) -> Iterator[Found]:
    folder = file.parent.relative_to(root).as_posix()
    made = {page.location if folder == "." else f"{folder}/{page.location}": page for page in pages}
    listed = {path.relative_to(root).as_posix() for path in Project(root, file).pages if path.is_relative_to(root)}
    known = swallowed.known_words(page.value for page in pages)
    for text, name, place in manuscript.texts(root, file):
        if name in made or name not in listed:  # a page, or a text that one includes
            own = swallowed.known_words([made[name].value]) if name in made else ""
            for line, words in islice(swallowed.swallowed(text, own, known), MAX_OF_PAGE):
                yield found("text-in-no-page", name, place or line, words=words)


def _lost_in_pdf(path: Path, pages: Sequence[Content]) -> Iterator[Found]:
    texts = read_texts(path)
    if texts is None:
        return
    text = Text([*texts, ""])
    if not _is_readable(text, pages):
        return
    for page, line, shown, number in numbers.wrong_numbers(pages, text):
        yield found("reference-number-wrong", page.location, line, shown=shown, number=number, pdf=path.name)
    for page in pages:
        for line, shown in islice(citations.wrong_forms(page, text), 1):
            yield found("citation-form", page.location, line, shown=shown, pdf=path.name)
    if source := SOURCE.search("\n".join(texts)):
        yield found("pdf-source-printed", "", pdf=path.name, source=source[0])
    for page in pages:
        for name, part in _parts(page):
            if lost := next(passages.lost(part, text), None):
                yield found("pdf-part-missing", page.location, lost.line, part=name, pdf=path.name, text=lost.shown)
        for lost in islice(passages.lost(page.value.get("mdast"), text), MAX_OF_PAGE):
            yield found(
                "pdf-text-missing",
                page.location,
                lost.line,
                lost.kind,
                pdf=path.name,
                text=lost.shown,
                where=lost.where,
                start=lost.text,
            )


def _parts(page: Content) -> Iterator[tuple[str, Any]]:
    parts = page.front.get("parts")
    for name, part in parts.items() if isinstance(parts, dict) else ():
        if isinstance(part, dict):
            yield str(name), part.get("mdast")


def _is_readable(text: Text, pages: Sequence[Content]) -> bool:
    every: list[Passage] = [each for page in pages for each in passages.passages_of(page.value.get("mdast"))][:2000]
    written = sum(len(each.text) for each in every)
    shown = sum(not text.lacks(each) for each in every)
    return shown >= len(every) * MIN_READABLE or len(text) < written * MIN_TEXT
