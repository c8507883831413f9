"""What a file is, by its first bytes and its name, and its text in colours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlencode

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from builds.admin_columns import laid_out, visible
from builds.toolchain import read_text

BEGINNING = 4096
MOST_TEXT = 400_000
MOST_LAID_OUT = 2 * MOST_TEXT  # what is nested deeply grows by more
# A browser is slow with more colours than this has.
MOST_COLOURED = 200_000

PDF = "application/pdf"
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
    """``media_type`` where a browser may show the file itself."""

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
    is_laid_out: bool


def beginning(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(BEGINNING)


def read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MOST_TEXT + 1)


def kind_of(start: bytes, name: str) -> Kind:
    """What the file is. Only what its first bytes prove is shown by a browser; everything else is text, or nothing to see."""
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


def text(data: bytes, kind: Kind) -> Text:
    """The text as markup that holds nothing of it but text: with colours where it is short enough, and of a kind that is known."""
    written = data[:MOST_TEXT].decode("utf-8-sig", "replace")
    readable = _laid_out(written) if kind.language == "json" else written
    words = visible(readable)
    is_cut, is_laid_out = len(data) > MOST_TEXT, readable != written
    coloured = read_text(words.encode(), "colour", kind.language) if kind.language and len(words) <= MOST_COLOURED else None
    html = mark_safe(coloured) if coloured else SafeString(escape(words))  # noqa: S308 - the formatter escapes all of it
    return Text(html, is_cut, is_laid_out)


def _laid_out(written: str) -> str:
    """JSON that a program has written in one line with a line for each value; any other as it is."""
    if "\n" in written.strip():
        return written
    readable = laid_out(written)
    return readable if len(readable) <= MOST_LAID_OUT else written


def query(entry: str) -> str:
    return urlencode({"entry": entry})
