"""Reads the files of a manuscript in which the place of a complaint is searched for.

Files are only searched for texts, within limits: a repository can hold anything.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from builds.engine.manuscript.paths import read_beginning
from builds.engine.manuscript.project import Project

SOURCES = (".md", ".ipynb", ".tex")
SKIPPED = {"_build", "node_modules"}
MAX_FILES, MAX_ENTRIES, MAX_FILE_BYTES, MAX_BYTES = 300, 20_000, 2 << 20, 20 << 20
# mystmd cuts the name of a picture that it copies.
MAX_COPIED_NAME = 20


class Pages:
    """The text files of a manuscript, read when they are first asked for."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._texts: dict[str, tuple[str, ...]] = {}
        self._names: list[str] | None = None
        self._bytes = 0

    def lines(self, file: str) -> tuple[str, ...]:
        """The lines of a file, by its path in the repository; none if it can't be read within the limits."""
        if file not in self._texts:
            text = ""
            if self._bytes < MAX_BYTES:
                try:
                    text = read_beginning(self._project, self._project.root / file, MAX_FILE_BYTES).decode(errors="replace")
                except OSError:
                    text = ""
            self._bytes += len(text)
            self._texts[file] = tuple(text.splitlines())
        return self._texts[file]

    def sources(self) -> Iterator[str]:
        """The paths of the manuscript's pages and of its project file, at most MAX_FILES."""
        yield from islice((name for name in self._listed() if name.lower().endswith(SOURCES)), MAX_FILES)
        yield self.project_file

    @property
    def project_file(self) -> str:
        """The path of the project file in the repository."""
        return str(self._project.file.relative_to(self._project.root))

    def named(self, pattern: re.Pattern[str]) -> Iterator[str]:
        """The paths that match a pattern, at most MAX_FILES."""
        return islice((name for name in self._listed() if pattern.search(name)), MAX_FILES)

    def is_of_template(self, file: str) -> bool:
        """Whether a file is in the folder of a template that is in the repository."""
        return f"{posixpath.dirname(file)}/template.yml".lstrip("/") in self._listed()

    def image(self, name: str) -> str:
        """The path of the picture that mystmd copied as ``name``; empty if there is none, or several with different names."""
        found = [path for path in self._listed() if _copied_name(path) == _copied_name(name)]
        return found[0] if len(found) == 1 else ""

    def near(self, name: str, page: str) -> str:
        """A file whose path differs from ``name``, as ``page`` writes it, only by case or encoded spaces; empty if there is none."""
        wanted = posixpath.normpath(PurePosixPath(page).parent / unquote(name)).lower()
        return next((path for path in self._listed() if path.lower() == wanted), "")

    def start(self, file: str, size: int) -> bytes | None:
        """The first bytes of a file; None if it can't be read."""
        try:
            return read_beginning(self._project, self._project.root / file, size)
        except OSError:
            return None

    def _listed(self) -> list[str]:
        if self._names is None:
            self._names = list(_walk(self._project))
        return self._names


def _walk(project: Project) -> Iterator[str]:
    seen = 0
    for folder, folders, files in os.walk(project.folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED and not name.startswith("."))
        for name in sorted(files):
            seen += 1
            if seen > MAX_ENTRIES:
                return
            yield str((Path(folder) / name).relative_to(project.root))


def _copied_name(path: str) -> tuple[str, str]:
    name = PurePosixPath(path.lower())
    return name.stem[:MAX_COPIED_NAME], name.suffix
