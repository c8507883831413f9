"""Finds the JATS article in a MECA bundle, and renders it once for all who read it in the same hour."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from zipfile import ZipFile

from django.core.cache import caches
from django.utils.safestring import SafeString, mark_safe

from builds.desk.exports import bundle
from builds.desk.exports.bundle import Entry
from builds.engine.manuscript import article_html, limited
from builds.engine.manuscript.article_html import MAX_JATS_BYTES
from builds.lib import zips
from builds.models import Artifact
from builds.record.kept_exports import KeptFile

MANIFEST, MAX_MANIFEST_BYTES = "manifest.xml", 8 << 20
# The same as in builds/engine/tools/meca.py, which can't be imported here.
XML, SOURCES, MAX_FILES = (".xml", ".jats"), "bundle/", 20
BEGINNING = 1 << 16
NO_PANDOC = "Pandoc is not installed on this server, so the article can't be shown as a page."
NO_ARTICLE = "The bundle has no JATS article."
TOO_LARGE = f"The JATS article is larger than {MAX_JATS_BYTES >> 20} MB, the limit for showing it as a page."
NOT_RENDERED = "The JATS article can't be shown as a page: pandoc can't read it, or not within the limits of time and memory."
BUSY = "Another article is being prepared. Load this page again in a moment."
INTERRUPTED = "The article could not be prepared this time, because the server is too busy. Load this page again in a moment."
# Pandoc takes a whole processor. More would slow down the other pages.
_one_at_a_time = threading.BoundedSemaphore(1)
# A web process has few threads, and all of them can be waiting here.
WAIT_SECONDS = 1.0
RETRY_AFTER_SECONDS = 5


@dataclass(frozen=True)
class Reading:
    """An article as HTML, or why it can't be shown. ``entry`` is its name in the bundle; empty if there is none."""

    html: SafeString | None = None
    problem: str = ""
    entry: str = ""

    @property
    def is_passing(self) -> bool:
        """Whether the problem may be gone in a moment."""
        return self.problem in (BUSY, INTERRUPTED)


def read(artifact: Artifact, file: KeptFile) -> Reading:
    """The article of the bundle ``file``. It was rendered before, or no other may be rendered meanwhile."""
    if kept := caches["articles"].get(artifact.sha256):
        return _made(*kept)
    if not _one_at_a_time.acquire(timeout=WAIT_SECONDS):
        return Reading(problem=BUSY)
    try:
        made = caches["articles"].get(artifact.sha256) or _render(file)
    except limited.Interrupted:
        return Reading(problem=INTERRUPTED)
    finally:
        _one_at_a_time.release()
    if made[1] != NO_PANDOC:
        caches["articles"].set(artifact.sha256, made)
    return _made(*made)


def _made(html: str, problem: str, entry: str) -> Reading:
    return Reading(mark_safe(html) if html else None, problem, entry)  # noqa: S308 - render_article.py has cleaned it


def _render(file: KeptFile) -> tuple[str, str, str]:
    """The HTML, the problem and the entry, as they are kept."""
    pandoc, article = article_html.find_pandoc(), find_article(file)
    if article is None:
        return "", NO_ARTICLE, ""
    if pandoc is None:
        return "", NO_PANDOC, article.name
    document = article.read(MAX_JATS_BYTES + 1)
    if len(document) > MAX_JATS_BYTES:
        return "", TOO_LARGE, article.name
    html = article_html.render(document, posixpath.dirname(article.name), pandoc)
    return html or "", "" if html else NOT_RENDERED, article.name


def find_article(file: KeptFile) -> Entry | None:
    """The article as the checks of the build found it. None of an archive that can't be opened.

    Raises:
        limited.Interrupted: it may be found another time.
    """
    try:
        with file.open() as opened, zips.opened(opened, bundle.MAX_ENTRIES) as archive:
            manifest, files = _beginning(archive, MANIFEST, MAX_MANIFEST_BYTES), dict(_xml_files(archive))
    except (zips.NotAnArchive, zips.TooManyEntries, OSError):
        return None
    found = article_html.find(manifest, files)
    return Entry(file, found) if found in files else None


def _xml_files(archive: ZipFile) -> Iterator[tuple[str, bytes]]:
    """The first XML files outside the sources, each with its beginning."""
    names = dict.fromkeys(info.filename for info in archive.infolist() if info.compress_type in zips.METHODS)
    files = (name for name in names if name.lower().endswith(XML) and name != MANIFEST and not name.startswith(SOURCES))
    return ((name, _beginning(archive, name, BEGINNING)) for name in islice(files, MAX_FILES))


def _beginning(archive: ZipFile, name: str, limit: int) -> bytes:
    """The first bytes of an entry; empty if it is missing or damaged."""
    try:
        info = archive.getinfo(name)
        with archive.open(info) as file:
            return file.read(limit) if info.compress_type in zips.METHODS else b""
    except (*bundle.DAMAGED, KeyError):
        return b""
