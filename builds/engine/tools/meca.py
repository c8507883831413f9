"""Checks a MECA, and fixes the invalid XML that mystmd is known to write. Run by read_exports.py, within its limits."""

import io
import json
import lzma
import re
import shutil
import stat
import sys
import xml.sax
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import quoteattr

import defusedxml.sax
from defusedxml import DefusedXmlException

sys.path.insert(0, str(Path(__file__).parent))  # an isolated Python does not look beside the program

import jats  # type: ignore[import-not-found]  # beside this program

MAX_XML_BYTES = 64 << 20
MANIFEST = "manifest.xml"
METADATA = "article-metadata"
XML = (".xml", ".jats")
MAX_ARTICLES = 20
SOURCES = "bundle/"
CHUNK = 1 << 20
MAX_WARNINGS, MAX_NAMED = 20, 10
# Only these two are unpacked in pieces of the requested size. With others, a few bytes may become gigabytes at once, here and when the
# service delivers them. The same as in builds/lib/zips.py, which can't be imported here.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
HREF = re.compile(rb'(?<=href=)"([^"]*)"')
CODE = re.compile(rb"<code\b[^<>]*>[^<]*</code>")
# Characters that XML does not allow (XML 1.0 §2.2), in UTF-8.
FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]")


class _Broken(Exception):
    """Why the MECA can't be accepted."""


def read(path: Path, *, max_entries: int, max_bytes: int, pages: dict[str, Any] | None = None) -> Iterator[tuple[str, str]]:
    """Pairs of a key and a text: ``fixed``, ``warning``, ``contents`` and ``lost``; last ``problem``, empty if there is none.

    A MECA has no problem if the zip is intact and within the limits (``max_bytes`` unpacked), its names are harmless, its manifest
    names only existing files, its XML parses, and it holds a JATS article. Invalid XML among the manuscript's own sources is only a
    warning: it was bundled as it is. ``contents`` names what lies only in the MECA. Each ``lost`` is JSON: what the JATS lacks of
    the ``pages``, which are the arguments of :func:`jats.compare`.
    """
    try:
        _check_entries(path, max_entries, max_bytes)
        if fixed := _fix(path):
            yield "fixed", _listed(fixed)
        with zipfile.ZipFile(path) as archive:
            files = {info.filename: info for info in archive.infolist() if not info.is_dir()}
            for info in files.values():
                _read_through(archive, info)
            named = _check_manifest(archive, files)
            articles: dict[str, jats.Reader] = {}
            for warning in _check_xml(archive, files, articles):
                yield "warning", warning
            article = _article(articles, named)
            yield "contents", _contents(article, named)
            for lost in _compare(articles[article], pages):
                yield "lost", json.dumps(lost)
        yield "problem", ""
    except _Broken as error:
        yield "problem", str(error)
    except UNREADABLE as error:
        yield "problem", f"is not an intact zip archive ({error})"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def _check_entries(path: Path, max_entries: int, max_bytes: int) -> None:
    with zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > max_entries:
        raise _Broken(f"contains more than {max_entries} files, the limit of this service")
    if sum(info.file_size for info in infos) > max_bytes:
        raise _Broken(f"unpacks to more than {max_bytes / 1e6:g} MB, the limit of this service")
    for info in infos:
        for name in (info.filename, info.orig_filename):  # the extra field 0x7075 can make them differ
            parts = re.split(r"[/\\]", name)
            if parts[0] == "" or ".." in parts or "\0" in name:
                raise _Broken(f"contains {name[:300]!r}, a path that leads out of it")
        if info.create_system == 3 and stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise _Broken(f"contains {info.filename[:300]!r}, which is not an ordinary file")
        if info.compress_type not in METHODS:
            raise _Broken(
                f"contains {info.filename[:300]!r}, which uses an unsupported compression method (only Deflate is accepted)"
            )


def _read_through(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Reading to the end checks the checksum."""
    with archive.open(info) as file:
        while file.read(CHUNK):
            pass


def _check_manifest(archive: zipfile.ZipFile, files: dict[str, zipfile.ZipInfo]) -> dict[str, str]:
    """The files that the manifest names, each with its type."""
    if MANIFEST not in files:
        raise _Broken(f"does not contain a {MANIFEST}")
    named = Hrefs()
    if files[MANIFEST].file_size > MAX_XML_BYTES:
        raise _Broken(f"its {MANIFEST} is larger than {MAX_XML_BYTES / 1e6:.0f} MB")
    with archive.open(MANIFEST) as file:
        if problem := xml_problem(file, named):
            raise _Broken(f"its {MANIFEST} is not well-formed XML ({problem})")
    paths = _Paths(files)
    missing = [href for href in named.found if not paths.include(href)]
    if missing:
        raise _Broken(f"its {MANIFEST} names {', '.join(missing[:5])}, which is not in it")
    return named.types


def _article(articles: dict[str, jats.Reader], named: dict[str, str]) -> str:
    """The name of the JATS article."""
    found = list(choose({name: reader.root for name, reader in articles.items()}, named))
    for name in found:
        if articles[name].root != "article":
            raise _Broken(f"its JATS {name[:300]} has no article")
    if not found:
        raise _Broken("does not contain a JATS article")
    return found[0]


def choose(roots: dict[str, str], named: dict[str, str]) -> Iterator[str]:
    """The JATS articles, first the one to read: those that the manifest describes the manuscript with, then any other article.

    ``roots`` has the root element of each XML file, and ``named`` the type of each file that the manifest names.
    """
    yield from (name for name, kind in named.items() if kind == METADATA and name in roots)
    yield from (name for name, root in roots.items() if root == "article")


def _contents(article: str, named: dict[str, str]) -> str:
    manuscripts = [name for name, kind in named.items() if kind == "manuscript"]
    return f"the JATS article {article}" + (f", {_listed(manuscripts)}" if manuscripts else "")


def _compare(reader: jats.Reader, pages: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """What the JATS lacks. Pages of an unexpected form end the comparison, and not the reading."""
    if pages:
        folder, source = Path(pages["folder"]), Path(pages["source"])
        with suppress(AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError):
            yield from jats.compare(reader, folder, source, pages["locations"], pages["dropped"])


class _Paths:
    """The files of a MECA, and the folders that contain them."""

    def __init__(self, files: dict[str, zipfile.ZipInfo]) -> None:
        self._paths = set(files)
        for name in files:
            # Stop at the first known folder: its parents are known too, and a name may have thousands of folders.
            while (name := name.rpartition("/")[0]) and name not in self._paths:
                self._paths.add(name)

    def include(self, href: str) -> bool:
        if urlsplit(href).scheme in ("http", "https", "doi", "mailto"):
            return True
        return any(name.removeprefix("./").rstrip("/") in self._paths for name in (href, unquote(href)))


def _check_xml(archive: zipfile.ZipFile, files: dict[str, zipfile.ZipInfo], articles: dict[str, jats.Reader]) -> Iterator[str]:
    """Check the XML files. Yields a warning for each invalid one among the sources, and adds the others to ``articles``."""
    warned = 0
    for name, info in files.items():
        if not name.lower().endswith(XML) or name == MANIFEST:
            continue
        reader = jats.Reader()
        if not (problem := _problem_of(archive, info, reader)):
            if not name.startswith(SOURCES) and len(articles) < MAX_ARTICLES:
                articles[name] = reader
            continue
        if not name.startswith(SOURCES):
            raise _Broken(f"its {name[:300]} is not well-formed XML ({problem})")
        warned += 1
        if warned <= MAX_WARNINGS:
            yield f"{name.removeprefix(SOURCES)[:300]}, which is bundled as it is, is not well-formed XML ({problem})."
    if warned > MAX_WARNINGS:
        yield f"{warned - MAX_WARNINGS} more XML files, which are bundled as they are, are not well-formed."


def _problem_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo, handler: xml.sax.ContentHandler) -> str:
    """Large files are not parsed: a parser may hold a single word of a document in memory as a whole."""
    if info.file_size > MAX_XML_BYTES:
        return f"larger than {MAX_XML_BYTES / 1e6:.0f} MB, and not checked"
    with archive.open(info) as file:
        return xml_problem(file, handler)


class Hrefs(xml.sax.ContentHandler):
    """Collects what the elements of a manifest refer to, with the type of the item that they are in."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.types: dict[str, str] = {}
        self._type = ""

    def startElement(self, name: str, attrs: Any) -> None:
        if name.rpartition(":")[2] == "item":
            self._type = attrs.get("item-type", attrs.get("type", ""))
        for value in [value for key, value in attrs.items() if key.rpartition(":")[2] == "href" and value]:
            self.found.append(value)
            self.types.setdefault(unquote(value).removeprefix("./"), self._type)


def xml_problem(file: IO[bytes], handler: xml.sax.ContentHandler) -> str:
    """Why the file is not well-formed XML; empty if it is. Entities are refused, not expanded."""
    try:
        defusedxml.sax.parse(file, handler, forbid_external=False)  # a document may name a DTD, which is never fetched
    except xml.sax.SAXParseException as error:
        return f"line {error.getLineNumber()}: {error.getMessage()}"
    except (xml.sax.SAXException, DefusedXmlException, LookupError) as error:
        return str(error)[:200]
    return ""


# --- fixing


def _fix(path: Path) -> list[str]:
    """Fix XML that mystmd wrote: file names with ``&`` or ``<``, and the author's control characters. Sources stay as they are.

    Returns the names of the fixed files. Returns none, and changes nothing, if the archive is damaged or can't be written.
    """
    new = path.with_name(f"{path.name}.fixed")
    try:
        with zipfile.ZipFile(path) as archive:
            fixed = {info.filename: text for info in archive.infolist() if (text := _fixed(archive, info)) is not None}
            if fixed:
                new.unlink(missing_ok=True)  # the build may have left a link with this name
                _rewrite(archive, fixed, new)
                new.replace(path)
    except UNREADABLE:
        new.unlink(missing_ok=True)
        return []
    return list(fixed)


def _fixed(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | None:
    """The file as well-formed XML, with its code as it was written. None if it needs no fix, or can't be fixed."""
    if not info.filename.endswith(".xml") or info.filename.startswith(SOURCES) or info.file_size > MAX_XML_BYTES:
        return None
    written = archive.read(info)
    if not _problem(written):
        unescaped = written if info.filename == MANIFEST else CODE.sub(_unescaped, written)
        return None if unescaped == written else unescaped
    fixed = FORBIDDEN.sub(b"", HREF.sub(_quoted, written) if info.filename == MANIFEST else written)
    return None if _problem(fixed) else fixed


def _unescaped(code: re.Match[bytes]) -> bytes:
    """mystmd escapes each < of code twice, so that readers see &lt; in its place."""
    return code[0].replace(b"&amp;lt;", b"&lt;")


def _quoted(match: re.Match[bytes]) -> bytes:
    name = match.group(1).decode("utf-8", "surrogateescape").replace("&quot;", '"')
    return quoteattr(name, {'"': "&quot;"}).encode("utf-8", "surrogateescape")


def _problem(document: bytes) -> str:
    return xml_problem(io.BytesIO(document), xml.sax.ContentHandler())


def _rewrite(archive: zipfile.ZipFile, fixed: dict[str, bytes], new: Path) -> None:
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as copy:
        for info in archive.infolist():
            if info.filename in fixed:
                copy.writestr(info, fixed[info.filename])
            else:
                with archive.open(info) as source, copy.open(info, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, CHUNK)
