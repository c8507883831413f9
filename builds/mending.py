"""Cures for what mystmd writes into a bundle that is no XML: file names with ``&`` and ``<``, control characters of the author's."""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from pathlib import Path
from xml.sax import ContentHandler
from xml.sax.saxutils import quoteattr

from builds.errors import ExportBroken
from builds.inspection import MANIFEST, SOURCES, UNREADABLE, XML_BYTES, check_limits, xml_problem
from builds.stages import Limits

HREF = re.compile(rb'(?<=href=)"([^"]*)"')
# What no XML document may hold (XML 1.0 §2.2), in UTF-8.
FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]")


def mend(path: Path, limits: Limits) -> list[str]:
    """Mend the XML that mystmd has made in the MECA at ``path``; the author's own sources stay as they are.

    Returns the names of what was mended; none where it is larger than ``limits``, or damaged: that is told when it is inspected.
    """
    try:
        check_limits(path, path.name, limits)
        with zipfile.ZipFile(path) as archive:
            mended = {info.filename: new for info in archive.infolist() if (new := _mended(archive, info)) is not None}
            if mended:
                _rewrite(archive, mended, path)
    except (ExportBroken, *UNREADABLE):
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
    return xml_problem(io.BytesIO(document), ContentHandler())


def _rewrite(archive: zipfile.ZipFile, mended: dict[str, bytes], path: Path) -> None:
    new = path.with_name(f"{path.name}.mended")
    new.unlink(missing_ok=True)  # a build may have left a link of that name
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as copy:
        for info in archive.infolist():
            if info.filename in mended:
                copy.writestr(info, mended[info.filename])
            else:
                with archive.open(info) as source, copy.open(info, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    new.replace(path)
