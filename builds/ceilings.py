"""What a running command may take: memory and processes of its whole tree, and room on the disk. Looked at while it runs.

The kernel's own limits (builds/tools/enter.py) hold for each process or user; these hold for the tree, and say what was hit.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

MEASURE_SECONDS = 1.0
# Measuring may take this part of the time.
MEASURE_SHARE = 0.1
# What a line costs in the log's table beside its text: without it, a build that writes empty lines would fill the database.
LINE_BYTES = 32
# So long a build may write faster than it may on average.
BURST_SECONDS = 10
# Programs of the sandbox's own in a tree: bubblewrap, and its first process inside.
OWN_PROCESSES = 2
MEASURE = 'du -sx --block-size=1 -- "$1"; du -sx --inodes -- "$1"'


@dataclass(frozen=True)
class Ceilings:
    """Sizes in bytes. ``processes`` counts threads, as the kernel does; 0 is no limit."""

    memory: int = 0
    processes: int = 0
    workspace: int = 0
    files: int = 0
    free: int = 0
    file: int = 0

    @property
    def in_words(self) -> dict[str, str]:
        """What each limit is, at the end of "more than …": for what the kernel refuses, and a program tells in its own words."""
        return {
            "memory": f"the {shown(self.memory)} of memory that it may" if self.memory else "the memory that there is",
            "processes": f"the {self.processes} processes and threads that it may"
            if self.processes
            else "the processes that it may",
            "file": f"the {shown(self.file)} that one may have" if self.file else "one may be",
        }

    @property
    def per_process(self) -> dict[str, int]:
        """As limits of the kernel's, by the name of the RLIMIT_. Address space is none: Node reserves far more than it uses."""
        named = {"DATA": self.memory, "NPROC": self.processes, "FSIZE": self.file}
        return {"CORE": 0, **{name: most for name, most in named.items() if most}}


@dataclass(frozen=True)
class Hit:
    """A limit that was hit: the end of a sentence that begins "the build …", and what to do."""

    text: str
    advice: str
    is_ours: bool = False


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


def lasting(seconds: float) -> str:
    """A time limit for people."""
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} seconds"


def shown(size: float) -> str:
    """A size for people."""
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


class Watcher:
    """Looks at one command's tree and workspace."""

    def __init__(self, ceilings: Ceilings, workspace: Path) -> None:
        self.peak_memory = 0
        self._ceilings, self._workspace = ceilings, workspace
        self._measuring: subprocess.Popen[str] | None = None
        self._started_at = self._measure_at = 0.0

    def look(self, pid: int) -> Hit | None:
        """The limit that the tree of ``pid`` is over."""
        memory, processes = _tree(pid)
        self.peak_memory = max(self.peak_memory, memory)
        most = self._ceilings
        if most.memory and memory > most.memory:
            return out_of_memory(most.memory)
        if most.processes and processes - OWN_PROCESSES > most.processes:
            return Hit(f"started more than the {most.processes} processes and threads that it may.", SMALLER)
        return self._look_at_disk()

    def close(self) -> None:
        if self._measuring:
            self._measuring.kill()
            self._measuring.communicate()
            self._measuring = None

    def _look_at_disk(self) -> Hit | None:
        most = self._ceilings
        if most.free:
            with suppress(OSError):
                if shutil.disk_usage(self._workspace).free < most.free:
                    return Hit("had to end, because the service's disk is nearly full.", "", is_ours=True)
        if not (most.workspace or most.files):
            return None
        if self._measuring is None:
            if time.monotonic() >= self._measure_at:
                self._measure()
            return None
        return self._measured() if self._measuring.poll() is not None else None

    def _measure(self) -> None:
        """In a program of its own, which deep folders and millions of files don't hurt, and which the output does not wait for."""
        command = ["/bin/sh", "-c", MEASURE, "measure", str(self._workspace)]
        self._started_at = time.monotonic()
        self._measuring = subprocess.Popen(
            command, env={"PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def _measured(self) -> Hit | None:
        took = time.monotonic() - self._started_at
        self._measure_at = time.monotonic() + max(MEASURE_SECONDS, took / MEASURE_SHARE)
        output = self._measuring.communicate()[0] if self._measuring else ""
        self._measuring = None
        sizes = [int(line.split()[0]) for line in output.splitlines() if line.split()[0].isdigit()]
        most = self._ceilings
        if sizes[:1] and most.workspace and sizes[0] > most.workspace:
            return Hit(f"wrote more than the {shown(most.workspace)} that it may have on the disk.", CLEANER)
        if sizes[1:] and most.files and sizes[1] > most.files:
            return Hit(f"made more than the {most.files} files that it may.", CLEANER)
        return None


def out_of_memory(most: int) -> Hit:
    return Hit(f"used more than the {shown(most)} of memory that it may.", SMALLER)


def _tree(pid: int) -> tuple[int, int]:
    """The memory of a process and all below it, and how many threads they are."""
    memory = threads = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):
                memory += member.memory_info().rss
                threads += member.num_threads()
    return memory, threads
