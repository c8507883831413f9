"""Reads a text file, and stores it as UTF-8 where that is safe: mystmd silently reads anything else as damaged text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .found import Found, found

MAX_TEXT_BYTES = 32 << 20
LFS_HEAD = b"version https://git-lfs.github.com/spec/v1"
BOM = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
# A character of two bytes in UTF-8. A text that has one, and also bytes that are not UTF-8, is a mixture.
UTF8_PAIR = re.compile(rb"[\xc3-\xf4][\x80-\xbf]")
UNUSED_IN_LATIN = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f\x81\x8d\x8f\x90\x9d]")


class Source:
    """A text file of the manuscript. ``name`` is its path from the repository's root. ``text`` is None if it can't be read."""

    def __init__(self, root: Path, path: Path) -> None:
        self.path = path
        self.name = path.relative_to(root).as_posix()
        self.text: str | None = None
        self.found = list(self._read(root))

    def _read(self, root: Path) -> Iterator[Found]:
        if not self.path.resolve().is_relative_to(root.resolve()):
            return
        try:
            data = self.path.read_bytes() if self.path.stat().st_size <= MAX_TEXT_BYTES else b""
        except OSError:
            return
        if data.startswith(LFS_HEAD):
            yield found("image-lfs-pointer", self.name, user="the manuscript")
        elif data.startswith(UTF16) or b"\0" in data[:4096]:
            yield found("page-utf16", self.name)
        else:
            yield from self._decode(data)

    def _decode(self, data: bytes) -> Iterator[Found]:
        if data.startswith(BOM):
            data = data.removeprefix(BOM)
            self._store(data)
            yield found("byte-order-mark", self.name, 1)
        try:
            self.text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            if UTF8_PAIR.search(data) or UNUSED_IN_LATIN.search(data):
                self.text = data.decode(errors="replace")
                yield found("page-not-utf8", self.name, line)
            else:
                self.text = data.decode("cp1252")
                self._store(self.text.encode())
                yield found("page-latin1", self.name, line)

    def _store(self, data: bytes) -> None:
        self.path.write_bytes(data)
