"""The exports that pages declare in their front matter. ``myst`` makes them too, but Jobsite delivers only those of the project file."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from builds.engine.manuscript.limited import TooComplex
from builds.engine.manuscript.paths import read_beginning
from builds.engine.manuscript.project import Project
from builds.engine.manuscript.settings import read_yamls

MAX_PAGES = 1000
# The beginning of a page, which has its front matter: the longest that FRONT_MATTER finds, in UTF-8.
MAX_BEGINNING_BYTES = 300_000
# The characters of front matter with exports, over all pages: about five seconds of reading.
MAX_FRONT_MATTER = 500_000
EXPORTS_KEY = re.compile(r"^[\"']?exports?[\"']?\s*:", re.MULTILINE)
FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.{0,65536}?)^(?:---|\.\.\.)[ \t]*\r?$", re.DOTALL | re.MULTILINE)


def read(project: Project, check: Callable[[], None] = lambda: None) -> list[tuple[Path, Any]]:
    """Each page with each entry of its ``exports``. ``check`` is called for every page and may raise."""
    found = list(_front_matters(project, check))
    try:
        values = read_yamls([text for _page, text in found])
    except TooComplex:
        return []
    return [(page, entry) for (page, _text), value in zip(found, values, strict=True) for entry in listed(value)]


def listed(holder: Any) -> Iterator[Any]:
    """The entries of ``exports`` of a page or a project file."""
    for name in ("exports", "export"):
        entries = holder.get(name) if isinstance(holder, dict) else None
        yield from entries if isinstance(entries, list) else [entries] if entries else []


def _front_matters(project: Project, check: Callable[[], None]) -> Iterator[tuple[Path, str]]:
    """The pages with front matter that declares exports, and that front matter."""
    left = MAX_FRONT_MATTER
    for page in sorted(_pages(project))[:MAX_PAGES]:
        check()
        text = _front_matter(project, page)
        left -= len(text)
        if left < 0:
            return
        if text:
            yield page, text


def _pages(project: Project) -> Iterator[Path]:
    for path in project.folder.rglob("*.md"):
        if not any(part.startswith((".", "_")) for part in path.relative_to(project.folder).parts):
            yield path


def _front_matter(project: Project, page: Path) -> str:
    """A page's front matter; empty if it has no exports, or has YAML merges or tags, which can be slow to read."""
    with suppress(OSError, ValueError):
        beginning = read_beginning(project, page, MAX_BEGINNING_BYTES)
        found = FRONT_MATTER.match(codecs.getincrementaldecoder("utf-8")().decode(beginning))  # the last character may be cut
        if found and EXPORTS_KEY.search(found[1]) and "<<" not in found[1] and "!!" not in found[1]:
            return found[1]
    return ""
