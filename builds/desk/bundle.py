"""Looking into a zip archive that a stranger's build made: bounded in every direction."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

from django.http import Http404

from builds import zip_end

MOST_LISTED = 2000
# Of their names, each of which may have 65,535.
MOST_CHARACTERS = 500_000
MOST_ENTRIES = 100_000
MOST_LIST_BYTES = 32 << 20
# Of the folders that a file is in so many are shown by their own line, and the rest in the file's.
MOST_FOLDERS = 20
# Unpacked, one file of it; what is larger can be downloaded with the bundle.
MOST_SENT = 64 << 20
CHUNK = 1 << 16
BEGINNING = 4096


@dataclass(frozen=True)
class Listed:
    """A folder or file of the tree. ``depth`` is how many folders it is in."""

    name: str
    path: str
    depth: int
    size: int | None


@dataclass(frozen=True)
class Tree:
    entries: list[Listed]
    left_out: int
    problem: str = ""


def tree(file: Path) -> Tree:
    """The archive's folders and files in the order of their names."""
    try:
        with _opened(file) as archive:
            files = sorted((info for info in archive.infolist() if not info.is_dir()), key=zip_end.order)
    except (ValueError, zipfile.BadZipFile, OSError) as error:
        return Tree([], 0, f"This bundle can't be opened: {error}.")
    listed: list[Listed] = []
    before: list[str] = []
    shown = len(
        list(takewhile(lambda size: size <= MOST_CHARACTERS, accumulate(len(info.filename) for info in files[:MOST_LISTED])))
    )
    for info in files[:shown]:
        *folders, name = info.filename.split("/", MOST_FOLDERS)
        for depth, folder in enumerate(folders):
            if before[: depth + 1] != folders[: depth + 1]:
                listed.append(Listed(folder, "", depth, None))
        listed.append(Listed(name, info.filename, len(folders), info.file_size))
        before = folders
    return Tree(listed, len(files) - shown)


def _opened(file: Path) -> zipfile.ZipFile:
    end = zip_end.read(file)
    if end.entries > MOST_ENTRIES or end.list_bytes > MOST_LIST_BYTES:
        raise ValueError(f"it lists {end.entries:,} files")
    return zipfile.ZipFile(file)


@dataclass(frozen=True)
class Entry:
    """One file of an archive."""

    archive: Path
    name: str

    @classmethod
    def of(cls, archive: Path, name: str) -> Entry:
        """The entry called so; nothing is there where the archive has none, or can't be opened."""
        try:
            with _opened(archive) as opened:
                method = opened.getinfo(name).compress_type
        except (ValueError, KeyError, zipfile.BadZipFile, OSError) as error:
            raise Http404("The bundle holds no such file.") from error
        if method not in zip_end.METHODS:
            raise Http404("The file is packed in a way that is not opened here.")
        return cls(archive, name)

    def beginning(self) -> bytes:
        return self.read(BEGINNING)

    def read(self, most: int) -> bytes:
        """Its first bytes; what is damaged after them is left out."""
        return b"".join(self._parts(most))

    def chunks(self) -> Iterator[bytes]:
        return self._parts(MOST_SENT)

    def _parts(self, most: int) -> Iterator[bytes]:
        with _opened(self.archive) as archive:
            try:
                with archive.open(self.name) as file:
                    while most > 0 and (chunk := file.read(min(CHUNK, most))):
                        most -= len(chunk)
                        yield chunk
            except DAMAGED:
                return


DAMAGED: Any = (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, OSError, EOFError, zlib.error)
