"""How much of the disk a build takes: the files in its workspace, and files without a name that its processes hold."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from builds.engine.process.mappings import read_mappings

MEASURE_SECONDS = 1.0
# The first measurement: at the start, there is nothing yet that this command has written.
FIRST_SECONDS = 0.25
# Measuring may take at most this share of the time,
MEASURE_SHARE = 0.1
# but the next measurement starts at the latest after this time, however long the last one took.
UNMEASURED_SECONDS = 5.0
# A build may have removed its user's access to a folder, and that user may be the service's: such folders are opened first. du may
# print nothing for folders that are moved while it runs.
MEASURE = """
room() { du -sx --block-size=1 -- "$1"; }
found=$(room "$1") || { find "$1" -xdev -type d ! -perm -500 -exec chmod u+rx {} +; found=$(room "$1"); }
echo "room $found"; echo "files $(du -sx --inodes -- "$1")"
"""
DELETED = " (deleted)"
IN_TRANSIT = "scm_fds:"


class DiskMeter:
    """Measures a workspace again and again, in a separate process.

    Deep folders and millions of files can't harm that process, and a command's output does not wait for it. ``size`` (bytes) and
    ``files`` are the latest figures. ``failures`` counts incomplete measurements in a row.
    """

    def __init__(self, workspace: Path) -> None:
        self.size = self.files = self.failures = 0
        self._workspace = workspace
        self._measuring: subprocess.Popen[str] | None = None
        self._started_at, self._next_at = 0.0, time.monotonic() + FIRST_SECONDS
        self._free_at_start = shutil.disk_usage(workspace).free if workspace.is_dir() else 0

    def has_measured(self, pids: Callable[[], Iterable[int]]) -> bool:
        """Start a measurement where one is due. Whether one has just ended, so that the figures are new.

        ``pids`` returns the processes of the build.
        """
        if self._measuring is None:
            if time.monotonic() >= self._next_at:
                self._start()
            return False
        if self._measuring.poll() is None:
            return False
        self._read(self._measuring.communicate()[0], pids)
        self._measuring = None
        return True

    def is_below(self, free: int) -> bool:
        """Whether fewer than ``free`` bytes are free on the workspace's disk."""
        with suppress(OSError):
            return shutil.disk_usage(self._workspace).free < free
        return False

    def close(self) -> None:
        if self._measuring:
            self._measuring.kill()
            self._measuring.communicate()
            self._measuring = None

    def _start(self) -> None:
        command = ["/bin/sh", "-c", MEASURE, "measure", str(self._workspace)]
        self._started_at = time.monotonic()
        self._measuring = subprocess.Popen(
            command, env={"PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def _read(self, output: str, pids: Callable[[], Iterable[int]]) -> None:
        now = time.monotonic()
        self._next_at = now + min(max(MEASURE_SECONDS, (now - self._started_at) / MEASURE_SHARE), UNMEASURED_SECONDS)
        lines = [line.split() for line in output.splitlines()]
        figures = {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
        self.failures = 0 if len(figures) == len(lines) > 0 else self.failures + 1
        self.files = figures.get("files", 0)
        if "room" in figures:
            self.size = self._with_hidden(figures["room"], pids())

    def _with_hidden(self, visible: int, pids: Iterable[int]) -> int:
        """The size with nameless files. If some of them can't be measured, at least the space that the disk has lost since the start."""
        hidden = held(pids, self._workspace)
        lost = 0 if hidden.is_all else self._free_at_start - shutil.disk_usage(self._workspace).free
        return max(visible + hidden.size, lost)


@dataclass
class Unlinked:
    """Files without a name. ``sizes`` in bytes, by the file's number. ``is_all``: every such file could be measured."""

    sizes: dict[int, int] = field(default_factory=dict)
    is_all: bool = True

    @property
    def size(self) -> int:
        return sum(self.sizes.values())

    def add(self, file: os.stat_result, device: int) -> None:
        if file.st_nlink == 0 and file.st_dev == device and stat.S_ISREG(file.st_mode):
            self.sizes[file.st_ino] = file.st_blocks * 512


def held(pids: Iterable[int], workspace: Path) -> Unlinked:
    """The files without a name on the workspace's disk that the processes keep: open, mapped into memory, or sent through a socket."""
    found, device = Unlinked(), workspace.stat().st_dev
    for pid in pids:
        tasks = list(list_folder(f"/proc/{pid}/task"))
        for task in tasks:  # each thread may have its own descriptors
            _add_open(task, found, device)
        _add_mapped(tasks, found, workspace, device)
    return found


def list_folder(folder: str) -> Iterator[Path]:
    with suppress(OSError):
        yield from Path(folder).iterdir()


def _add_open(task: Path, found: Unlinked, device: int) -> None:
    for descriptor in list_folder(f"{task}/fd"):
        with suppress(OSError):
            file = descriptor.stat()
            found.add(file, device)
            if stat.S_ISSOCK(file.st_mode) and has_files_in_transit(task / "fdinfo" / descriptor.name):
                found.is_all = False  # a file that was sent through a socket and not yet received can't be looked at


def has_files_in_transit(socket: Path) -> bool:
    words = socket.read_text().split()
    return IN_TRANSIT in words and words[words.index(IN_TRANSIT) + 1] != "0"


def _add_mapped(tasks: Iterable[Path], found: Unlinked, workspace: Path, device: int) -> None:
    """All threads of a process have the same mappings. The first thread may have ended."""
    for task in tasks:
        is_alive = False
        for mapping in read_mappings(task):
            is_alive = True
            if mapping.name.startswith(f"{workspace}/") and mapping.name.endswith(DELETED):
                try:
                    found.add((task.parents[1] / "map_files" / mapping.place).stat(), device)
                except OSError:  # only root may look
                    found.is_all = False
        if is_alive:
            return
