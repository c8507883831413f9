"""Finds words of the article by a line of its source. The bundle has the sources, and JATS does not say which line a text came from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import PurePosixPath

from builds.desk.exports import bundle
from builds.errors import ExportsUnavailable
from builds.lib import zips
from builds.record.kept_exports import KeptFile

FOLDER = "bundle/"  # the same as in builds/engine/tools/meca.py, which can't be imported here
SUFFIXES = (".md", ".myst", ".tex")
MAX_FILES, MAX_BYTES, MAX_LINE = 5, 1 << 20, 2000
# How far from a line its words are looked for: in the rest of its paragraph or directive, then before it.
LINES_AFTER, LINES_BEFORE = 12, 30
# What the article does not show as it is written. The words between two of these stand in one text of the article.
MARKUP = re.compile(
    r"\{[^{}]*\}`[^`]*`|`[^`]*`|\$[^$]*\$|\[[^\[\]@]*@[^\[\]]*\]|\]\([^()]*\)|https?://\S+|@\S+|\\[a-zA-Z]+|<[^<>]*>"
    r"|[\"“”'‘’*_~^#|\[\]{}()\\!$`<>&=:]|--+|\.\.\."
)
# Lines that begin with it are settings, fences, comments and separators.
FENCES = ("```", ":::", "~~~")
NO_TEXT = (*FENCES, ":", "---", "+++", "%", "|--")
MIN_CHARACTERS, MAX_CHARACTERS, MIN_SPACES = 14, 60, 2
WORDS_PER_LINE = 2


@dataclass
class Sources:
    """The sources of a bundle. Each is read once. ``project_file`` is the project file's path in the repository."""

    archive: KeptFile
    project_file: str
    _read: dict[str, Sequence[str]] = field(default_factory=dict)

    def words_at(self, file: str, line: int | None) -> Iterator[tuple[str, bool]]:
        """Words that the article may show at a line, the line's own first, and whether they are only from lines before it."""
        if not line or not file.endswith(SUFFIXES):
            return
        lines = self._lines(file)
        if line > len(lines):
            return
        goes_on = _is_in_fence if lines[line - 1].lstrip().startswith(FENCES) else str.strip
        following = takewhile(goes_on, lines[line : line + LINES_AFTER])
        for text in (lines[line - 1], *following):
            yield from ((words, False) for words in _words(text))
        for text in reversed(lines[max(0, line - 1 - LINES_BEFORE) : line - 1]):
            yield from ((words, True) for words in _words(text))

    def _lines(self, file: str) -> Sequence[str]:
        if file not in self._read:
            if len(self._read) >= MAX_FILES:
                return ()
            self._read[file] = self._find(file).decode("utf-8", "replace").split("\n")
        return self._read[file]

    def _find(self, file: str) -> bytes:
        """The beginning of a source; empty if it can't be read. ``file`` is relative to the repository, and the bundle to the project."""
        folder = PurePosixPath(self.project_file).parent
        if not PurePosixPath(file).is_relative_to(folder):
            return b""
        name = FOLDER + str(PurePosixPath(file).relative_to(folder))
        try:
            with self.archive.open() as opened, zips.opened(opened, bundle.MAX_ENTRIES) as archive:
                if archive.getinfo(name).compress_type not in zips.METHODS:
                    return b""
                with archive.open(name) as source:
                    return source.read(MAX_BYTES)
        except (*bundle.DAMAGED, zips.NotAnArchive, zips.TooManyEntries, KeyError, ExportsUnavailable):
            return b""


def _is_in_fence(line: str) -> bool:
    return not line.lstrip().startswith(FENCES)


def _words(line: str) -> list[str]:
    """The longest texts of a line without markup."""
    text = line[:MAX_LINE].strip()
    if text.startswith(NO_TEXT):
        return []
    runs = [_cut(run.strip(" .,;\t\r")) for run in MARKUP.split(text)]
    telling = [run for run in runs if len(run) >= MIN_CHARACTERS and run.count(" ") >= MIN_SPACES]
    return sorted(telling, key=len, reverse=True)[:WORDS_PER_LINE]


def _cut(run: str) -> str:
    return run if len(run) <= MAX_CHARACTERS else run[:MAX_CHARACTERS].rpartition(" ")[0]
