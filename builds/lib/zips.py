"""Opens an untrusted zip archive once it is known that its list of entries is small (APPNOTE.TXT §4.3.12 to §4.3.16).

A library loads the whole list into memory. It reads to the end of the list, whatever number of entries the archive claims, and the time
for an entry's extra fields grows with the square of their length: a list of 32 MB takes Python 8 s. So the list is checked here first.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

END = struct.Struct("<4s4H2LH")
LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
MAX_COMMENT = 0xFFFF
# An entry of the list begins like this, and has the length of its extra fields at byte 30 of at least 46.
LISTED, LISTED_BYTES, EXTRA_LENGTH = re.compile(b"PK\x01\x02"), 46, 30
CHUNK = 1 << 20
# Only these two are unpacked in pieces of the requested size. With others, a few bytes may become gigabytes at once.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What reading an entry raises if the archive is damaged, encrypted or uses what Python does not support.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, UnicodeDecodeError, struct.error)
# For each entry, on average. A name has at most a few hundred bytes. A short list may have longer ones.
MAX_LISTED_BYTES, MAX_SHORT_LIST_BYTES = 256, 4 << 20
# Of one entry. Programs write its times and its owner there, in about 30 bytes, or its name once more.
MAX_EXTRA_BYTES = 1024
# Placeholders: the number is in the 64-bit record.
SENTINELS = {0xFFFF, 0xFFFFFFFF}


class NotAnArchive(ValueError):
    """The file is not a zip archive, or is not intact. The message says why."""


class TooManyEntries(ValueError):
    """The archive lists more entries than it may, or its list is longer than one of so many entries is."""


@dataclass(frozen=True)
class ZipEnd:
    """The end of an archive, as it claims to be.

    ``entries`` are in its list (the central directory), which has ``list_bytes``. A reader looks for the list between the bytes
    ``list_from`` and ``list_to`` of the file.
    """

    entries: int
    list_bytes: int
    comment: bytes
    list_from: int
    list_to: int


# An archive on disk, or open for reading from any place.
Source = Path | IO[bytes]


@contextmanager
def _readable(source: Source) -> Iterator[IO[bytes]]:
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
    else:
        yield source


@contextmanager
def opened(source: Source, max_entries: int) -> Iterator[zipfile.ZipFile]:
    """The archive, open for reading. Takes up to about 1 kB and 20 µs for each of ``max_entries``.

    Raises:
        TooManyEntries: its list is too long.
        NotAnArchive: it can't be read.
    """
    with _readable(source) as file:
        check_list(file, max_entries)
        try:
            archive = zipfile.ZipFile(file)
        except DAMAGED as error:
            raise NotAnArchive(str(error)) from error
        with archive:
            if len(archive.infolist()) > max_entries:
                raise TooManyEntries
            yield archive


def check_list(source: Source, max_entries: int) -> None:
    """Check the list of an archive, in a time and memory that do not depend on what it contains.

    Raises:
        TooManyEntries, NotAnArchive: as for :func:`opened`.
    """
    with _readable(source) as file:
        _check_list(file, max_entries)


def _check_list(file: IO[bytes], max_entries: int) -> None:
    end = read_end(file)
    max_bytes = max(max_entries * MAX_LISTED_BYTES, MAX_SHORT_LIST_BYTES)
    if end.entries > max_entries or end.list_bytes > max_bytes or end.list_to - end.list_from > max_bytes + MAX_SHORT_LIST_BYTES:
        raise TooManyEntries
    for number, extra_bytes in enumerate(_listed(file, end.list_from, end.list_to), 1):
        if number > max_entries:
            raise TooManyEntries
        if extra_bytes > MAX_EXTRA_BYTES:
            raise NotAnArchive(f"its list of files has an entry with {extra_bytes:,} bytes of extra fields")


def read_end(source: Source) -> ZipEnd:
    """Read the end of an archive.

    Raises:
        NotAnArchive: the file has no such end.
    """
    with _readable(source) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - END.size - MAX_COMMENT - LOCATOR.size))
        tail = file.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or at + END.size > len(tail):
            raise NotAnArchive("the file has no end of a zip archive")
        _signature, _disk, _start, _here, entries, list_bytes, _offset, length = END.unpack_from(tail, at)
        claims = [] if SENTINELS & {entries, list_bytes} else [(entries, list_bytes)]
        comment = tail[at + END.size : at + END.size + length]
        records = _records64(file, tail, at, size)
        claims += records.values()
        entries, list_bytes = (max(numbers) for numbers in zip(*(claims or [(entries, list_bytes)]), strict=True))
    ends_at = size - len(tail) + at
    return ZipEnd(entries, list_bytes, comment, max(0, min([ends_at, *records]) - list_bytes), ends_at)


def _records64(file: IO[bytes], tail: bytes, at: int, size: int) -> dict[int, tuple[int, int]]:
    """The place of each 64-bit record, and the number of entries and the size of the list that it claims. ``tail`` is the end of the file
    of ``size``."""
    if at < LOCATOR.size or not tail[at - LOCATOR.size :].startswith(b"PK\x06\x07"):
        return {}
    # Readers differ in where they look for the record: where the locator says, or right before the locator.
    offsets = {LOCATOR.unpack_from(tail, at - LOCATOR.size)[2], size - len(tail) + at - LOCATOR.size - END64.size}
    records = {}
    for offset in offsets:
        file.seek(max(0, min(offset, size)))
        record = file.read(END64.size)
        if len(record) == END64.size and record.startswith(b"PK\x06\x06"):
            records[offset] = END64.unpack(record)[7:9]
    return records


def _listed(file: IO[bytes], start: int, end: int) -> Iterator[int]:
    """For each entry that can be listed between two places, the bytes of its extra fields. Names may contain what looks like an entry."""
    file.seek(start)
    left, rest = end - start, b""
    while left > 0 and (chunk := file.read(min(CHUNK, left))):
        left -= len(chunk)
        data = rest + chunk
        complete = max(0, len(data) - LISTED_BYTES + 1)
        for found in LISTED.finditer(data, 0, min(complete + 3, len(data))):
            yield int.from_bytes(data[found.start() + EXTRA_LENGTH : found.start() + EXTRA_LENGTH + 2], "little")
        rest = data[complete:]


def is_archive(path: Path) -> bool:
    """Whether the file ends as a zip archive does. A download that was cut off does not."""
    try:
        read_end(path)
    except NotAnArchive:
        return False
    return True


def folder_order(info: zipfile.ZipInfo) -> bytes:
    """A sort key: depth first, each folder's entries in the order of their bytes. Fast even for names of thousands of folders."""
    return info.filename.replace("/", "\0").encode("utf-8", "replace")


def names(info: zipfile.ZipInfo) -> tuple[str, ...]:
    """Each name of an entry, ``filename`` first: that one is used, and all must be safe. From Python 3.12 on, the extra field 0x7075 can
    give ``filename`` another value than the list of entries has."""
    return tuple(dict.fromkeys((info.filename, info.orig_filename)))


def leads_out(info: zipfile.ZipInfo) -> bool:
    """Whether a name of the entry leads out of the folder that the archive is unpacked to, or is cut off by a NUL."""
    return any(name.startswith(("/", "\\")) or "\0" in name or ".." in re.split(r"[/\\]", name) for name in names(info))
