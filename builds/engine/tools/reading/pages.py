"""Checks of pages: what mystmd drops or prints as is, mostly without a message."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, unquote

from . import fences, images, tables
from .found import ANY, Found, found
from .markdown import Directive, Markdown, Picture
from .notebooks import Notebook
from .project import check_metadata, near_name
from .source import Source
from .yaml_nodes import Node, compose

FRONT_KEYS = r"(?:title|subtitle|author|authors|date|abstract|keywords|license|kernelspec|jupytext|exports|label|short_title)"
FRONT_KEY = re.compile(rf"^{FRONT_KEYS}\s*:")
YAML_LINE = re.compile(r"^(?:[\w-]+\s*:|\s+\S|-\s|#|\s*$)")
FOOTNOTE = re.compile(r"(?<![\\!])\[\^(?P<label>[\w.:-]+)\](?P<colon>:?)(?![*+?(])")
LABELS = re.compile(
    r"^\s*\((?P<target>[^)\n]+)\)=\s*$|^\s*:(?:label|name):\s*(?P<option>.+?)\s*$|^\s*(?:#\||%\|)?\s*[\"']?label[\"']?\s*[:=]\s*(?P<key>.+?)\s*$"
    r"|\{[^{}\n]*#(?P<attribute>[\w:.-]+)[^{}\n]*\}|\\label\{(?P<tex>[^}\n]+)\}|^\s*\$\$\s*\((?P<math>[^)\n]+)\)\s*$|^#+\s+(?P<heading>.+?)\s*$"
    r"|\"label\"\s*:\s*\"(?P<json>[^\"\n]+)\"",
    re.MULTILINE,
)
URL = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//|#|@|\{)", re.IGNORECASE)
OF_CELL = re.compile(r"-(?:code|outputs(?:-\d+)?)$")  # the names that mystmd gives to the parts of a labelled cell
WEB_ONLY = ("iframe", "mermaid", "```mermaid", "video", "anywidget")
RAW = {"raw:latex": "LaTeX", "raw:tex": "LaTeX", "raw:html": "HTML", "raw:typst": "Typst", "raw:typ": "Typst"}
RAW_NAMES = {"latex": "LaTeX", "tex": "LaTeX", "html": "HTML", "typst": "Typst", "typ": "Typst"}
# What markdown-it, and so mystmd, does not encode in the address of a link.
KEPT_IN_LINKS = ";/?:@&=+$,-_.!~*'()#%"
VIDEOS = (".mp4", ".mov", ".avi", ".webm")
HOUSEKEEPING = {"readme", "changelog", "contributing", "license", "code_of_conduct", "security", "authors", "history"}


@dataclass(frozen=True)
class Site:
    """What a page can refer to: the repository, the project's folder, every label, and whether code may run in the build."""

    root: Path
    folder: Path
    labels: frozenset[str]
    runs_code: bool
    converts_eps: bool


class Page:
    """A page in Markdown, or one Markdown cell of a notebook: then all of its findings have the cell's line."""

    def __init__(self, source: Source) -> None:
        self.source, self.name, self.path = source, source.name, source.path
        self.text = (source.text or "").replace("\r\n", "\n")
        self.front, self.body, self.body_line = self._split()

    def _split(self) -> tuple[str | None, str, int]:
        """The front matter (None if it has no end), the text after it, and the line where that begins."""
        lines = self.text.split("\n")
        if not re.fullmatch(r"---\s*", lines[0]):
            return "", self.text, 1
        end = next((number for number, line in enumerate(lines[1:], 1) if re.fullmatch(r"(?:---|\.\.\.)\s*", line)), None)
        if end is None:
            return None, self.text, 1
        return "\n".join(lines[1:end]), "\n".join(lines[end + 1 :]), end + 2

    @cached_property
    def markdown(self) -> Markdown:
        return Markdown(self.body, self.body_line)

    @cached_property
    def metadata(self) -> Node:
        return compose(self.front, 2) if self.front else Node()


def normalized(label: str) -> str:
    return re.sub(r"\s+", " ", label.strip().strip("\"'")).lower()


def labels_of(text: str) -> Iterator[str]:
    for match in LABELS.finditer(text):
        value = next(group for group in match.groups() if group is not None)
        yield normalized(value)
        if match["heading"]:
            yield re.sub(r"[^\w]+", "-", normalized(value)).strip("-")


def check_page(page: Page, site: Site, *, is_root: bool, included: Sequence[str] = ()) -> Iterator[Found]:
    """Check a page that is a file of its own. ``is_root`` says that it is the first one of the manuscript.

    ``included`` are the texts that the manuscript's pages include.
    """
    yield from page.source.found
    if page.source.text is None:
        return
    if not page.text.strip():
        yield found("page-empty" if is_root else "page-empty-too", page.name)
        return
    yield from _check_fences(page)
    if page.front is None:
        return
    yield from check_metadata(page.metadata, page.name)
    if not page.body.strip():
        yield found("page-front-matter-only" if is_root else "page-empty-too", page.name)
    includes = any(directive.name == "include" for directive in page.markdown.directives)
    yield from check_text(page.markdown, page.name, page.path, site, elsewhere=included if includes else ())
    yield from _check_title_label(page)


def _check_fences(page: Page) -> Iterator[Found]:
    lines = page.text.split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if page.front is None:
        yield found("front-matter-unterminated", page.name, 1)
    elif first and re.fullmatch(r"---\s*", lines[first]) and FRONT_KEY.match(lines[first + 1] if first + 1 < len(lines) else ""):
        yield found("front-matter-not-first", page.name, first + 1)
    elif FRONT_KEY.match(lines[first]):
        end = next((number for number, line in enumerate(lines) if not YAML_LINE.match(line)), len(lines))
        if end < len(lines) and re.fullmatch(r"---\s*", lines[end]):
            yield found("front-matter-not-opened", page.name, first + 1)


def _check_title_label(page: Page) -> Iterator[Found]:
    """A label on the heading that becomes the page's title: mystmd removes both."""
    if page.metadata.get("title"):
        return
    lines = [(number, line) for number, line in enumerate(page.body.split("\n"), page.body_line) if line.strip()]
    if len(lines) < 2 or not re.match(r"#\s", lines[1][1]):
        return
    label = re.fullmatch(r"\((.+)\)=\s*", lines[0][1])
    if label and re.search(rf"[#`<]{re.escape(label[1])}[)`>]", page.body):
        yield found("title-label", page.name, lines[0][0], label=label[1])


def check_text(
    text: Markdown, name: str, path: Path, site: Site, line: int | None = None, elsewhere: Sequence[str] = ()
) -> Iterator[Found]:
    """Check a text. ``line`` stands for each line of it, where those of the text are not those of the file.

    ``elsewhere`` are other texts that mystmd puts onto the same page, where its footnotes may be.
    """
    for each in _check_text(text, name, path, site, elsewhere):
        yield replace(each, line=line) if line else each


def _check_text(text: Markdown, name: str, path: Path, site: Site, elsewhere: Sequence[str]) -> Iterator[Found]:
    for number, content in enumerate(text.plain.split("\n"), text.first_line):
        if content.startswith("<<<<<<< ") and "\n>>>>>>> " in text.plain:
            yield found("conflict-markers", name, number, ANY)
    yield from _check_footnotes(text, name, elsewhere)
    for state, index in fences.check(text.lines):
        yield found(f"fence-{state}", name, index + text.first_line)
    yield from (found("table-comment", name, text.line_at(at)) for at in tables.comments_between_rows(text.commented))
    yield from _check_pictures(text, name, path, site)
    for directive in text.directives:
        yield from _check_directive(directive, name, path, site)
    for role in text.roles:
        if role.name in RAW:
            yield found("raw-not-exported", name, role.line, kind=RAW[role.name])
        if role.name == "eval" and not site.runs_code:
            yield found("eval-without-value", name, role.line, expression=role.text)


def _check_footnotes(text: Markdown, name: str, elsewhere: Sequence[str]) -> Iterator[Found]:
    notes, starts = _footnotes(text.plain)
    others = [_footnotes(other) for other in elsewhere]
    used = {note["label"] for note in notes if note not in starts}
    used |= {note["label"] for every, begun in others for note in every if note not in begun}
    defined: set[str] = set()
    for note in starts:
        if note["label"] in defined or note["label"] not in used:
            code = "footnote-twice" if note["label"] in defined else "footnote-unused"
            yield found(code, name, text.line_at(note.start()), note["label"], label=note["label"])
        defined.add(note["label"])
    defined |= {note["label"] for _every, begun in others for note in begun}
    for note in notes:
        if note not in starts and note["label"] not in defined:
            defined.add(note["label"])
            yield found("footnote-without-text", name, text.line_at(note.start()), note["label"], label=note["label"])


def _footnotes(text: str) -> tuple[list[re.Match[str]], list[re.Match[str]]]:
    """The footnotes in a text, and those of them that are the start of their own text."""
    notes = list(FOOTNOTE.finditer(text))
    return notes, [note for note in notes if note["colon"] and not text[: note.start()].rpartition("\n")[2].strip(" >")]


def _check_pictures(text: Markdown, name: str, path: Path, site: Site) -> Iterator[Found]:
    for picture in text.pictures():
        if picture.url.startswith("#"):
            yield from _check_label(picture.url, name, picture.line, site)
        elif not URL.match(picture.url):
            yield from check_picture(picture.url, name, picture.line, path, site)
            if picture.is_link:
                yield from _name_as_encoded(picture, name, path, site)


def _name_as_encoded(picture: Picture, name: str, path: Path, site: Site) -> Iterator[Found]:
    """Copy a picture to the name under which mystmd looks for it: it does not decode a link with a space or an accented letter."""
    encoded = quote(picture.url, safe=KEPT_IN_LINKS)
    folder = site.folder if encoded.startswith("/") else path.parent
    file, copy = resolve(picture.url, path, site), folder / encoded.lstrip("/")
    if file is None or encoded == picture.url == unquote(encoded) or "*" in encoded or copy.exists():
        return
    if copy.parent.resolve().is_relative_to(site.root.resolve()):
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        yield found("image-copied", name, picture.line, picture.url, name=file.relative_to(site.root).as_posix(), copy=copy.name)


def check_picture(url: str, name: str, line: int, path: Path, site: Site) -> Iterator[Found]:
    """Check a picture that the page at ``path`` names."""
    file = resolve(url, path, site)
    if file is None:
        near = near_name(site.root, path.parent / unquote(url.split("?")[0]))
        yield found("image-missing", name, line, url, name=url, near=near)
    elif file.suffix.lower() not in VIDEOS:
        code, why = images.find_problem(file)
        shown = file.relative_to(site.root).as_posix()
        if code == "image-lfs-pointer":
            yield found(code, shown, None, url, user=f"{name}, line {line}")
        elif code:
            code = "image-eps-converted" if code == "image-eps" and site.converts_eps else code
            yield found(code, name, line, ".eps" if "eps" in code else url, name=shown, why=why)


def resolve(url: str, path: Path, site: Site) -> Path | None:
    """The file that a page names, inside the repository; None if there is none."""
    for name in dict.fromkeys((url, unquote(url), unquote(url.split("?")[0].split("#")[0]))):
        base = site.folder if name.startswith("/") else path.parent
        candidates = [base / name.lstrip("/"), path.parent / name.lstrip("/")]
        if "*" in name:
            candidates = sorted(base.glob(name.lstrip("/")))[:1]
        for file in candidates:
            try:
                if file.is_file() and file.resolve().is_relative_to(site.root.resolve()):
                    return site.root / file.resolve().relative_to(site.root.resolve())
            except (OSError, ValueError):
                continue
    return None


def _check_directive(directive: Directive, name: str, path: Path, site: Site) -> Iterator[Found]:
    kind = directive.name
    if kind in ("include", "literalinclude") and directive.argument and not URL.match(directive.argument):
        if resolve(directive.argument, path, site) is None:
            near = near_name(site.root, path.parent / directive.argument)
            yield found("include-missing", name, directive.line, directive.argument, name=directive.argument, near=near)
    elif kind == "embed" and directive.argument:
        yield from _check_label(directive.argument, name, directive.line, site)
    elif kind == "raw":
        yield found("raw-not-exported", name, directive.line, kind=RAW_NAMES.get(directive.argument.lower(), directive.argument))
    elif kind in WEB_ONLY or (kind == "figure" and directive.argument.lower().endswith(VIDEOS)):
        yield found("web-only", name, directive.line, kind=kind.strip("`"))


def _check_label(target: str, name: str, line: int, site: Site) -> Iterator[Found]:
    label = OF_CELL.sub("", target.strip().removeprefix("#"))
    if not URL.match(label) and "." not in label and "/" not in label and normalized(label) not in site.labels:
        yield found("embed-missing", name, line, label, label=label)


def check_notebook(notebook: Notebook, site: Site, *, is_needed: bool) -> Iterator[Found]:
    """Check a notebook. If ``is_needed``, the manuscript can't be built without it."""
    for each in notebook.found:
        yield replace(each, is_fatal=is_needed and each.code.startswith("nb-"))
    cells = [(Markdown(source), line or 1) for source, line in notebook.markdown()]
    for text, line in cells:
        others = [other.plain for other, _line in cells if other is not text]
        yield from check_text(text, notebook.name, notebook.source.path, site, line, others)
    if not site.runs_code:
        yield from notebook.check_outputs()


def check_included(source: Source, site: Site, others: Sequence[str]) -> Iterator[Found]:
    """Check a text that pages include. ``others`` are all texts of the manuscript."""
    yield from source.found
    if source.text is not None:
        yield from check_text(Page(source).markdown, source.name, source.path, site, elsewhere=others)
