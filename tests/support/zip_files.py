"""Makes zip archives for tests, with entries that a zip program would not write."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

Entry = tuple[str | zipfile.ZipInfo, bytes]


def special(name: str, mode: int, data: bytes = b"") -> Entry:
    """An entry of a Unix archive with its mode."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info, data


def link(name: str, target: str) -> Entry:
    return special(name, stat.S_IFLNK | 0o777, target.encode())


def renaming_extra(shown: str, used: str) -> bytes:
    """The extra field 0x7075 of an entry that is listed as ``shown`` (APPNOTE.TXT §4.6.9). Python 3.12 then calls it ``used``."""
    name = used.encode()
    return struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zlib.crc32(shown.encode())) + name


def rename_like_newer_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this Python's zipfile obey the extra field 0x7075, as Python does from 3.12 on."""
    decode = zipfile.ZipInfo._decodeExtra  # type: ignore[attr-defined]  # not public

    def decode_extra(info: zipfile.ZipInfo, *crc: int) -> None:
        decode(info, *crc)
        if (at := info.extra.find(b"\x75\x70")) >= 0:
            length = struct.unpack_from("<H", info.extra, at + 2)[0]
            info.filename = info.extra[at + 9 : at + 4 + length].decode()

    monkeypatch.setattr(zipfile.ZipInfo, "_decodeExtra", decode_extra)


def zipped(path: Path, *entries: Entry, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.comment = b"0" * 40
        for name, data in entries:
            if isinstance(name, zipfile.ZipInfo):
                name.compress_type = compression
            archive.writestr(name, data)
    return path
