"""Whether an export is what it should be. The files are a stranger's: they are read with limits, and nothing in them is followed."""

from __future__ import annotations

import lzma
import re
import stat
import sys
import xml.sax
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import defusedxml.sax
from defusedxml import DefusedXmlException

from builds import process, zip_end
from builds.ceilings import OutputAllowance
from builds.errors import ExportBroken, Fault
from builds.stages import Context, Limits
from builds.toolchain import TOOLS

READER_SECONDS = 60
READER_MEMORY_BYTES = 3 << 30
READER_OUTPUT_BYTES = 1 << 20
PAGE_BYTES = 256 << 20
LIST_BYTES_PER_ENTRY = 1024
XML_BYTES = 64 << 20
MANIFEST = "manifest.xml"
SOURCES = "bundle/"
CHUNK = 1 << 20
UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)


def _broken(name: str, why: str) -> ExportBroken:
    return ExportBroken(f"Failed to build the repo files: {name} was made but {why}.", file=name)


def inspect_pdf(ctx: Context, path: Path, name: str) -> None:
    """Raises ExportBroken unless the PDF opens and has a page."""
    said, why = _asked(ctx, "count_pages.py", path, name)
    if why:
        raise _broken(name, f"can't be opened as a PDF ({why})")
    if not said.isdigit() or int(said) < 1:
        raise _broken(name, "has no page")


def inspect_page_content(ctx: Context, path: Path, name: str) -> None:
    """Raises ExportBroken unless the page's JSON is an object."""
    if path.stat().st_size > PAGE_BYTES:
        raise _broken(name, f"is larger than {PAGE_BYTES / 1e6:.0f} MB")
    said, why = _asked(ctx, "read_page.py", path, name)
    if said != "page":
        raise _broken(name, said[:300] or f"is not valid JSON ({why})")


def _asked(ctx: Context, tool: str, path: Path, name: str) -> tuple[str, str]:
    """What one of our tools says of a file, and why it failed, if it did. It runs in the build's sandbox, without a network.

    Raises:
        ExportBroken: it took too long.
        DiskFull, MemoryFull: the service's disk is nearly full, or its machine has no memory left.
    """
    if ctx.sandbox:
        ctx.sandbox.hand_over()
    lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
    ended = process.run(
        [sys.executable, "-I", str(TOOLS / tool), str(path), str(READER_MEMORY_BYTES)],
        cwd=ctx.workspace,
        env={},
        on_line=lambda stream, text: lines[stream].append(text),
        deadline_seconds=READER_SECONDS,
        stop=ctx.stop,
        marker=ctx.build_id,
        output=OutputAllowance(READER_OUTPUT_BYTES),
        grace_seconds=0,
        sandbox=ctx.sandbox,
        ceilings=ctx.limits.ceilings,
        groups=ctx.groups,
    )
    if ended.timed_out:
        raise _broken(name, f"could not be read within {READER_SECONDS} s")
    if ended.hit and ended.hit.error.fault is Fault.SERVICE:
        raise ended.hit.error(f"Failed to build the repo files: while {name} was read, {ended.hit.text}")
    if ended.exit_code == 0:
        return "".join(lines["stdout"][:1]), ""
    return "", ended.hit.text if ended.hit else (lines["stderr"] or ["no reason given"])[-1][:200]


def inspect_meca(path: Path, name: str, limits: Limits, *, check: Callable[[], None], warn: Callable[[str], object]) -> None:
    """Raises ExportBroken unless the zip is intact, its names are harmless, its manifest names only what is there, and its XML parses.

    ``check`` is called often and may raise. XML among the manuscript's own sources that does not parse is told to ``warn`` only: it
    was bundled as it is.
    """
    try:
        with within_limits(path, name, limits) as archive:
            files = {info.filename: info for info in archive.infolist() if not info.is_dir()}
            for info in files.values():
                check()
                _read_through(archive, info)
            _check_manifest(archive, files, name)
            _check_xml(archive, files, name, warn)
    except UNREADABLE as error:
        raise _broken(name, f"is no intact zip archive ({error})") from error


@contextmanager
def within_limits(path: Path, name: str, limits: Limits) -> Iterator[zipfile.ZipFile]:
    """The zip, opened. Raises ExportBroken, or one of UNREADABLE, unless its list of entries is one to read further by."""
    _check_size(path, name, limits)
    with zipfile.ZipFile(path) as archive:
        _check_entries([info for info in archive.infolist() if not info.is_dir()], name, limits)
        yield archive


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
    if files[MANIFEST].file_size > XML_BYTES:
        raise _broken(name, f"its {MANIFEST} is larger than {XML_BYTES / 1e6:.0f} MB")
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
        problem = _xml_problem(archive, files[file_name])
        if problem and file_name.startswith(SOURCES):
            warn(f"{file_name.removeprefix(SOURCES)}, which is bundled as it is, is no well-formed XML ({problem}).")
        elif problem:
            raise _broken(name, f"its {file_name} is no well-formed XML ({problem})")


def _xml_problem(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
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
