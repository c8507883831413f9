"""Checks a running command against its limits.

With control groups (cgroups.py), the kernel limits memory and processes of the whole tree and reports which limit was hit. Without
them, both are counted here: the kernel's other limits (builds/engine/tools/enter.py) apply to one process or one user only.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import psutil

from builds.engine.process import ceilings as limits
from builds.engine.process.ceilings import OWN_PROCESSES, WRITE_LESS, Ceilings, Hit
from builds.engine.process.cgroups import Group
from builds.engine.process.disk import DiskMeter
from builds.engine.process.memory import MemoryMeter
from builds.errors import DiskFull, MemoryFull

# How long a build that uses nothing may go on while the disk is nearly full. A build that uses all of its disk limit ends at once.
GIVE_WAY_SECONDS = 5.0
# A build could move its folders all the time to hide what it writes.
MAX_FAILED_MEASUREMENTS = 10


class Watcher:
    """Checks the tree of one command, by its control group where it has one, and its workspace."""

    def __init__(self, ceilings: Ceilings, workspace: Path, group: Group | None = None) -> None:
        self.peak_memory = self.peak_processes = 0
        self.processor_seconds = 0.0
        self._ceilings, self._group = ceilings, group
        self._disk = DiskMeter(workspace)
        self._memory = MemoryMeter()
        self._short_since: float | None = None

    def check(self, pid: int) -> Hit | None:
        """The limit that the tree of ``pid`` has exceeded, if any."""
        if self._group and not self._group.processor_seconds:
            self._add_up_processors(_processes(pid))
        return (self.check_group() if self._group else self._check_tree(pid)) or self._check_disk(pid)

    def check_group(self) -> Hit | None:
        """The limit that the kernel reports. Useful after the command has ended too: that may be why it ended."""
        if self._group is None:
            return None
        self.peak_memory = max(self.peak_memory, self._group.memory)
        self.processor_seconds = max(self.processor_seconds, self._group.processor_seconds)
        if self._group.killed_for_memory:
            if not self._group.ran_out_of_memory:
                return Hit("was stopped because the service's machine ran out of memory.", "", MemoryFull)
            self.peak_memory = max(self.peak_memory, self._ceilings.memory)
            return limits.out_of_memory(self._ceilings.memory)
        return limits.too_many_processes(self._ceilings.processes) if self._group.refused_processes else None

    def close(self) -> None:
        self._disk.close()

    def _check_tree(self, pid: int) -> Hit | None:
        processes = _processes(pid)
        memory, threads = self._memory.measure(processes), _count_threads(processes)
        self.peak_memory, self.peak_processes = max(self.peak_memory, memory), max(self.peak_processes, threads)
        self._add_up_processors(processes)
        if self._ceilings.memory and memory > self._ceilings.memory:
            return limits.out_of_memory(self._ceilings.memory)
        if self._ceilings.processes and threads - OWN_PROCESSES > self._ceilings.processes:
            return limits.too_many_processes(self._ceilings.processes)
        return None

    def _add_up_processors(self, processes: list[psutil.Process]) -> None:
        """Also counts the children of ``processes`` that have ended and been waited for."""
        self.processor_seconds = max(self.processor_seconds, sum(map(_processor_seconds, processes)))

    def _check_disk(self, pid: int) -> Hit | None:
        if not self._disk.is_below(self._ceilings.free):
            self._short_since = None
        elif self._must_give_way():
            return Hit("was stopped because the service's disk is nearly full.", "", DiskFull)
        has_limit = self._ceilings.workspace or self._ceilings.files
        if has_limit and self._disk.has_measured(lambda: self._members(pid)):
            return self._check_measured()
        return None

    def _must_give_way(self) -> bool:
        """While the disk is nearly full, a build that uses more of it ends sooner: that may free enough for the others."""
        now = time.monotonic()
        if self._short_since is None:
            self._short_since = now
        share = min(1.0, self._disk.size / self._ceilings.workspace) if self._ceilings.workspace else 0.0
        return now - self._short_since >= GIVE_WAY_SECONDS * (1 - share)

    def _check_measured(self) -> Hit | None:
        if self._ceilings.workspace and self._disk.size > self._ceilings.workspace:
            return limits.too_much_disk(self._ceilings.workspace)
        if self._ceilings.files and self._disk.files > self._ceilings.files:
            return limits.too_many_files(self._ceilings.files)
        if self._disk.failures >= MAX_FAILED_MEASUREMENTS:
            return Hit("moved its folders so fast that their size could not be measured.", WRITE_LESS)
        return None

    def _members(self, pid: int) -> set[int]:
        return self._group.members if self._group else {process.pid for process in _processes(pid)}


def _count_threads(processes: list[psutil.Process]) -> int:
    threads = 0
    for member in processes:
        with suppress(psutil.Error):
            threads += member.num_threads()
    return threads


def _processor_seconds(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _processes(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []
