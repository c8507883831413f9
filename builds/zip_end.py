"""The end of a zip archive, read without reading the archive: how much it lists, and its comment (APPNOTE.TXT §4.3.14 to §4.3.16).

A library would first load the whole list of entries into memory, however long a hostile archive has made it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

END = struct.Struct("<4s4H2LH")
LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
LONGEST_COMMENT = 0xFFFF
# Stand where the number is in the longer record.
SENTINELS = {0xFFFF, 0xFFFFFFFF}


class NotAnArchive(ValueError):
    """The file has no end of a zip archive."""


@dataclass(frozen=True)
class ZipEnd:
    """``list_bytes`` is the size of the list of entries, the central directory."""

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
    return ZipEnd(entries, list_bytes, comment)


def is_archive(path: Path) -> bool:
    """Whether the file ends as a zip archive does: what was cut off on the way does not."""
    try:
        read(path)
    except NotAnArchive:
        return False
    return True
