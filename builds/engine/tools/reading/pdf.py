"""A PDF's pages and fonts, and the characters that its fonts can show."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_FONT_PAGES, MAX_TEXT_PAGES = 2000, 600
FONT_FILES = ("/FontFile", "/FontFile2", "/FontFile3")
CHARACTERS = re.compile(rb"beginbf(?P<kind>char|range)(?P<body>.*?)endbf", re.DOTALL)
HEX = re.compile(rb"<([0-9A-Fa-f\s]*)>")


@dataclass
class Pdf:
    """``characters`` is None where a font does not say what its glyphs stand for."""

    pages: int = 0
    unembedded: list[str] = field(default_factory=list)
    characters: set[str] | None = field(default_factory=set)


def read_pdf(path: Path) -> Pdf | None:
    """None where the PDF can't be read."""
    from pypdf import PdfReader  # noqa: PLC0415 - slow to import, and after the limits

    try:
        reader = PdfReader(path, strict=False)
        found = Pdf(len(reader.pages))
        seen: set[int] = set()
        for page in reader.pages[:MAX_FONT_PAGES]:
            _take_fonts(page.get("/Resources"), found, seen)
    except MemoryError:
        raise
    except Exception:  # the library raises many kinds for a damaged file, which was found before
        return None
    return found


def read_texts(path: Path) -> list[str] | None:
    """The text of each page. None where the PDF can't be read, or has so many pages that this would take minutes."""
    from pypdf import PdfReader  # noqa: PLC0415 - as above

    try:
        pages = PdfReader(path, strict=False).pages
        return [page.extract_text() or "" for page in pages] if len(pages) <= MAX_TEXT_PAGES else None
    except MemoryError:
        raise
    except Exception:
        return None


def _take_fonts(resources: Any, found: Pdf, seen: set[int], depth: int = 0) -> None:
    resources = resources.get_object() if resources is not None else {}
    fonts = resources.get("/Font")
    for reference in fonts.get_object().values() if fonts is not None else ():
        font = reference.get_object()
        number = getattr(reference, "idnum", id(font))
        if number not in seen:
            seen.add(number)
            _take_font(font, found)
    forms = resources.get("/XObject")
    for form in forms.get_object().values() if forms is not None and depth < 3 else ():
        stream = form.get_object()
        if stream.get("/Subtype") == "/Form" and getattr(form, "idnum", id(stream)) not in seen:
            seen.add(getattr(form, "idnum", id(stream)))
            _take_fonts(stream.get("/Resources"), found, seen, depth + 1)


def _take_font(font: Any, found: Pdf) -> None:
    if font.get("/Subtype") != "/Type3":
        inner = font["/DescendantFonts"].get_object()[0].get_object() if "/DescendantFonts" in font else font
        descriptor = inner.get("/FontDescriptor")
        if descriptor is None or not any(name in descriptor.get_object() for name in FONT_FILES):
            name = str(font.get("/BaseFont", "a font without a name")).lstrip("/")
            if name not in found.unembedded:
                found.unembedded.append(name)
    shown = font.get("/ToUnicode")
    if shown is None:
        found.characters = None
    elif found.characters is not None:
        found.characters |= characters_of(shown.get_object().get_data())


def characters_of(cmap: bytes) -> set[str]:
    """The characters of a ToUnicode CMap (PDF 32000-1, 9.10.3)."""
    characters: set[str] = set()
    for block in CHARACTERS.finditer(cmap):
        for line in re.split(rb"[\r\n]+", block["body"]):
            values = [bytes.fromhex(re.sub(rb"\s", b"", value).decode()) for value in HEX.findall(line) if len(value) % 2 == 0]
            if block["kind"] == b"char":
                characters.update(*(value.decode("utf-16-be", "replace") for value in values[1:]))
            elif len(values) == 3:
                characters.update(_range(*values))
            else:
                characters.update(*(value.decode("utf-16-be", "replace") for value in values[2:]))
    return characters


def _range(first: bytes, last: bytes, start: bytes) -> set[str]:
    number = min(int.from_bytes(last, "big") - int.from_bytes(first, "big") + 1, 65536)
    text = start.decode("utf-16-be", "replace")
    return (
        {*text[:-1], *(chr(ord(text[-1]) + each) for each in range(number) if text and ord(text[-1]) + each < 0x110000)}
        if text
        else set()
    )
