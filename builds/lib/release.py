"""Notices that another release was installed over the files that this process was started from.

A process has its own code in memory, but it starts programs from its folder, and those may belong to another release by then.
"""

from __future__ import annotations

import hashlib
import os
import site
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("builds", "jobsite", "templates")
PACKAGES = Path(site.getsitepackages()[0])

Stamp = tuple[str, int, int]


def stamp() -> bytes:
    """A checksum of the names, times and sizes of this release's files, and of the installed packages.

    Each process makes it again and again. It is not made by OpenSSL, so that no process loads 1 MB of that for it.
    """
    files = (entry for part in PARTS for entry in _files(ROOT / part))
    found = sorted([*map(_stamp, files), *map(_stamp, _packages())])
    return hashlib.blake2b(repr(found).encode(errors="surrogateescape")).digest()


def has_changed() -> bool:
    """Whether the files are no longer those that this process was started from."""
    return stamp() != AT_START


@cache
def digest() -> str:
    """A checksum of this release's programs and of the names and versions of the installed packages, alike on every host.

    It reads all programs once per process.
    """
    found = hashlib.sha256(sys.version.encode())
    programs = sorted(entry.path for entry in _files(ROOT / "builds"))
    for path in map(Path, programs):
        found.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    found.update("\0".join(sorted(entry.name for entry in _packages())).encode())
    return found.hexdigest()


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:  # an upgrade may remove it
        return
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            yield entry
        elif entry.name != "__pycache__":
            yield from _files(Path(entry.path))


def _packages() -> Iterator[os.DirEntry[str]]:
    """One folder for each package, whose name has the version."""
    try:
        yield from [entry for entry in os.scandir(PACKAGES) if entry.name.endswith(".dist-info")]
    except OSError:
        return


def _stamp(entry: os.DirEntry[str]) -> Stamp:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return entry.path, 0, 0
    return entry.path, found.st_mtime_ns, found.st_size


AT_START = stamp()
