"""Reads a git server's list of refs (gitprotocol-http(5)) while it arrives, and finds the commit that a manuscript's address stands for.

The list names every branch, tag and pull request of the repository. Only the refs that the address may mean are kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from builds.engine.manuscript.url import ManuscriptUrl

COMMIT = re.compile(r"[0-9a-f]{40}")
SHORT_COMMIT = re.compile(r"[0-9a-fA-F]{4,40}")
# What the list begins with: a packet line (gitprotocol-common(5)), which is its length in four hexadecimal digits and then its text.
SERVICE = b"001e# service=git-upload-pack"
LENGTH = re.compile(rb"[0-9a-fA-F]{4}")
LINE = re.compile(rb"([0-9a-f]{40}) ([^\0\n]+)")
# About 200,000 refs. The list of a repository with that many pull requests is not read to its end.
MAX_BYTES, MAX_LINES = 16 << 20, 250_000


@dataclass(frozen=True)
class Resolved:
    """The ref in an address, the path after it, and the ref's commit. ``commit`` is empty for a short commit that no ref stands for.

    ``is_tip``: a ref of the list stands for the commit, so the repository has it now.
    """

    ref: str
    path: str
    commit: str
    is_tip: bool = False


class Listing:
    """A git server's ref advertisement (gitprotocol-pack(5)), of which the refs that ``url`` may mean are kept.

    :meth:`add` and :meth:`resolve` raise ValueError if it is not a ref advertisement, or is too long.
    """

    def __init__(self, url: ManuscriptUrl) -> None:
        self._url = url
        self._wanted = {name for split in url.splits() for name in _names(split.ref)} | {"HEAD"}
        self._short = url.tail[0].lower() if SHORT_COMMIT.fullmatch(url.tail[0]) else ""
        self._refs: dict[str, str] = {}
        self._tips: set[str] = set()  # of a short commit, two at most: it stands for none if there are two
        self._rest = b""
        self._left_bytes, self._left_lines, self._has_begun = MAX_BYTES, MAX_LINES, False

    def add(self, data: bytes) -> None:
        """Read the next part of the list."""
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise ValueError("the list of refs is too long")
        data, at = self._rest + data, 0
        while at + 4 <= len(data):
            length = max(_length(data[at : at + 4]), 4)
            if at + length > len(data):
                break
            self._read(data[at : at + length])
            at += length
        self._rest = data[at:]

    def resolve(self) -> Resolved | None:
        """The branch, tag or commit that the address names; None if it names none of the list and no commit."""
        if not self._has_begun:
            raise ValueError("not a ref advertisement")
        for split in self._url.splits():
            for name in _names(split.ref):
                if name in self._refs:
                    ref = split.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
                    return Resolved(ref, split.path, self._refs[name], is_tip=True)
        name, *path = self._url.tail
        if name == "HEAD" and "HEAD" in self._refs:
            return Resolved(name, "/".join(path), self._refs["HEAD"], is_tip=True)
        if self._short:
            commit = self._full_commit()
            return Resolved(self._short, "/".join(path), commit, is_tip=commit in self._tips)
        return None

    def _read(self, packet: bytes) -> None:
        """Read one packet line, its length included."""
        self._left_lines -= 1
        if self._left_lines < 0:
            raise ValueError("the list of refs is too long")
        if not self._has_begun:
            if not packet.startswith(SERVICE):
                raise ValueError("not a ref advertisement")
            self._has_begun = True
        elif line := LINE.match(packet, 4):
            self._note(line[1].decode(), line[2].decode("utf-8", "replace").removesuffix("^{}"))

    def _note(self, commit: str, name: str) -> None:
        """Note a ref. An annotated tag is followed by a line with the commit that it stands for."""
        if name in self._wanted:
            self._refs[name] = commit
        if self._short and len(self._tips) < 2 and commit.startswith(self._short):
            self._tips.add(commit)

    def _full_commit(self) -> str:
        if COMMIT.fullmatch(self._short):
            return self._short
        return next(iter(self._tips)) if len(self._tips) == 1 else ""


def _names(ref: str) -> list[str]:
    """The names that a ref in an address may have in the list, the likeliest first."""
    return [f"refs/heads/{ref}", f"refs/tags/{ref}", *([ref] if ref.startswith("refs/") else [])]


def _length(digits: bytes) -> int:
    if not LENGTH.fullmatch(digits):
        raise ValueError("not a ref advertisement")
    return int(digits, 16)
