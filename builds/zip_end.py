"""The end of a zip archive, read without reading the archive: how much it lists, and its comment (APPNOTE.TXT §4.3.12 to §4.3.16).

A library would first load the whole list of entries into memory, however long a hostile archive has made it: it reads on to the end of
the list, whatever number of entries the archive says that it has. So they are counted. And what else must be known of an entry before a
library may take it.
"""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

END = struct.Struct("<4s4H2LH")
LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
LONGEST_COMMENT = 0xFFFF
LISTED, LEAST_LISTED = b"PK\x01\x02", 46
CHUNK = 1 << 20
# These two are unpacked by pieces of the size that is asked for; of others, a few bytes may become gigabytes at once.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# A longer list is not read, and taken to hold as many entries as it can.
MOST_COUNTED = 512 << 20
# Stand where the number is in the longer record.
SENTINELS = {0xFFFF, 0xFFFFFFFF}


class NotAnArchive(ValueError):
    """The file has no end of a zip archive."""


@dataclass(frozen=True)
class ZipEnd:
    """``list_bytes`` is the size of the list of entries, the central directory. There are no more than ``entries`` in it."""

    entries: int
    list_bytes: int
    comment: bytes


def read(path: Path) -> ZipEnd:
    """Read the end of the archive at ``path``.

    Raises:
        NotAnArchive: there is none.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - END.size - LONGEST_COMMENT - LOCATOR.size))
        tail = file.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or at + END.size > len(tail):
            raise NotAnArchive("no end of a zip archive")
        _signature, _disk, _start, _here, entries, list_bytes, _offset, length = END.unpack_from(tail, at)
        told = [] if SENTINELS & {entries, list_bytes} else [(entries, list_bytes)]
        comment = tail[at + END.size : at + END.size + length]
        if at >= LOCATOR.size and tail[at - LOCATOR.size :].startswith(b"PK\x06\x07"):
            # Readers differ in where they look for it: where the locator says, or right before the locator.
            offsets = {LOCATOR.unpack_from(tail, at - LOCATOR.size)[2], size - len(tail) + at - LOCATOR.size - END64.size}
            for offset in offsets:
                file.seek(max(0, min(offset, size)))
                record = file.read(END64.size)
                if len(record) == END64.size and record.startswith(b"PK\x06\x06"):
                    told.append(END64.unpack(record)[7:9])
        entries, list_bytes = (max(numbers) for numbers in zip(*(told or [(entries, list_bytes)]), strict=True))
        ends_at = size - len(tail) + at
        entries = max(entries, _count(file, ends_at - list_bytes - END64.size - LOCATOR.size, ends_at))
    return ZipEnd(entries, list_bytes, comment)


def _count(file: IO[bytes], start: int, end: int) -> int:
    """How many entries are listed between two places, at most: a name may hold what they begin with."""
    if end - start > MOST_COUNTED:
        return (end - start) // LEAST_LISTED
    file.seek(max(0, start))
    left, before, count = end - max(0, start), b"", 0
    while left > 0 and (chunk := file.read(min(CHUNK, left))):
        left -= len(chunk)
        count += (before + chunk).count(LISTED)
        before = chunk[-len(LISTED) + 1 :]
    return count


def is_archive(path: Path) -> bool:
    """Whether the file ends as a zip archive does: what was cut off on the way does not."""
    try:
        read(path)
    except NotAnArchive:
        return False
    return True


def order(info: zipfile.ZipInfo) -> bytes:
    """Sorts entries depth first, those of each folder by their bytes, without taking names of thousands of folders apart."""
    return info.filename.replace("/", "\0").encode("utf-8", "replace")
