"""The project file: its pages, exports and bibliography, and what is wrong with its metadata."""

from __future__ import annotations

import calendar
import datetime
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from .found import ANY, Found, found
from .source import Source
from .yaml_nodes import Node, compose

PAGE_SUFFIXES = (".md", ".ipynb", ".tex", ".myst.json")
ROOT_SUFFIXES, ROOT_NAMES = (".md", ".tex", ".ipynb", ".myst.json"), ("index", "readme", "main")
CONFIG_NAMES = ("myst.yml", "curvenote.yml")
MAX_PAGES, MAX_TOC_DEPTH, MAX_FOLDER_DEPTH = 2000, 20, 12
MAX_SHORT_TITLE = 40
ORCID = re.compile(r"^\s*(?:https?://(?:www\.)?orcid\.org/)?(\d{4})-?(\d{4})-?(\d{4})-?(\d{3}[\dXx])/?\s*$")
ISO_DATE = re.compile(r"^\s*(?P<year>\d{4})[-/](?P<month>\d{1,2})[-/](?P<day>\d{1,2})\b")
NAMED_DATE = re.compile(
    r"^\s*(?:(?P<day>\d{1,2})[\s.,-]+(?P<month>[A-Za-z]{3,9})|(?P<month2>[A-Za-z]{3,9})[\s.,-]+(?P<day2>\d{1,2}))\D"
)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
YEAR = re.compile(r"\b(\d{4})\b")


class Project:
    """The project file at ``path``, and the files that belong to it."""

    def __init__(self, root: Path, path: Path) -> None:
        self.root, self.path, self.folder = root, path, path.parent
        self.source = Source(root, path)
        self.name = self.source.name
        self.document = compose(self.source.text or "")
        self.node = self.document.get("project")
        self.found: list[Found] = []
        self.is_explicit = False
        self.pages: list[Path] = []
        self._list_pages()

    def _list_pages(self) -> None:
        toc, where = self._toc()
        if toc:
            self.is_explicit = True
            self._take_toc(toc, where, 0)
        else:
            self.pages += sorted(_walk(self.folder, 0), key=self._root_rank)
        for export in self.node.get("exports", "export"):
            for article in [*export.get("articles"), *export.get("article")]:
                path = self.folder / (article.text or article.get("file").text)
                if _is_page(path):
                    self.pages.append(path)
        self.pages = list(dict.fromkeys(Path(os.path.normpath(path)) for path in self.pages))[:MAX_PAGES]

    def _root_rank(self, path: Path) -> tuple[bool, int, int]:
        """How late mystmd thinks of a page as the first one, where no contents list names it."""
        name = path.name.lower()
        stem, suffix = name.split(".")[0], next(number for number, each in enumerate(ROOT_SUFFIXES) if name.endswith(each))
        is_index = path.parent == self.folder and stem in ROOT_NAMES
        return not is_index, suffix, ROOT_NAMES.index(stem) if is_index else 0

    def _toc(self) -> tuple[Node, str]:
        """The contents list, and the name of the file that it stands in."""
        if toc := self.node.get("toc"):
            return toc, self.name
        for base in self.document.get("extends"):
            path = self.folder / base.text
            if base.text and _is_inside(self.root, path):
                source = Source(self.root, path)
                if toc := compose(source.text or "").get("project").get("toc"):
                    return toc, source.name
        return Node(), ""

    def _take_toc(self, entries: Node, where: str, depth: int) -> None:
        for entry in entries:
            if entry.get("file").text:
                self._take_page(entry.get("file"), where)
            elif pattern := entry.get("pattern").text:
                self.pages += [path for path in _glob(self.folder, pattern) if _is_page(path)]
            if depth < MAX_TOC_DEPTH and entry.get("children"):
                self._take_toc(entry.get("children"), where, depth + 1)

    def _take_page(self, entry: Node, where: str) -> None:
        path = self.folder / entry.text
        named = [path] if path.is_file() else [path.with_name(path.name + suffix) for suffix in PAGE_SUFFIXES]
        if page := next((each for each in named if each.is_file()), None):
            self.pages.append(page)
        elif path.is_dir():
            self.found.append(found("toc-names-folder", where, entry.line, entry.text, name=entry.text))
        else:
            near = near_name(self.root, path, PAGE_SUFFIXES)
            self.found.append(found("toc-page-missing", where, entry.line, entry.text, name=entry.text, near=near))


def near_name(root: Path, path: Path, suffixes: tuple[str, ...] = ()) -> str:
    """A sentence that names a file with a name similar to that of the missing file ``path``. Empty if there is none."""
    try:
        names = [each.name for each in path.parent.iterdir()]
        wanted = path.name.casefold()
        like = [name for name in names if name.casefold() == wanted] or [
            name for name in names if Path(name).stem.casefold() == path.stem.casefold() and name.endswith(suffixes or (".",))
        ]
    except OSError:
        return _near_anywhere(root, path)
    return f" The folder has {like[0]}: large and small letters must be the same." if like else _near_anywhere(root, path)


def _near_anywhere(root: Path, path: Path) -> str:
    for folder, folders, names in os.walk(root):
        folders[:] = [each for each in folders if not each.startswith((".", "_build"))]
        if path.name in names:
            return f" There is {(Path(folder) / path.name).relative_to(root).as_posix()}."
    return ""


def _is_inside(root: Path, path: Path) -> bool:
    return path.is_file() and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _is_page(path: Path) -> bool:
    return path.name.lower().endswith(PAGE_SUFFIXES) and path.is_file()


def _glob(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))[:MAX_PAGES]
    except (ValueError, NotImplementedError, OSError, IndexError):
        return []


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """The pages of a project without a contents list, as mystmd finds them: not in folders with a project file of their own."""
    entries = sorted(folder.iterdir())
    if depth and any(entry.name in CONFIG_NAMES for entry in entries):
        return
    for entry in entries:
        if entry.name.startswith((".", "_")) or entry.name == "node_modules" or entry.is_symlink():
            continue
        if entry.is_dir() and depth < MAX_FOLDER_DEPTH:
            yield from _walk(entry, depth + 1)
        elif _is_page(entry):
            yield entry


def check_project(project: Project) -> Iterator[Found]:
    yield from project.source.found
    yield from project.found
    if project.source.text is not None:
        for marker in find_markers(project.source.text, project.name, "project-file-conflict"):
            yield replace(marker, is_fatal=True)
    yield from check_metadata(project.node, project.name)
    other = {"myst.yml": "curvenote.yml", "curvenote.yml": "myst.yml"}.get(project.path.name)
    if other and (project.folder / other).is_file():
        yield found("two-project-files", project.name, other=other)


def check_metadata(node: Node, file: str) -> Iterator[Found]:
    """Check a mapping of metadata: that of the project, or a page's front matter."""
    for number, author in enumerate(node.get("authors", "author"), 1):
        orcid = author.get("orcid")
        if ORCID.match(orcid.text) and not is_orcid(orcid.text):  # mystmd complains about any other form
            yield found("orcid-invalid", file, orcid.line, orcid.text, orcid=orcid.text, number=number)
    date = node.get("date")
    if date.text and (shown := wrong_date(date.text)):
        yield found("date-nonexistent", file, date.line, date.text, date=date.text, shown=shown)
    short = node.get("short_title")
    if len(short.text) > MAX_SHORT_TITLE:
        yield found("short-title-long", file, short.line, "short_title", length=len(short.text))


def is_orcid(text: str) -> bool:
    """Whether a text is an ORCID whose last character is its check digit (ISO 7064, MOD 11-2)."""
    parts = ORCID.match(text)
    if not parts:
        return False
    digits = "".join(parts.groups()).upper()
    total = 0
    for digit in digits[:-1]:
        total = (total + int(digit)) * 2
    return digits[-1] == "0123456789X"[(12 - total % 11) % 11]


def wrong_date(text: str) -> str:
    """For a date that does not exist: the one that mystmd publishes in its place. Otherwise empty."""
    year, month, day = _parts(text)
    if not year or not 1 <= month <= 12 or not 1 <= day <= 31 or day <= calendar.monthrange(year, month)[1]:
        return ""
    return (datetime.date(year, month, 1) + datetime.timedelta(days=day - 1)).isoformat()


def _parts(text: str) -> tuple[int, int, int]:
    if iso := ISO_DATE.match(text):
        return int(iso["year"]), int(iso["month"]), int(iso["day"])
    named, year = NAMED_DATE.match(text), YEAR.search(text)
    if not named or not year:
        return 0, 0, 0
    month = (named["month"] or named["month2"])[:3].lower()
    return int(year[1]), MONTHS.index(month) + 1 if month in MONTHS else 0, int(named["day"] or named["day2"])


def find_markers(text: str, file: str, code: str) -> Iterator[Found]:
    """The first conflict that git left in a text."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("<<<<<<< "):
            yield found(code, file, number, ANY)
            return
