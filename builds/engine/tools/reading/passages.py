"""The passages of a page, and which of them an export lacks: mystmd and templates leave parts out silently."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_DEPTH = 200
MAX_SHOWN = 60
MIN_LETTERS = 4
CHUNK = 40
MAX_SOURCE_BYTES = 16 << 20
MAX_LOOKS = 2_000_000  # how often a text is looked for in two parts; each takes some microseconds
HIDDEN = ("remove", "hide")
# Nodes whose text an export may write in another way (a number, a formula, an author's name), or does not have to show.
REWRITTEN_NAMES = (
    "anywidget bibliography captionNumber chemicalFormula cite citeGroup comment crossReference html iframe image index inlineExpression "
    "inlineMath math mermaid mystComment mystDirective mystDirectiveError mystRole mystRoleError mystTarget raw si toc"
)
REWRITTEN = frozenset(REWRITTEN_NAMES.split())
# What a message says about where a text is, by the type of the node around it.
PLACES = {
    "admonition": "an admonition",
    "aside": "a margin note",
    "caption": "a caption",
    "card": "a card",
    "code": "code",
    "definitionList": "a list of definitions",
    "details": "a dropdown",
    "exercise": "an exercise",
    "footnoteDefinition": "a footnote",
    "glossary": "a glossary",
    "grid": "a grid",
    "heading": "a heading",
    "keyboard": "a key",
    "legend": "a legend",
    "proof": "a theorem or proof",
    "solution": "a solution",
    "table": "a table",
    "tabSet": "tabs",
}
# Letters that are drawn in another order than they are written, or are composed of parts: a PDF may hold them otherwise.
COMPOSED = re.compile(
    "[\u0590-\u08ff\u0900-\u0fff\u1000-\u109f\u1780-\u18af\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\ufffd]+"
)


@dataclass(frozen=True)
class Passage:
    """A text that an export has to hold. ``kind`` is the type of the node around it that says most, such as ``admonition``."""

    text: str
    line: int | None = None
    kind: str = ""

    @property
    def shown(self) -> str:
        """The beginning of the text, for a message."""
        text = " ".join(self.text.split())
        return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN].rsplit(" ", 1)[0] + " …"

    @property
    def where(self) -> str:
        """The words of a message about the place. Empty for the plain text of a page."""
        return f", from {PLACES[self.kind]}" if self.kind else ""


def plain(text: str) -> str:
    """Only the letters and digits: white space, hyphens and marks differ between a page and its exports."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text)).casefold()


def passages_of(node: Any, without: Collection[str] = ()) -> Iterator[Passage]:
    """The passages of a page's tree, in the order of the page, but for nodes of the types ``without``."""
    yield from _walk(node, Passage(""), without, 0)


def _walk(node: Any, around: Passage, without: Collection[str], depth: int) -> Iterator[Passage]:
    if not isinstance(node, dict) or depth > MAX_DEPTH or node.get("visibility") in HIDDEN:
        return
    name, value = str(node.get("type")), node.get("value")
    if name in REWRITTEN or name in without:
        return
    here = Passage("", line_of(node) or around.line, name if name in PLACES else around.kind)
    if name in ("text", "inlineCode", "code") and isinstance(value, str):
        yield from (Passage(text, here.line, here.kind) for text in _texts(name, value))
    children = node.get("children")
    for child in children if isinstance(children, list) else ():
        if not (_is_usual_title(child, node) or _is_description(child, node)):
            yield from _walk(child, here, without, depth + 1)


def _is_usual_title(node: Any, parent: dict[str, Any]) -> bool:
    """Whether it is the title that mystmd gives to a box, such as Note, which exports show in ways of their own."""
    is_title = isinstance(node, dict) and node.get("type") == "admonitionTitle"
    return is_title and plain(words_in(node)) == plain(str(parent.get("kind")))


def _is_description(node: Any, parent: dict[str, Any]) -> bool:
    """Whether it is the description of a picture, which mystmd shows as the caption of one picture of several, but only on the web."""
    if not parent.get("subcontainer") or not isinstance(node, dict) or node.get("type") != "caption":
        return False
    described = {
        plain(str(each.get("alt"))) for each in parent["children"] if isinstance(each, dict) and each.get("type") == "image"
    }
    return plain(words_in(node)) in described


def texts_in(node: Any, depth: int = 0) -> Iterator[str]:
    """Every value in a tree, of whatever type of node."""
    if isinstance(node, dict) and depth < MAX_DEPTH:
        if isinstance(node.get("value"), str):
            yield node["value"]
        children = node.get("children")
        for child in children if isinstance(children, list) else ():
            yield from texts_in(child, depth + 1)


def words_in(node: Any) -> str:
    """The text of a tree, without what mystmd adds (a figure's number)."""
    if not isinstance(node, dict) or node.get("type") in REWRITTEN:
        return ""
    children = node.get("children")
    own = str(node.get("value") or "") if node.get("type") in ("text", "inlineCode") else ""
    return own + "".join(map(words_in, children if isinstance(children, list) else ()))


def _texts(name: str, value: str) -> Iterator[str]:
    for text in value.split("\n") if name == "code" else COMPOSED.split(value):
        if len(plain(text)) >= MIN_LETTERS and not COMPOSED.search(text):
            yield text


def line_of(node: dict[str, Any]) -> int | None:
    place: Any = node.get("position")
    for key in ("start", "line"):
        place = place.get(key) if isinstance(place, dict) else None
    return place if isinstance(place, int) and place > 0 else None


def line_in(path: Path, line: int | None, text: str) -> int | None:
    """The line of a text in its file. mystmd counts the lines of a notebook in each cell, and names none for code."""
    if line and path.suffix.lower() != ".ipynb":
        return line
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_SOURCE_BYTES:
        return None
    start = text.strip().split("\n")[0][:CHUNK]
    wanted = json.dumps(start, ensure_ascii=False)[1:-1] if path.suffix.lower() == ".ipynb" else start
    with path.open(encoding="utf-8", errors="replace") as file:
        return next((number for number, each in enumerate(file, 1) if wanted and wanted in each), None)


class Text:
    """The text of an export, by its pages: a passage may begin on one and end on the next, with a margin or a figure between."""

    def __init__(self, pages: Sequence[str]) -> None:
        self._pages = [plain(page) for page in pages]
        self._all = "\0".join(self._pages)
        self._looks, self._at = MAX_LOOKS, 0

    def __len__(self) -> int:
        return len(self._all)

    @property
    def all(self) -> str:
        """The text as :func:`plain` writes it, with a null between pages."""
        return self._all

    def __contains__(self, text: str) -> bool:
        """Whether a text that :func:`plain` wrote is there as it stands."""
        return text in self._all

    def lacks(self, passage: Passage) -> bool:
        """Whether more than half of a passage is not there."""
        text = plain(passage.text)
        chunks = [text[start : start + CHUNK] for start in range(0, max(1, len(text) - MIN_LETTERS + 1), CHUNK)]
        lost = sum(not self._has(chunk) for chunk in chunks)
        return lost * 2 > len(chunks) and not (len(chunks) <= 2 and self._has_apart(text))

    def _has(self, chunk: str) -> bool:
        """Whether a text is there. It is looked for after the last one first: most come in the same order."""
        at = self._all.find(chunk, self._at)
        if at < 0:
            at = self._all.find(chunk, 0, self._at + len(chunk))
        self._at = max(at, 0) or self._at
        return at >= 0

    def _has_apart(self, text: str) -> bool:
        """Whether a text is there in two parts, the second on the same page or the next one."""
        for number, page in enumerate(self._pages if len(self._pages) > 1 else ()):
            following = "\0".join(self._pages[number : number + 2])
            self._looks -= len(text)
            if self._looks < 0:
                return True
            if any(text[:at] in page and text[at:] in following for at in range(1, len(text))):
                return True
        return False


def lost(node: Any, text: Text, without: Collection[str] = ()) -> Iterator[Passage]:
    """The passages of a page's tree that an export lacks. Of several in a row, the first stands for all."""
    was_lost = False
    for passage in passages_of(node, without):
        is_lost = text.lacks(passage)
        if is_lost and not was_lost:
            yield passage
        was_lost = is_lost
