"""Recognises a file by its first bytes and its name, and highlights its text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlencode

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from builds.engine.manuscript.limited import highlight
from builds.lib.json_text import indented
from builds.lib.text import visible
from builds.record.kept_exports import KeptFile

BEGINNING = 4096
MAX_TEXT = 400_000
MAX_FORMATTED = 2 * MAX_TEXT  # deeply nested JSON would grow beyond this
# Browsers become slow with more highlighted text than this.
MAX_HIGHLIGHTED = 200_000

PDF, SVG = "application/pdf", "image/svg+xml"
# The first element of the file, after declarations and comments.
SVG_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<[?!][^<>]*>\s*)*<svg[\s>]")
MAGIC = (
    (b"%PDF-", PDF),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
LANGUAGES = {
    **dict.fromkeys((".xml", ".jats", ".svg", ".html", ".xsl"), "xml"),
    **dict.fromkeys((".json", ".ipynb"), "json"),
    **dict.fromkeys((".yml", ".yaml", ".cff"), "yaml"),
    **dict.fromkeys((".md", ".markdown"), "markdown"),
    **dict.fromkeys((".tex", ".sty", ".cls"), "tex"),
    ".py": "python",
}


@dataclass(frozen=True)
class Kind:
    """What a file is. ``media_type`` is set only if a browser may show the file itself."""

    media_type: str = ""
    is_bundle: bool = False
    is_text: bool = False
    language: str = ""

    @property
    def is_pdf(self) -> bool:
        return self.media_type == PDF


@dataclass(frozen=True)
class Text:
    html: SafeString
    is_cut: bool
    is_formatted: bool


def read_beginning(file: KeptFile) -> bytes:
    with file.open() as opened:
        return opened.read(BEGINNING)


def read(file: KeptFile) -> bytes:
    with file.open() as opened:
        return opened.read(MAX_TEXT + 1)


def recognise(start: bytes, name: str) -> Kind:
    """What the file is. A browser shows it only if its first bytes prove its type; anything else is text or not shown."""
    for magic, media_type in MAGIC:
        if start.startswith(magic):
            return Kind(media_type)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return Kind("image/webp")
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return Kind(is_bundle=True)
    if b"\0" in start:
        return Kind()
    return Kind(is_text=True, language=LANGUAGES.get(PurePosixPath(name).suffix.lower(), ""))


def is_svg(start: bytes, name: str) -> bool:
    return name.lower().endswith(".svg") and SVG_BEGINNING.match(start) is not None


def render_text(data: bytes, kind: Kind) -> Text:
    """The text as escaped HTML, highlighted if it is short enough and its language is known."""
    written = data[:MAX_TEXT].decode("utf-8-sig", "replace")
    readable = _format(written) if kind.language == "json" else written
    words = visible(readable)
    is_cut, is_formatted = len(data) > MAX_TEXT, readable != written
    has_colours = kind.language and len(words) <= MAX_HIGHLIGHTED
    highlighted = highlight(words, kind.language) if has_colours else None
    html = mark_safe(highlighted) if highlighted else SafeString(escape(words))  # noqa: S308 - the formatter escapes all of it
    return Text(html, is_cut, is_formatted)


def _format(written: str) -> str:
    """Single-line JSON with one value per line. Any other JSON is unchanged."""
    if "\n" in written.strip():
        return written
    readable = indented(written)
    return readable if len(readable) <= MAX_FORMATTED else written


def entry_query(entry: str) -> str:
    return urlencode({"entry": entry})
