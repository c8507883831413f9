"""Whether an export is what it should be. The files are a stranger's: they are read with limits, and nothing in them is followed."""

from __future__ import annotations

import json
import lzma
import re
import stat
import sys
import xml.sax
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import defusedxml.sax
from defusedxml import DefusedXmlException

from builds import process, zip_end
from builds.errors import DiskFull, ExportBroken
from builds.stages import Context, Limits
from builds.toolchain import TOOLS

PDF_SECONDS = 60
PDF_MEMORY_BYTES = 3 << 30
PDF_OUTPUT_BYTES = 1 << 20
PAGE_BYTES = 256 << 20
LIST_BYTES_PER_ENTRY = 1024
MANIFEST = "manifest.xml"
SOURCES = "bundle/"
CHUNK = 1 << 20
UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)


def _broken(name: str, why: str) -> ExportBroken:
    return ExportBroken(f"Failed to build the repo files: {name} was made but {why}.", file=name)


def inspect_pdf(ctx: Context, path: Path, name: str) -> None:
    """Raises ExportBroken unless the PDF opens and has a page. It is read by a program in the build's sandbox, without a network."""
    if ctx.sandbox:
        ctx.sandbox.hand_over()
    said: list[tuple[str, str]] = []
    ended = process.run(
        [sys.executable, "-I", str(TOOLS / "count_pages.py"), str(path), str(PDF_MEMORY_BYTES)],
        cwd=ctx.workspace,
        env={},
        on_line=lambda stream, text: said.append((stream, text)),
        deadline_seconds=PDF_SECONDS,
        stop=ctx.stop,
        marker=ctx.build_id,
        output_bytes=PDF_OUTPUT_BYTES,
        grace_seconds=0,
        sandbox=ctx.sandbox,
        ceilings=ctx.limits.ceilings,
    )
    if ended.timed_out:
        raise _broken(name, f"could not be read as a PDF within {PDF_SECONDS} s")
    if ended.hit and ended.hit.is_ours:
        raise DiskFull(f"Failed to build the repo files: while {name} was read, {ended.hit.text}")
    if ended.exit_code != 0:
        reason = ended.hit.text if ended.hit else next((text for _stream, text in reversed(said)), "no reason given")
        raise _broken(name, f"can't be opened as a PDF ({reason[:200]})")
    if (pages := next((text for stream, text in said if stream == "stdout"), "")) == "0" or not pages.isdigit():
        raise _broken(name, "has no page")


def inspect_page_content(path: Path, name: str) -> None:
    """Raises ExportBroken unless the page's JSON is an object."""
    if path.stat().st_size > PAGE_BYTES:
        raise _broken(name, f"is larger than {PAGE_BYTES / 1e6:.0f} MB")
    try:
        page: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _broken(name, f"is not valid JSON ({error})") from error
    if not isinstance(page, dict):
        raise _broken(name, "holds no page")


def inspect_meca(path: Path, name: str, limits: Limits, *, check: Callable[[], None], warn: Callable[[str], object]) -> None:
    """Raises ExportBroken unless the zip is intact, its names are harmless, its manifest names only what is there, and its XML parses.

    ``check`` is called often and may raise. XML among the manuscript's own sources that does not parse is told to ``warn`` only: it
    was bundled as it is.
    """
    try:
        check_limits(path, name, limits)
        with zipfile.ZipFile(path) as archive:
            files = {info.filename: info for info in archive.infolist() if not info.is_dir()}
            for info in files.values():
                check()
                _read_through(archive, info)
            _check_manifest(archive, files, name)
            _check_xml(archive, files, name, warn)
    except UNREADABLE as error:
        raise _broken(name, f"is no intact zip archive ({error})") from error


def check_limits(path: Path, name: str, limits: Limits) -> None:
    """Raises ExportBroken, or one of UNREADABLE, unless the zip's list of entries is one to read further by. Nothing is unpacked."""
    _check_size(path, name, limits)
    with zipfile.ZipFile(path) as archive:
        _check_entries([info for info in archive.infolist() if not info.is_dir()], name, limits)


def _check_size(path: Path, name: str, limits: Limits) -> None:
    end = zip_end.read(path)
    if max(end.entries, end.list_bytes // LIST_BYTES_PER_ENTRY) > limits.entries:
        raise _broken(name, f"holds more than the {limits.entries} files that this service takes")


def _check_entries(infos: list[zipfile.ZipInfo], name: str, limits: Limits) -> None:
    if sum(info.file_size for info in infos) > limits.unpacked_bytes:
        raise _broken(name, f"unpacks to more than the {limits.unpacked_bytes / 1e6:g} MB that this service takes")
    for info in infos:
        parts = re.split(r"[/\\]", info.orig_filename)
        if parts[0] == "" or ".." in parts or "\0" in info.orig_filename:
            raise _broken(name, f"holds {info.orig_filename!r}, a path that leads out of it")
        if info.create_system == 3 and stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise _broken(name, f"holds {info.filename!r}, which is no ordinary file")


def _read_through(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Reading to the end checks the sum."""
    with archive.open(info) as file:
        while file.read(CHUNK):
            pass


def _check_manifest(archive: zipfile.ZipFile, files: dict[str, zipfile.ZipInfo], name: str) -> None:
    if MANIFEST not in files:
        raise _broken(name, f"holds no {MANIFEST}")
    named = _Hrefs()
    with archive.open(MANIFEST) as file:
        if problem := xml_problem(file, named):
            raise _broken(name, f"its {MANIFEST} is no well-formed XML ({problem})")
    missing = [href for href in named.found if not _is_there(href, files)]
    if missing:
        raise _broken(name, f"its {MANIFEST} names {', '.join(missing[:5])}, which is not in it")


def _is_there(href: str, files: dict[str, zipfile.ZipInfo]) -> bool:
    if urlsplit(href).scheme in ("http", "https", "doi", "mailto"):
        return True
    names = {href.removeprefix("./"), unquote(href).removeprefix("./")}
    return any(name in files or any(file.startswith(f"{name.rstrip('/')}/") for file in files) for name in names)


def _check_xml(archive: zipfile.ZipFile, files: dict[str, zipfile.ZipInfo], name: str, warn: Callable[[str], object]) -> None:
    for file_name in files:
        if not file_name.lower().endswith(".xml") or file_name == MANIFEST:
            continue
        with archive.open(file_name) as file:
            problem = xml_problem(file, xml.sax.ContentHandler())
        if problem and file_name.startswith(SOURCES):
            warn(f"{file_name.removeprefix(SOURCES)}, which is bundled as it is, is no well-formed XML ({problem}).")
        elif problem:
            raise _broken(name, f"its {file_name} is no well-formed XML ({problem})")


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
