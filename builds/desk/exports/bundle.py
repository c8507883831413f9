"""Reads the zip archive of an untrusted build. Every size has a limit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Any

from django.http import Http404

from builds.lib import zips
from builds.record.kept_exports import KeptFile

MAX_LISTED = 2000
# Of all names together. A single name can have 65,535 characters.
MAX_NAME_CHARACTERS = 500_000
# A larger bundle can only be downloaded: a web process must not hold a list of a hundred megabytes for each request.
MAX_ENTRIES = 20_000
# At most this many parent folders get their own row; deeper ones stay part of the file's name.
MAX_FOLDERS = 20
# Of one unpacked file. The rest of a larger file is only in the downloaded bundle.
MAX_SENT_BYTES = 64 << 20
CHUNK = 1 << 16
BEGINNING = 4096


@dataclass(frozen=True)
class Listed:
    """A folder or file of the tree. ``depth`` is the number of its parent folders."""

    name: str
    path: str
    depth: int
    size: int | None


@dataclass(frozen=True)
class Tree:
    entries: list[Listed]
    left_out: int
    problem: str = ""


def read_tree(file: KeptFile) -> Tree:
    """The archive's folders and files, ordered by name."""
    try:
        with file.open() as opened, zips.opened(opened, MAX_ENTRIES) as archive:
            files = sorted((info for info in archive.infolist() if not info.is_dir()), key=zips.folder_order)
    except zips.TooManyEntries:
        return Tree([], 0, f"This bundle is too large to show: it lists more than {MAX_ENTRIES:,} files. It can be downloaded.")
    except (zips.NotAnArchive, OSError) as error:
        return Tree([], 0, f"This bundle cannot be opened: {error}.")
    listed: list[Listed] = []
    before: list[str] = []
    characters = accumulate(len(info.filename) for info in files[:MAX_LISTED])
    shown = len(list(takewhile(lambda total: total <= MAX_NAME_CHARACTERS, characters)))
    for info in files[:shown]:
        *folders, name = info.filename.split("/", MAX_FOLDERS)
        for depth, folder in enumerate(folders):
            if before[: depth + 1] != folders[: depth + 1]:
                listed.append(Listed(folder, "", depth, None))
        listed.append(Listed(name, info.filename, len(folders), info.file_size))
        before = folders
    return Tree(listed, len(files) - shown)


@dataclass(frozen=True)
class Entry:
    """One file of an archive."""

    archive: KeptFile
    name: str

    @classmethod
    def of(cls, archive: KeptFile, name: str) -> Entry:
        """The entry with this name.

        Raises:
            Http404: the archive has no such entry, or the entry or the archive cannot be opened.
        """
        try:
            with archive.open() as file, zips.opened(file, MAX_ENTRIES) as opened:
                method = opened.getinfo(name).compress_type
        except (zips.NotAnArchive, zips.TooManyEntries, KeyError, OSError) as error:
            raise Http404("The bundle does not contain this file.") from error
        if method not in zips.METHODS:
            raise Http404("The file uses an unsupported compression method.")
        return cls(archive, name)

    @classmethod
    def begun(cls, archive: KeptFile, name: str) -> tuple[bytes, Iterator[bytes]]:
        """The first bytes of the entry with this name, and all of it. The archive is opened once.

        Raises:
            Http404: as for :meth:`of`.
        """
        parts = cls(archive, name)._parts(MAX_SENT_BYTES)
        try:
            first = next(parts, b"")
        except (zips.NotAnArchive, zips.TooManyEntries, KeyError, OSError) as error:
            raise Http404("The bundle does not contain this file.") from error
        return first[:BEGINNING], _joined(first, parts)

    def read_beginning(self) -> bytes:
        return self.read(BEGINNING)

    def read(self, limit: int) -> bytes:
        """At most ``limit`` bytes from the start. Ends early if the rest is damaged."""
        return b"".join(self._parts(limit))

    def chunks(self) -> Iterator[bytes]:
        return self._parts(MAX_SENT_BYTES)

    def _parts(self, limit: int) -> Iterator[bytes]:
        with self.archive.open() as opened, zips.opened(opened, MAX_ENTRIES) as archive:
            if archive.getinfo(self.name).compress_type not in zips.METHODS:
                raise Http404("The file uses an unsupported compression method.")
            try:
                with archive.open(self.name) as file:
                    while limit > 0 and (chunk := file.read(min(CHUNK, limit))):
                        limit -= len(chunk)
                        yield chunk
            except DAMAGED:
                return


def _joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


DAMAGED: Any = (*zips.DAMAGED, ValueError, OSError)
