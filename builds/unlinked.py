"""Room on the disk that no folder tells of: files without a name, which processes keep open, mapped into memory, or under way."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

DELETED = " (deleted)"
UNDER_WAY = "scm_fds:"


@dataclass
class Unlinked:
    """``room`` in bytes, by the file's number. ``is_all`` is whether every such file could be measured."""

    room: dict[int, int] = field(default_factory=dict)
    is_all: bool = True

    @property
    def size(self) -> int:
        return sum(self.room.values())

    def add(self, file: os.stat_result, device: int) -> None:
        if file.st_nlink == 0 and file.st_dev == device and stat.S_ISREG(file.st_mode):
            self.room[file.st_ino] = file.st_blocks * 512


def held(pids: Iterable[int], workspace: Path) -> Unlinked:
    """What the processes hold of the workspace's disk."""
    found, device = Unlinked(), workspace.stat().st_dev
    for pid in pids:
        tasks = list(_listed(f"/proc/{pid}/task"))
        for task in tasks:  # each thread may have descriptors of its own
            _look_at_open(task, found, device)
        _look_at_mapped(tasks, found, workspace, device)
    return found


def _listed(folder: str) -> Iterator[Path]:
    with suppress(OSError):
        yield from Path(folder).iterdir()


def _look_at_open(task: Path, found: Unlinked, device: int) -> None:
    for descriptor in _listed(f"{task}/fd"):
        with suppress(OSError):
            file = descriptor.stat()
            found.add(file, device)
            if stat.S_ISSOCK(file.st_mode) and _is_under_way(task / "fdinfo" / descriptor.name):
                found.is_all = False  # nobody can look at what was sent through a socket, and was not taken yet


def _is_under_way(socket: Path) -> bool:
    words = socket.read_text().split()
    return UNDER_WAY in words and words[words.index(UNDER_WAY) + 1] != "0"


def _look_at_mapped(tasks: Iterable[Path], found: Unlinked, workspace: Path, device: int) -> None:
    """All threads have the same; the first may have ended."""
    for task in tasks:
        lines: list[str] = []
        with suppress(OSError):
            lines = (task / "maps").read_text(errors="replace").splitlines()
        for line in lines:
            place, _rights, _offset, _device, _inode, *name = line.split(maxsplit=5)
            if name and name[0].startswith(f"{workspace}/") and name[0].endswith(DELETED):
                try:
                    found.add((task.parents[1] / "map_files" / place).stat(), device)
                except OSError:  # only root may look
                    found.is_all = False
        if lines:
            return
