"""A cure for what mystmd writes into a bundle's manifest.xml: the names of files with ``&`` and ``<`` as they are, which is no XML."""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from pathlib import Path
from xml.sax import ContentHandler
from xml.sax.saxutils import quoteattr

from builds.inspection import MANIFEST, UNREADABLE, xml_problem

HREF = re.compile(rb'(?<=href=)"([^"]*)"')
MANIFEST_BYTES = 64 << 20


def mend(path: Path) -> bool:
    """Write the names in the manifest of the MECA at ``path`` as XML has them. Returns whether that was needed, and helped."""
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(MANIFEST)
            if info.file_size > MANIFEST_BYTES:
                return False
            written = archive.read(info)
            mended = HREF.sub(_quoted, written)
            if not _problem(written) or _problem(mended):
                return False
            _rewrite(archive, mended, path)
    except (*UNREADABLE, KeyError):
        return False  # what is wrong with it is told when it is inspected
    return True


def _quoted(match: re.Match[bytes]) -> bytes:
    name = match.group(1).decode("utf-8", "surrogateescape").replace("&quot;", '"')
    return quoteattr(name, {'"': "&quot;"}).encode("utf-8", "surrogateescape")


def _problem(manifest: bytes) -> str:
    return xml_problem(io.BytesIO(manifest), ContentHandler())


def _rewrite(archive: zipfile.ZipFile, manifest: bytes, path: Path) -> None:
    new = path.with_name(f"{path.name}.mended")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as copy:
        for info in archive.infolist():
            if info.filename == MANIFEST:
                copy.writestr(info, manifest)
            else:
                with archive.open(info) as source, copy.open(info, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    new.replace(path)
