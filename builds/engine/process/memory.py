"""How much memory a tree of processes holds, where no control group counts it.

What the processes have in their own address spaces is only a part. Memory that they share has no owner: it is counted once, by file. It
stays while any process has it open or mapped, whether or not anything of it is in an address space (memfd_create, shared mappings, files
in the sandbox's own /tmp and /dev/shm). System V's segments stay without any process, so builds can't make any (sandbox/seccomp.py).
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from builds.engine.process.disk import has_files_in_transit, list_folder
from builds.engine.process.mappings import read_mappings

# Shared memory is looked for when the machine has this much more of it than before, or after this time.
GROWTH_BYTES = 32 << 20
UNMEASURED_SECONDS = 5.0
KIB = 1024
OWN_FOLDERS = ("tmp", "dev/shm")


@dataclass
class Shared:
    """Shared memory that processes hold, in bytes. ``sizes`` by the file's number, ``hidden`` by the mapping that can't be looked into.

    ``is_in_transit``: more may be in files that were sent through a socket and not yet received.
    """

    sizes: dict[int, int] = field(default_factory=dict)
    hidden: dict[int, int] = field(default_factory=dict)
    folders: dict[int, int] = field(default_factory=dict)
    is_in_transit: bool = False

    def size(self, growth: int) -> int:
        """All of it. What can't be measured is at most ``growth``: how much more the machine has of it than before."""
        known = sum(self.sizes.values())
        unknown = sum(size for number, size in self.hidden.items() if number not in self.sizes)
        left = max(0, growth - known)
        return known + sum(self.folders.values()) + (left if self.is_in_transit else min(unknown, left))


class MemoryMeter:
    """Measures the memory of a build's processes again and again."""

    def __init__(self) -> None:
        self._least = _machine_shared()
        self._next_at = 0.0
        self._shared = 0
        self._device = _shared_device()

    def measure(self, processes: Iterable[psutil.Process]) -> int:
        """The memory of the processes in bytes."""
        pids = [process.pid for process in processes]
        now, on_machine = time.monotonic(), _machine_shared()
        growth = on_machine - self._least
        self._least = min(self._least, on_machine)
        if growth > GROWTH_BYTES or now >= self._next_at:
            self._next_at = now + UNMEASURED_SECONDS
            self._shared = find_shared(pids, self._device).size(growth)
        return sum(map(own_memory, pids)) + self._shared


def own_memory(pid: int) -> int:
    """What only this process has, in bytes: in memory and swapped out. 0 if it has ended."""
    if sys.platform != "linux":
        with suppress(psutil.Error):
            return int(psutil.Process(pid).memory_info().rss)
        return 0
    found = _numbers(Path(f"/proc/{pid}/status"), ("VmRSS", "RssAnon", "VmSwap"))
    return found.get("RssAnon", found.get("VmRSS", 0)) + found.get("VmSwap", 0)


def find_shared(pids: Iterable[int], device: int) -> Shared:
    """The shared memory that the processes hold. ``device`` is that of files without a folder."""
    found = Shared()
    for pid in pids:
        tasks = list(list_folder(f"/proc/{pid}/task"))
        for task in tasks:  # each thread may have its own descriptors
            _add_open(task, found, device)
        _add_mapped(tasks, found, device)
        _add_folders(pid, found)
    return found


def _add_open(task: Path, found: Shared, device: int) -> None:
    for descriptor in list_folder(f"{task}/fd"):
        with suppress(OSError):
            file = descriptor.stat()
            if file.st_dev == device:
                found.sizes[file.st_ino] = file.st_blocks * 512
            elif stat.S_ISSOCK(file.st_mode) and has_files_in_transit(task / "fdinfo" / descriptor.name):
                found.is_in_transit = True


def _add_mapped(tasks: Iterable[Path], found: Shared, device: int) -> None:
    """All threads of a process have the same mappings. The first thread may have ended."""
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}"
    for task in tasks:
        is_alive = False
        for mapping in read_mappings(task):
            is_alive = True
            if mapping.device == wanted:
                _add_mapping(task.parents[1] / "map_files" / mapping.place, mapping.inode, found)
        if is_alive:
            return


def _add_mapping(file: Path, number: int, found: Shared) -> None:
    try:
        found.sizes[number] = file.stat().st_blocks * 512
    except OSError:  # only root may look
        start, end = (int(text, 16) for text in file.name.split("-"))
        found.hidden[number] = found.hidden.get(number, 0) + end - start


def _add_folders(pid: int, found: Shared) -> None:
    """The file systems in memory that only the sandbox has."""
    root = Path(f"/proc/{pid}/root")
    for name in OWN_FOLDERS:
        with suppress(OSError):
            device = (root / name).stat().st_dev
            if device not in found.folders and device != Path("/", name).stat().st_dev:
                space = os.statvfs(root / name)
                found.folders[device] = (space.f_blocks - space.f_bfree) * space.f_frsize


def _machine_shared() -> int:
    return _numbers(Path("/proc/meminfo"), ("Shmem",)).get("Shmem", 0)


def _shared_device() -> int:
    """The device of memory files without a folder; 0, which no file has, where there is none."""
    if sys.platform != "linux":
        return 0
    file = os.memfd_create("jobsite", os.MFD_CLOEXEC)
    try:
        return os.fstat(file).st_dev
    finally:
        os.close(file)


def _numbers(path: Path, names: Iterable[str]) -> dict[str, int]:
    """Numbers of a file whose lines are a name, a colon and kibibytes. In bytes."""
    return dict(_parse(path, set(names)))


def _parse(path: Path, names: set[str]) -> Iterator[tuple[str, int]]:
    with suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            name, _colon, value = line.partition(":")
            if name in names and value.split()[:1] and value.split()[0].isdigit():
                yield name, int(value.split()[0]) * KIB
