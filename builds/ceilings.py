"""What a running command may take: memory and processes of its whole tree, and room on the disk. Looked at while it runs.

Where there are control groups (builds/cgroups.py), the kernel keeps memory and processes of the tree, and tells what was hit. Else
they are counted here; the kernel's other limits (builds/tools/enter.py) hold for each process or user only.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from builds import units, unlinked
from builds.errors import BuildError, DiskFull, LimitHit, MemoryFull

if TYPE_CHECKING:
    from builds.cgroups import Group

MEASURE_SECONDS = 1.0
# Measuring may take this part of the time.
MEASURE_SHARE = 0.1
# But no build goes unmeasured for longer, however long the last look took.
UNMEASURED_SECONDS = 5.0
# So long a build that holds nothing goes on while too little is free on the disk; one that holds all that it may does not.
GIVE_WAY_SECONDS = 5.0
# What a line costs in the log's table beside its text: without it, a build that writes empty lines would fill the database.
LINE_BYTES = 32
# So long a build may write faster than it may on average.
BURST_SECONDS = 10
# Programs of the sandbox's own in a tree: bubblewrap, and its first process inside.
OWN_PROCESSES = 2
# Folders that a build has closed to its own user, who may be ours, are opened. Of folders that are moved meanwhile, du may tell nothing.
MEASURE = """
room() { du -sx --block-size=1 -- "$1"; }
found=$(room "$1") || { find "$1" -xdev -type d ! -perm -500 -exec chmod u+rx {} +; found=$(room "$1"); }
echo "room $found"; echo "files $(du -sx --inodes -- "$1")"
"""
# Who moves its folders about so that one look after the other tells nothing could hide what it writes.
LOOKS_IN_VAIN = 10


@dataclass(frozen=True)
class Ceilings:
    """Sizes in bytes. ``processes`` counts threads, as the kernel does; 0 is no limit. The weight is beside 100 of any other program."""

    memory: int = 0
    processes: int = 0
    workspace: int = 0
    files: int = 0
    free: int = 0
    file: int = 0
    cpu_weight: int = 100

    @property
    def in_words(self) -> dict[str, str]:
        """What each limit is, at the end of "more than …": for what the kernel refuses, and a program tells in its own words."""
        return {
            "memory": f"the {units.size(self.memory)} of memory that it may" if self.memory else "the memory that there is",
            "processes": f"the {self.processes} processes and threads that it may"
            if self.processes
            else "the processes that it may",
            "file": f"the {units.size(self.file)} that one may have" if self.file else "one may be",
        }

    @property
    def per_process(self) -> dict[str, int]:
        """As limits of the kernel's, by the name of the RLIMIT_. Address space is none: Node reserves far more than it uses."""
        named = {"DATA": self.memory, "NPROC": self.processes}
        return {**self.per_file, **{name: most for name, most in named.items() if most}}

    @property
    def per_file(self) -> dict[str, int]:
        """The same for files alone, where a control group limits the rest."""
        return {"CORE": 0, "FSIZE": self.file} if self.file else {"CORE": 0}


@dataclass(frozen=True)
class Hit:
    """A limit that was hit: the end of a sentence that begins "the build …", and what to do."""

    text: str
    advice: str
    error: type[BuildError] = LimitHit


SMALLER = (
    "Make it use less (smaller data, fewer things at once, results that are committed), or ask the journal's staff for more."
)
CLEANER = "Write fewer and smaller files, and remove what is not needed any more, or ask the journal's staff for more."


class OutputAllowance:
    """How much a build's commands may still write: in all, and a second. 0 a second is as fast as they can.

    Who writes too fast is not read from for a while, so that it waits; who has written too much has to be ended.
    """

    def __init__(self, most: int, per_second: int = 0) -> None:
        self.left = most
        self.was_slowed = False
        self._per_second = per_second
        self._at_once = float(per_second * BURST_SECONDS)
        self._filled_at = time.monotonic()

    def take(self, data: bytes) -> None:
        size = len(data) + LINE_BYTES * data.count(b"\n")
        self.left -= size
        self._at_once -= size

    @property
    def is_used_up(self) -> bool:
        return self.left <= 0

    def must_wait(self) -> bool:
        if not self._per_second:
            return False
        now = time.monotonic()
        more = (now - self._filled_at) * self._per_second
        self._at_once = min(self._at_once + more, self._per_second * BURST_SECONDS)
        self._filled_at = now
        self.was_slowed = self.was_slowed or self._at_once <= 0
        return self._at_once <= 0


class Watcher:
    """Looks at one command's tree, by its control group where it has one, and at its workspace."""

    def __init__(self, ceilings: Ceilings, workspace: Path, group: Group | None = None) -> None:
        self.peak_memory = self.peak_processes = 0
        self._ceilings, self._workspace, self._group = ceilings, workspace, group
        self._measuring: subprocess.Popen[str] | None = None
        self._started_at = self._measure_at = 0.0
        self._pid = self._holds = self._looks_in_vain = 0
        self._short_since: float | None = None
        self._free_at_start = shutil.disk_usage(workspace).free if workspace.is_dir() else 0

    def look(self, pid: int) -> Hit | None:
        """The limit that the tree of ``pid`` is over."""
        self._pid = pid
        return (self.look_at_group() if self._group else self._look_at_tree(pid)) or self._look_at_disk()

    def look_at_group(self) -> Hit | None:
        """What the kernel tells. Also after the command has ended: it may have ended for that."""
        if self._group is None:
            return None
        self.peak_memory = max(self.peak_memory, self._group.memory)
        if self._group.killed_for_memory:
            if not self._group.ran_out_of_memory:
                return Hit("was ended, because the service's machine has no memory left.", "", MemoryFull)
            self.peak_memory = max(self.peak_memory, self._ceilings.memory)
            return out_of_memory(self._ceilings.memory)
        return too_many_processes(self._ceilings.processes) if self._group.refused_processes else None

    def _look_at_tree(self, pid: int) -> Hit | None:
        memory, processes = _tree(pid)
        self.peak_memory, self.peak_processes = max(self.peak_memory, memory), max(self.peak_processes, processes)
        most = self._ceilings
        if most.memory and memory > most.memory:
            return out_of_memory(most.memory)
        if most.processes and processes - OWN_PROCESSES > most.processes:
            return too_many_processes(most.processes)
        return None

    def close(self) -> None:
        if self._measuring:
            self._measuring.kill()
            self._measuring.communicate()
            self._measuring = None

    def _look_at_disk(self) -> Hit | None:
        most = self._ceilings
        if not self._is_short_of_disk():
            self._short_since = None
        elif self._gives_way():
            return Hit("had to end, because the service's disk is nearly full.", "", DiskFull)
        if not (most.workspace or most.files):
            return None
        if self._measuring is None:
            if time.monotonic() >= self._measure_at:
                self._measure()
            return None
        return self._measured() if self._measuring.poll() is not None else None

    def _is_short_of_disk(self) -> bool:
        with suppress(OSError):
            return shutil.disk_usage(self._workspace).free < self._ceilings.free
        return False

    def _gives_way(self) -> bool:
        """Of the builds on a disk that is nearly full, who holds more ends sooner: that may make room enough for the others."""
        now = time.monotonic()
        if self._short_since is None:
            self._short_since = now
        share = min(1.0, self._holds / self._ceilings.workspace) if self._ceilings.workspace else 0.0
        return now - self._short_since >= GIVE_WAY_SECONDS * (1 - share)

    def _measure(self) -> None:
        """In a program of its own, which deep folders and millions of files don't hurt, and which the output does not wait for."""
        command = ["/bin/sh", "-c", MEASURE, "measure", str(self._workspace)]
        self._started_at = time.monotonic()
        self._measuring = subprocess.Popen(
            command, env={"PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def _room(self, visible: int) -> int:
        """What is seen of the workspace, and what is not. Of a build that hides something unseen, all that the disk has lost since."""
        pids = self._group.members if self._group else {process.pid for process in _processes(self._pid)}
        hidden = unlinked.held(pids, self._workspace)
        lost = 0 if hidden.is_all else self._free_at_start - shutil.disk_usage(self._workspace).free
        return max(visible + hidden.size, lost)

    def _measured(self) -> Hit | None:
        took = time.monotonic() - self._started_at
        self._measure_at = time.monotonic() + min(max(MEASURE_SECONDS, took / MEASURE_SHARE), UNMEASURED_SECONDS)
        output = self._measuring.communicate()[0] if self._measuring else ""
        self._measuring = None
        lines = [line.split() for line in output.splitlines()]
        sizes = {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
        self._looks_in_vain = 0 if len(sizes) == len(lines) > 0 else self._looks_in_vain + 1
        most = self._ceilings
        if "room" in sizes:
            self._holds = self._room(sizes["room"])
        if most.workspace and self._holds > most.workspace:
            return Hit(f"wrote more than the {units.size(most.workspace)} that it may have on the disk.", CLEANER)
        if most.files and sizes.get("files", 0) > most.files:
            return Hit(f"made more than the {most.files} files that it may.", CLEANER)
        if self._looks_in_vain >= LOOKS_IN_VAIN:
            return Hit("moved its folders about so fast that what they hold could not be measured.", CLEANER)
        return None


def out_of_memory(most: int) -> Hit:
    return Hit(f"used more than the {units.size(most)} of memory that it may.", SMALLER)


def too_many_processes(most: int) -> Hit:
    return Hit(f"started more than the {most} processes and threads that it may.", SMALLER)


def _tree(pid: int) -> tuple[int, int]:
    """The memory of a process and all below it, and how many threads they are."""
    memory = threads = 0
    for member in _processes(pid):
        with suppress(psutil.Error):
            memory += member.memory_info().rss
            threads += member.num_threads()
    return memory, threads


def _processes(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []
