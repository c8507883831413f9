"""Reads the memory mappings of a process (proc_pid_maps(5)). A build may have 65,000, of files whose names it chooses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Mapping(NamedTuple):
    """``place`` is its name in the folder ``map_files``, ``device`` as in ``08:01``, ``name`` the file's path or empty."""

    place: str
    device: str
    inode: int
    name: str


def read_mappings(task: Path) -> Iterator[Mapping]:
    """One by one, so that they are never in memory together. Ends early if the thread ``task`` (a folder of /proc) ends."""
    with suppress(OSError), (task / "maps").open("rb") as file:
        for line in file:  # of bytes: only a line feed ends a line, and the kernel writes it as \\012 in a name
            place, _rights, _offset, device, inode, *name = line.rstrip(b"\n").split(maxsplit=5)
            yield Mapping(place.decode(), device.decode(), int(inode), os.fsdecode(b"".join(name)))
