"""Compares the JATS article of a MECA with the pages that it was made from. Used by meca.py, within its limits.

mystmd leaves parts of a page out of the JATS without failing: nodes that it can't convert, and pages that an export does not name.
"""

import json
import xml.sax
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reading import passages  # type: ignore[import-not-found]  # beside this program
from reading.passages import line_of, plain  # type: ignore[import-not-found]  # beside this program

MAX_LOST, MAX_PAGES, MAX_CITED = 40, 5000, 5000
MAX_PAGE_BYTES, MAX_SOURCE_BYTES = 16 << 20, 4 << 20
MAX_TEXT = 20_000_000
MIN_FRAGMENT = 20
MAX_NAMED = 5
ARTICLES = ("article", "sub-article")
TITLES = ("title", "article-title")
# Elements that are content without a text.
SHOWN = ("graphic", "inline-graphic", "media", "math", "mml:math", "tex-math", "table")
# Kinds of nodes around a heading that leave it a heading of the page.
TRANSPARENT = ("root", "block", "section")
PLAIN = ("text", "emphasis", "strong", "inlineCode", "abbreviation", "span", "smallcaps", "link", "subscript", "superscript")
HIDDEN = ("remove", "hide")


@dataclass
class Article:
    """An ``article`` or ``sub-article``: its titles, as :func:`plain` writes them, and whether its body has any content.

    ``cited`` has the id of each reference that it cites, and the text of the citation.
    """

    id: str
    titles: set[str] = field(default_factory=set)
    has_body: bool = False
    cited: list[tuple[str, str]] = field(default_factory=list)


class Reader(xml.sax.ContentHandler):
    """Collects the articles of a document, its text, and the name of its root element."""

    def __init__(self) -> None:
        super().__init__()
        self.root = ""
        self.articles: list[Article] = []
        self.text: list[str] = []
        self.references: set[str] = set()
        self.has_breaks = False
        self._citation: tuple[str, list[str]] | None = None
        self._stack: list[str] = []
        self._open: list[Article] = []
        self._title: list[str] | None = None
        self._bodies = 0
        self._size = 0

    def startElement(self, name: str, attrs: Any) -> None:
        local = name.rpartition(":")[2]
        self.root = self.root or local
        self._stack.append(local)
        if local in ARTICLES:
            self._open.append(Article(attrs.get("id", "")))
            self.articles.append(self._open[-1])
        elif local == "body":
            self._bodies += 1
        elif local == "break":
            self.has_breaks = True
        elif local == "ref":
            self.references.add(attrs.get("id", ""))
        elif local == "xref" and attrs.get("ref-type") == "bibr":
            self._citation = (attrs.get("rid", ""), [])
        elif local in TITLES:
            self._title = []
        elif local in SHOWN:
            self._see_content()

    def characters(self, content: str) -> None:
        if self._title is not None:
            self._title.append(content)
        if self._citation is not None:
            self._citation[1].append(content)
        if content.strip() and self._open:
            self._see_content()
            self._size += len(content)
            if self._size < MAX_TEXT:
                self.text.append(content)

    def endElement(self, name: str) -> None:
        local = self._stack.pop()
        if local in ARTICLES:
            self._open.pop()
        elif local == "body":
            self._bodies -= 1
        elif local == "xref" and self._citation is not None:
            if self._open and len(self._open[-1].cited) < MAX_CITED:
                self._open[-1].cited.append((self._citation[0], "".join(self._citation[1]).strip()))
            self._citation = None
        elif local in TITLES and self._title is not None:
            if self._open:
                self._open[-1].titles.add(plain("".join(self._title)))
            self._title = None

    def _see_content(self) -> None:
        if self._bodies and self._open:
            self._open[-1].has_body = True


@dataclass
class Page:
    """A page of the site: its ``location`` (``/index.md``), headings with their lines, and whether it shows anything."""

    slug: str
    location: str
    title: str
    headings: list[tuple[str, int | None]] = field(default_factory=list)
    fragment: str = ""
    dropped: list[tuple[str, int | None]] = field(default_factory=list)
    has_text: bool = False
    mdast: Any = None
    source: Path = Path()
    broken_line: int | None = None


def compare(reader: Reader, folder: Path, source: Path, locations: list[str], dropped: list[str]) -> Iterator[dict[str, Any]]:
    """What the JATS lacks of the pages in ``folder`` (the site's content), of those at ``locations`` or, without any, of all.

    ``dropped`` are the types of nodes that mystmd could not convert, and ``source`` is the project's folder. Each result has its
    ``kind`` (``page``, ``body``, ``section``, ``reference``, ``node`` or ``text``), the ``file`` with its ``line``, and a ``name``.
    """
    lost = _lost(reader, list(_pages(folder, source, locations, set(dropped))), dropped)
    for number, each in enumerate(lost):
        if number == MAX_LOST:
            return
        yield each


def _lost(reader: Reader, pages: list[Page], dropped: list[str]) -> Iterator[dict[str, Any]]:
    by_id = {article.id.removesuffix("-article"): article for article in reversed(reader.articles)}
    titles = {title for article in reader.articles for title in article.titles}
    text = passages.Text(["".join(reader.text)])
    placed = {kind for page in pages for kind, _line in page.dropped}
    for page in pages:
        article = by_id.get(page.slug)
        if article is None and page.has_text and not (page.fragment and page.fragment in text):
            yield _result("page", page, None, page.title)
        elif article is not None and page.has_text and not article.has_body:
            yield _result("body", page, None, page.title)
        else:
            sections = [(name, line) for name, line in page.headings if plain(name) not in titles]
            yield from (_result("section", page, line, name) for name, line in sections)
            if article is not None:
                if page.broken_line and not reader.has_breaks:
                    yield _result("break", page, page.broken_line, "")
                yield from _lost_references(page, article, reader.references)
                yield from _lost_texts(page, text, {plain(name) for name, _line in sections}, dropped)
        yield from (_result("node", page, line, kind) for kind, line in page.dropped)
    yield from ({"kind": "node", "file": "", "line": None, "name": kind} for kind in dropped if kind not in placed)


def _result(kind: str, page: Page, line: int | None, name: str) -> dict[str, Any]:
    if page.location.endswith(".ipynb") and kind != "text":
        line = passages.line_in(page.source, None, name)  # mystmd counts the lines of each cell
    return {"kind": kind, "file": page.location.lstrip("/")[:300], "line": line, "name": name[:200]}


def _lost_references(page: Page, article: Article, references: set[str]) -> Iterator[dict[str, Any]]:
    """One result for all references that a page cites and the JATS does not list. A citation without a text is one that MyST lacks too."""
    lost = dict.fromkeys(text for key, text in article.cited if text and key not in references)
    if lost:
        names = [*lost]
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        yield _result("reference", page, _line_of_citation(page.mdast, names[0]), "; ".join(names[:MAX_NAMED]) + more)


def _line_of_citation(mdast: Any, text: str) -> int | None:
    walk: list[tuple[Any, int | None]] = [(mdast, None)]
    while walk:
        node, line = walk.pop()
        if not isinstance(node, dict):
            continue
        line = line_of(node) or line
        children = node.get("children") or []
        if node.get("type") == "cite" and plain(text) in plain("".join(passages.texts_in(node))):
            return line
        walk += ((child, line) for child in reversed(children))
    return None


def _lost_texts(page: Page, text: passages.Text, sections: set[str], dropped: list[str]) -> Iterator[dict[str, Any]]:
    """The texts of a page that its JATS lacks, beside those of sections and nodes that are missing as a whole."""
    for passage in passages.lost(page.mdast, text, without=dropped):
        if plain(passage.text) not in sections:
            line = passages.line_in(page.source, passage.line, passage.text)
            yield {**_result("text", page, line, passage.shown), "where": passage.where}


def _pages(folder: Path, source: Path, locations: list[str], dropped: set[str]) -> Iterator[Page]:
    wanted = {location.lstrip("/") for location in locations}
    for path in sorted(folder.rglob("*.json"))[:MAX_PAGES] if folder.is_dir() else ():
        if path.is_symlink() or path.stat().st_size > MAX_PAGE_BYTES:
            continue
        try:
            content = json.loads(path.read_bytes())
        except (ValueError, RecursionError, OSError):
            continue
        location = content.get("location") if isinstance(content, dict) else None
        if isinstance(location, str) and (not wanted or location.lstrip("/") in wanted):
            yield _page(content, location, source, dropped)


def _page(content: dict[str, Any], location: str, source: Path, dropped: set[str]) -> Page:
    front = content.get("frontmatter")
    title = front.get("title") if isinstance(front, dict) else None
    page = Page(str(content.get("slug", "")), location, title if isinstance(title, str) else location)
    page.mdast, page.source = content.get("mdast"), source / location.lstrip("/")
    walk: list[tuple[Any, bool]] = [(content.get("mdast"), True)]
    last = 1
    while walk:
        node, is_top = walk.pop()
        if not isinstance(node, dict) or node.get("visibility") in HIDDEN:
            continue
        kind, last = node.get("type"), line_of(node) or last
        if kind == "break":
            page.broken_line = page.broken_line or last
        if kind in dropped:
            page.dropped.append((str(kind), line_of(node) or _line_in(source / location.lstrip("/"), node)))
            page.has_text = True
            continue  # what is in it is missing with it
        if kind == "heading" and is_top and (name := _plain_text(node)):
            page.headings.append((name, line_of(node)))
        elif kind in ("text", "image", "math", "inlineMath", "code"):
            _see(page, node)
        children = node.get("children")
        if isinstance(children, list):
            walk += ((child, is_top and kind in TRANSPARENT) for child in reversed(children))
    return page


def _see(page: Page, node: dict[str, Any]) -> None:
    value = node.get("value")
    if node["type"] == "image" or (isinstance(value, str) and value.strip()):
        page.has_text = True
    if node["type"] == "text" and not page.fragment and isinstance(value, str) and len(plain(value)) >= MIN_FRAGMENT:
        page.fragment = plain(value)


def _plain_text(heading: dict[str, Any]) -> str:
    """The text of a heading; empty where it holds more than text, which the JATS writes in another way."""
    words, walk = [], list(reversed(heading.get("children") or []))
    while walk:
        node = walk.pop()
        if not isinstance(node, dict) or node.get("type") not in PLAIN:
            return ""
        if isinstance(node.get("value"), str):
            words.append(node["value"])
        walk += reversed(node.get("children") or [])
    return " ".join("".join(words).split())


def _line_in(path: Path, node: dict[str, Any]) -> int | None:
    """The line of a node whose position mystmd does not keep: that names its file, or that holds the first line of its value."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_SOURCE_BYTES:
        return None
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    name, value = node.get("file"), node.get("value")
    if isinstance(name, str) and name:
        return next((number for number, line in enumerate(lines, 1) if "{" in line and name in line), None)
    first = next((line.strip() for line in value.splitlines() if line.strip()), "") if isinstance(value, str) else ""
    return next((number for number, line in enumerate(lines, 1) if first in line), None) if first else None
