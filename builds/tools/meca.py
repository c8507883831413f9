"""Looks through a MECA, and mends what mystmd is known to write into it that is no XML. Run by read_exports.py, within its limits."""

import io
import lzma
import re
import shutil
import stat
import xml.sax
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import quoteattr

import defusedxml.sax
from defusedxml import DefusedXmlException

XML_BYTES = 64 << 20
MANIFEST = "manifest.xml"
SOURCES = "bundle/"
CHUNK = 1 << 20
MOST_WARNINGS, MOST_NAMED = 20, 10
# These two are unpacked by pieces of the size that is asked for; of others, a few bytes may become gigabytes at once, also for who
# delivers them. As in builds/zip_end.py, which the sandbox does not show.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
HREF = re.compile(rb'(?<=href=)"([^"]*)"')
# What no XML document may hold (XML 1.0 §2.2), in UTF-8.
FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]")


class _Broken(Exception):
    """Why the MECA can't be taken."""


def read(path: Path, *, entries: int, most: int) -> Iterator[tuple[str, str]]:
    """What is to be told of the MECA, and last its problem.

    It has none if the zip is intact, with at most so many files that unpack to at most so many bytes, its names are harmless, its
    manifest names only what is there, and its XML parses. XML among the manuscript's own sources that does not parse is a warning:
    it was bundled as it is.
    """
    try:
        _check_entries(path, entries, most)
        if mended := _mend(path):
            yield "mended", _listed(mended)
        with zipfile.ZipFile(path) as archive:
            files = {info.filename: info for info in archive.infolist() if not info.is_dir()}
            for info in files.values():
                _read_through(archive, info)
            _check_manifest(archive, files)
            for warning in _check_xml(archive, files):
                yield "warning", warning
        yield "problem", ""
    except _Broken as error:
        yield "problem", str(error)
    except UNREADABLE as error:
        yield "problem", f"is no intact zip archive ({error})"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _check_entries(path: Path, entries: int, most: int) -> None:
    with zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > entries:
        raise _Broken(f"holds more than the {entries} files that this service takes")
    if sum(info.file_size for info in infos) > most:
        raise _Broken(f"unpacks to more than the {most / 1e6:g} MB that this service takes")
    for info in infos:
        parts = re.split(r"[/\\]", info.orig_filename)
        if parts[0] == "" or ".." in parts or "\0" in info.orig_filename:
            raise _Broken(f"holds {info.orig_filename[:300]!r}, a path that leads out of it")
        if info.create_system == 3 and stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise _Broken(f"holds {info.filename[:300]!r}, which is no ordinary file")
        if info.compress_type not in METHODS:
            raise _Broken(f"holds {info.filename[:300]!r}, which is packed in another way than by Deflate")


def _read_through(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Reading to the end checks the sum."""
    with archive.open(info) as file:
        while file.read(CHUNK):
            pass


def _check_manifest(archive: zipfile.ZipFile, files: dict[str, zipfile.ZipInfo]) -> None:
    if MANIFEST not in files:
        raise _Broken(f"holds no {MANIFEST}")
    named = _Hrefs()
    if files[MANIFEST].file_size > XML_BYTES:
        raise _Broken(f"its {MANIFEST} is larger than {XML_BYTES / 1e6:.0f} MB")
    with archive.open(MANIFEST) as file:
        if problem := xml_problem(file, named):
            raise _Broken(f"its {MANIFEST} is no well-formed XML ({problem})")
    there = _Places(files)
    missing = [href for href in named.found if not there.have(href)]
    if missing:
        raise _Broken(f"its {MANIFEST} names {', '.join(missing[:5])}, which is not in it")


class _Places:
    """The files of a MECA, and the folders that they are in."""

    def __init__(self, files: dict[str, zipfile.ZipInfo]) -> None:
        self._places = set(files)
        for name in files:
            # A folder of a folder that is known is known. Names may be of thousands of folders.
            while (name := name.rpartition("/")[0]) and name not in self._places:
                self._places.add(name)

    def have(self, href: str) -> bool:
        if urlsplit(href).scheme in ("http", "https", "doi", "mailto"):
            return True
        return any(name.removeprefix("./").rstrip("/") in self._places for name in (href, unquote(href)))


def _check_xml(archive: zipfile.ZipFile, files: dict[str, zipfile.ZipInfo]) -> Iterator[str]:
    """What to warn of."""
    warned = 0
    for name, info in files.items():
        if not name.lower().endswith(".xml") or name == MANIFEST or not (problem := _problem_of(archive, info)):
            continue
        if not name.startswith(SOURCES):
            raise _Broken(f"its {name[:300]} is no well-formed XML ({problem})")
        warned += 1
        if warned <= MOST_WARNINGS:
            yield f"{name.removeprefix(SOURCES)[:300]}, which is bundled as it is, is no well-formed XML ({problem})."
    if warned > MOST_WARNINGS:
        yield f"{warned - MOST_WARNINGS} more XML files, which are bundled as they are, are not well-formed."


def _problem_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    """A parser may keep a single word of a document whole in memory, so that its size is limited."""
    if info.file_size > XML_BYTES:
        return f"larger than {XML_BYTES / 1e6:.0f} MB, and not looked into"
    with archive.open(info) as file:
        return xml_problem(file, xml.sax.ContentHandler())


class _Hrefs(xml.sax.ContentHandler):
    """What the elements of a manifest refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def startElement(self, name: str, attrs: Any) -> None:
        self.found += [value for key, value in attrs.items() if key.rpartition(":")[2] == "href" and value]


def xml_problem(file: IO[bytes], handler: xml.sax.ContentHandler) -> str:
    """Why it isn't well-formed XML; empty where it is. Entities are refused, not expanded."""
    try:
        defusedxml.sax.parse(file, handler, forbid_external=False)  # a DTD may be named; it is never fetched
    except xml.sax.SAXParseException as error:
        return f"line {error.getLineNumber()}: {error.getMessage()}"
    except (xml.sax.SAXException, DefusedXmlException, LookupError) as error:
        return str(error)[:200]
    return ""


# --- mending


def _mend(path: Path) -> list[str]:
    """Mend the XML that mystmd has made: file names with ``&`` and ``<``, control characters of the author's. The author's own
    sources stay as they are.

    Returns the names of what was mended; none where it is damaged, or can't be written: then it is as it was.
    """
    new = path.with_name(f"{path.name}.mended")
    try:
        with zipfile.ZipFile(path) as archive:
            mended = {info.filename: text for info in archive.infolist() if (text := _mended(archive, info)) is not None}
            if mended:
                new.unlink(missing_ok=True)  # a build may have left a link of that name
                _rewrite(archive, mended, new)
                new.replace(path)
    except UNREADABLE:
        new.unlink(missing_ok=True)
        return []
    return list(mended)


def _mended(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | None:
    """The file as XML; None where it is so already, or can't be made so."""
    if not info.filename.endswith(".xml") or info.filename.startswith(SOURCES) or info.file_size > XML_BYTES:
        return None
    written = archive.read(info)
    if not _problem(written):
        return None
    mended = FORBIDDEN.sub(b"", HREF.sub(_quoted, written) if info.filename == MANIFEST else written)
    return None if _problem(mended) else mended


def _quoted(match: re.Match[bytes]) -> bytes:
    name = match.group(1).decode("utf-8", "surrogateescape").replace("&quot;", '"')
    return quoteattr(name, {'"': "&quot;"}).encode("utf-8", "surrogateescape")


def _problem(document: bytes) -> str:
    return xml_problem(io.BytesIO(document), xml.sax.ContentHandler())


def _rewrite(archive: zipfile.ZipFile, mended: dict[str, bytes], new: Path) -> None:
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as copy:
        for info in archive.infolist():
            if info.filename in mended:
                copy.writestr(info, mended[info.filename])
            else:
                with archive.open(info) as source, copy.open(info, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, CHUNK)
