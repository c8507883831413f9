"""BibTeX files: entries without a key, and duplicate keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .found import ANY, Found, found
from .project import find_markers
from .source import Source

ENTRY = re.compile(
    r"^[ \t]*@[ \t]*(?P<type>[A-Za-z]+)[ \t]*[{(][ \t\r\n]*(?P<key>[^\s,{}()=\"#]*)[ \t]*(?P<end>[,}=\n]?)", re.MULTILINE
)
NO_ENTRIES = ("string", "comment", "preamble")


@dataclass(frozen=True)
class Entry:
    key: str
    file: str
    line: int
    text: str

    @property
    def content(self) -> str:
        """The entry without spaces and without the parts that may differ between copies."""
        return re.sub(r"[\s,]+", "", self.text).lower()


def check_bibliographies(root: Path, paths: Sequence[Path], cited: str) -> Iterator[Found]:
    """Check all bibliographies of a manuscript. ``cited`` is the text of its pages."""
    first: dict[str, Entry] = {}
    for path in paths:
        source = Source(root, path)
        yield from source.found
        yield from find_markers(source.text or "", source.name, "conflict-markers")
        for entry in _entries(source):
            if not entry.key:
                yield found("bib-key-missing", entry.file, entry.line, ANY)
                continue
            other = first.setdefault(entry.key, entry)
            if other is not entry:
                yield _twice(entry, other, cited)


def _twice(entry: Entry, other: Entry, cited: str) -> Found:
    place = f"line {other.line}" if other.file == entry.file else f"{other.file}, line {other.line}"
    harmless = entry.content == other.content or entry.key not in cited
    code = "bib-key-repeated" if harmless else "bib-key-twice"
    return found(code, entry.file, entry.line, key=entry.key, other=place)


def _entries(source: Source) -> Iterator[Entry]:
    text = source.text or ""
    starts = [entry for entry in ENTRY.finditer(text) if entry["type"].lower() not in NO_ENTRIES]
    line, at = 1, 0
    for number, entry in enumerate(starts):
        line, at = line + text.count("\n", at, entry.start()), entry.start()
        end = starts[number + 1].start() if number + 1 < len(starts) else len(text)
        key = "" if entry["end"] == "=" else entry["key"]
        yield Entry(key, source.name, line, text[entry.start() : end])
