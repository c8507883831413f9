"""A multipart/form-data body (RFC 7578) that is produced while it is sent, with one block of one file in memory.

A delivery can have thousands of files inside a zip. This body opens them one at a time, checks each file's size, and checks before each
block whether the build has to stop. The Content-Length is known before anything is sent. Filenames are written as urllib3 and
requests-toolbelt write them (CONTRACT §3): UTF-8, with quotes percent-encoded.
"""

from __future__ import annotations

import mimetypes
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

BLOCK = 64 * 1024

TYPES = {
    ".cff": "text/yaml",
    ".csv": "text/csv",
    ".ipynb": "application/x-ipynb+json",
    ".json": "application/json",
    ".md": "text/markdown",
    ".toml": "application/toml",
    ".webp": "image/webp",
    ".xml": "application/xml",
    ".yaml": "text/yaml",
    ".yml": "text/yaml",
}
# Not the machine's own tables, which differ between machines.
KNOWN = mimetypes.MimeTypes(filenames=()).types_map[True]

ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


@dataclass(frozen=True)
class FilePart:
    """A file to send: its name for the receiver, its size in bytes, and a function that opens it for reading."""

    filename: str
    size: int
    open: Callable[[], IO[bytes]]


class WrongSize(Exception):
    """A file does not have the size that was announced."""


def content_type(filename: str) -> str:
    suffix = PurePosixPath(filename).suffix.lower()
    return TYPES.get(suffix) or KNOWN.get(suffix, "application/octet-stream")


class Multipart:
    """The body: ``files``, each as a part named ``files``, then ``fields``. It is read like a file; ``sent`` counts the bytes read.

    ``check`` is called before each block and may raise to stop the sending.
    """

    def __init__(self, files: Sequence[FilePart], fields: Mapping[str, str], *, check: Callable[[], None] = lambda: None) -> None:
        self._boundary = f"jobsite-{secrets.token_hex(16)}"
        self._files, self._fields, self._check = files, fields, check
        self._blocks = self._generate()
        self._rest = b""
        self.sent = 0
        self._size = sum(len(self._head(part)) + part.size + 2 for part in files) + len(self._tail())

    def __len__(self) -> int:
        """The size in bytes, which becomes the Content-Length."""
        return self._size

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self._boundary}"

    def read(self, size: int = -1) -> bytes:
        """The next block of the body, at most ``size`` bytes; empty at the end."""
        self._check()
        data = self._rest or next(self._blocks, b"")
        size = size if size > 0 else len(data)
        data, self._rest = data[:size], data[size:]
        self.sent += len(data)
        return data

    def _generate(self) -> Iterator[bytes]:
        for part in self._files:
            yield self._head(part)
            yield from self._content(part)
            yield b"\r\n"
        yield self._tail()

    def _content(self, part: FilePart) -> Iterator[bytes]:
        left = part.size
        with part.open() as file:
            while block := file.read(BLOCK):
                left -= len(block)
                if left < 0:
                    break
                yield block
        if left:
            raise WrongSize(part.filename)

    def _head(self, part: FilePart) -> bytes:
        name = part.filename.translate(ESCAPES)
        return (
            f'--{self._boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
            f"Content-Type: {content_type(part.filename)}\r\n\r\n"
        ).encode("utf-8", "replace")

    def _tail(self) -> bytes:
        fields = (
            f'--{self._boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in self._fields.items()
        )
        return f"{''.join(fields)}--{self._boundary}--\r\n".encode()
