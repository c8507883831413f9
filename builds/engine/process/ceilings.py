"""What a running command may use: memory and processes of its whole tree, and space on the disk."""

from __future__ import annotations

from dataclasses import dataclass

from builds.errors import BuildError, LimitHit
from builds.lib import units

# Processes in a tree that belong to the sandbox itself: bubblewrap, and its first process inside.
OWN_PROCESSES = 2

USE_LESS = (
    "Reduce what it uses (smaller data, less in parallel, committed results), or ask the journal's staff for a higher limit."
)
WRITE_LESS = (
    "Write fewer and smaller files, remove files that are no longer needed, or ask the journal's staff for a higher limit."
)


@dataclass(frozen=True)
class Ceilings:
    """The limits of one command. Sizes in bytes; 0 is no limit.

    ``processes`` counts threads too, as the kernel does. ``workspace`` and ``files`` limit what all files take together, ``file`` the
    size of one. A command has to end while less than ``free`` is free on the disk. ``cpu_weight`` is relative to 100 of any other
    program.
    """

    memory: int = 0
    processes: int = 0
    workspace: int = 0
    files: int = 0
    free: int = 0
    file: int = 0
    cpu_weight: int = 100

    @property
    def in_words(self) -> dict[str, str]:
        """Each limit as the end of "more than …" or "larger than …", for limits that the kernel enforces and a program reports."""
        return {
            "memory": f"its memory limit of {units.size(self.memory)}" if self.memory else "the available memory",
            "processes": f"its limit of {self.processes} processes and threads"
            if self.processes
            else "the allowed number of processes and threads",
            "file": f"the limit of {units.size(self.file)}" if self.file else "allowed",
        }

    @property
    def per_process(self) -> dict[str, int]:
        """The kernel's limits for each process, by the name of the RLIMIT_. Address space has none: Node reserves far more than it uses."""
        limits = {"DATA": self.memory, "NPROC": self.processes}
        return {**self.per_file, **{name: value for name, value in limits.items() if value}}

    @property
    def per_file(self) -> dict[str, int]:
        """The kernel's limits for files alone, where a control group limits the rest."""
        return {"CORE": 0, "FSIZE": self.file} if self.file else {"CORE": 0}


@dataclass(frozen=True)
class Hit:
    """A limit that a command hit. ``text`` is the end of a sentence that begins "the build …"; ``advice`` says what to do."""

    text: str
    advice: str
    error: type[BuildError] = LimitHit


def out_of_memory(limit: int) -> Hit:
    return Hit(f"used more than its memory limit of {units.size(limit)}.", USE_LESS)


def too_many_processes(limit: int) -> Hit:
    return Hit(f"started more than its limit of {limit} processes and threads.", USE_LESS)


def too_much_disk(limit: int) -> Hit:
    return Hit(f"used more than its disk limit of {units.size(limit)}.", WRITE_LESS)


def too_many_files(limit: int) -> Hit:
    return Hit(f"made more than its limit of {limit} files.", WRITE_LESS)
