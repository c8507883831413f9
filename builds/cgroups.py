"""Control groups: the kernel limits all of a command's programs together, tells which limit it hit, and shows that none is left.

Each command gets a group of its own, below the group that the service runs in, so that what holds for the service holds for its builds
too. Which version is used here, and where, is found out by builds/cgroup_choice.py.

The files are those of the kernel's admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1/.
"""

from __future__ import annotations

import os
import re
import signal
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from builds.ceilings import OWN_PROCESSES, Ceilings

PREFIX = "jobsite-build-"
END_SECONDS = 30.0
# A build may take this part of a processor beside one of the service's own programs; version 1 counts in 1024ths.
EQUAL_WEIGHT, EQUAL_SHARES = 100, 1024
# What the kernel may have asked for at once, when it was refused.
LARGEST_PAGES = 4 << 20
# Waits to be told that it was taken in. The shell sets these variables, and the command's environment is not ours to change.
WAIT = ("/bin/sh", "-c", 'read -r go && unset go PWD OLDPWD SHLVL && exec "$@" </dev/null', "jobsite")


class Version(StrEnum):
    V2 = "v2"
    V1 = "v1"
    NONE = "none"


class Group(ABC):
    """One command's. ``folders`` are its own, by controller; in version 2 they are one."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.folders = dict(folders)

    @abstractmethod
    def limit(self, ceilings: Ceilings) -> None:
        """Set what its programs may take together. Nothing runs in it yet."""

    @property
    @abstractmethod
    def memory(self) -> int:
        """What its programs keep in memory now, and what lies in their temporary file systems; not what is cached of files."""

    @property
    @abstractmethod
    def ran_out_of_memory(self) -> bool:
        """Whether it had all the memory that it may have, so that something had to give way."""

    @property
    @abstractmethod
    def killed_for_memory(self) -> int:
        """How many of its programs the kernel ended, because the group or the machine had no more memory."""

    @property
    def refused_processes(self) -> int:
        """How often a process or thread was not started, because there were as many as there may be."""
        return table(self.folders["pids"] / "pids.events").get("max", 0)

    @property
    def members(self) -> set[int]:
        found: set[int] = set()
        for folder in self.folders.values():
            with suppress(OSError):
                found.update(map(int, (folder / "cgroup.procs").read_text().split()))
        return found - {0}

    def make(self) -> None:
        for folder in set(self.folders.values()):
            folder.mkdir()

    def take_in(self, pid: int) -> None:
        """From now on the process, and what it will start, is of this group."""
        for folder in set(self.folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def kill(self) -> None:
        """Kill all that is in it now; what they start meanwhile may be left (version 1)."""
        for pid in self.members:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def end(self, seconds: float = END_SECONDS) -> bool:
        """Kill what is left in it, and remove it; whether that was possible. A group can't be removed while anything runs in it."""
        deadline = time.monotonic() + seconds
        while not self._remove():
            if time.monotonic() > deadline:
                return False
            self.kill()
            time.sleep(0.01)
        return True

    def _remove(self) -> bool:
        for folder in set(self.folders.values()):
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True


class Unified(Group):
    """Version 2."""

    def limit(self, ceilings: Ceilings) -> None:
        folder = self.folders["memory"]
        if ceilings.memory:
            (folder / "memory.max").write_text(str(ceilings.memory))
            _write_if_there(folder / "memory.swap.max", "0")
            _write_if_there(folder / "memory.oom.group", "1")
        if ceilings.processes:
            (folder / "pids.max").write_text(str(ceilings.processes + OWN_PROCESSES))
        if "cpu" in self.folders:
            (folder / "cpu.weight").write_text(str(ceilings.cpu_weight))

    @property
    def memory(self) -> int:
        found = table(self.folders["memory"] / "memory.stat")
        return found.get("anon", 0) + found.get("shmem", 0)

    @property
    def ran_out_of_memory(self) -> bool:
        return table(self.folders["memory"] / "memory.events").get("oom", 0) > 0

    @property
    def killed_for_memory(self) -> int:
        return table(self.folders["memory"] / "memory.events").get("oom_kill", 0)

    def kill(self) -> None:
        """All at once, and what they start meanwhile (from Linux 5.14 on)."""
        with suppress(OSError):
            if _write_if_there(self.folders["memory"] / "cgroup.kill", "1"):
                return
        super().kill()


class Legacy(Group):
    """Version 1: a hierarchy for each controller."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        super().__init__(folders)
        self._told: int | None = None
        self._had_too_much = False

    def limit(self, ceilings: Ceilings) -> None:
        if ceilings.memory:
            memory = self.folders["memory"]
            self._told = _told_when_full(memory)
            (memory / "memory.limit_in_bytes").write_text(str(ceilings.memory))
            if not _write_if_there(memory / "memory.memsw.limit_in_bytes", str(ceilings.memory)):
                _write_if_there(memory / "memory.swappiness", "0")
        if ceilings.processes:
            (self.folders["pids"] / "pids.max").write_text(str(ceilings.processes + OWN_PROCESSES))
        if "cpu" in self.folders:
            shares = max(2, ceilings.cpu_weight * EQUAL_SHARES // EQUAL_WEIGHT)
            (self.folders["cpu"] / "cpu.shares").write_text(str(shares))

    @property
    def memory(self) -> int:
        found = table(self.folders["memory"] / "memory.stat")
        return found.get("total_rss", 0) + found.get("total_shmem", 0)

    @property
    def ran_out_of_memory(self) -> bool:
        """As the kernel has told, and by the most that it has had: it is told too when a group above it is full, and what it has had
        counts what is cached of its files, which gives way."""
        if self._told is not None:
            with suppress(BlockingIOError):
                self._had_too_much = os.eventfd_read(self._told) > 0
            if not self._had_too_much:
                return False
        most, had = (int((self.folders["memory"] / f"memory.{name}_in_bytes").read_text()) for name in ("limit", "max_usage"))
        return had + LARGEST_PAGES >= most

    def end(self, seconds: float = END_SECONDS) -> bool:
        ended = super().end(seconds)
        if ended and self._told is not None:
            os.close(self._told)
            self._told = None
        return ended

    @property
    def killed_for_memory(self) -> int:
        return table(self.folders["memory"] / "memory.oom_control").get("oom_kill", 0)


@dataclass(frozen=True)
class Groups:
    """What this machine has of them. ``parents`` are where builds' own are made, by controller; ``problems`` say why there are none."""

    version: Version = Version.NONE
    parents: Mapping[str, Path] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.version != Version.NONE

    @property
    def share_processors(self) -> bool:
        return "cpu" in self.parents

    def make(self, build_id: str, ceilings: Ceilings) -> Group | None:
        """A group for one command of the build, limited and empty; None where there are no groups.

        Raises:
            OSError: it could not be made. Nothing is left of it.
        """
        if not self:
            return None
        name = f"{PREFIX}{_plain(build_id)}.{uuid.uuid4().hex[:8]}"
        group = self._group({controller: parent / name for controller, parent in self.parents.items()})
        try:
            group.make()
            group.limit(ceilings)
        except OSError:
            group.end(0)
            raise
        return group

    def strays(self) -> dict[str, list[Group]]:
        """The groups that there are, by build; also those that another service on this machine has made, or this one before it was
        started anew in a group beside the one before."""
        found: dict[tuple[str, Path], dict[str, Path]] = {}
        for controller, parent in self.parents.items():
            for folder in _made_below(parent):
                place = folder.parent if self.version == Version.V2 else Path()
                found.setdefault((folder.name, place), {})[controller] = folder
        strays: dict[str, list[Group]] = {}
        for (name, _place), folders in found.items():
            build_id = name.removeprefix(PREFIX).rpartition(".")[0]
            strays.setdefault(build_id, []).append(self._group(folders))
        return strays

    def end(self, build_id: str) -> bool:
        """Kill what is left in the build's groups, and remove them; whether nothing is left."""
        return not [group for group in self.strays().get(_plain(build_id), []) if not group.end()]

    def _group(self, folders: Mapping[str, Path]) -> Group:
        return Unified(folders) if self.version == Version.V2 else Legacy(folders)


def _plain(build_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "_", build_id)[-80:]


def _made_below(parent: Path) -> Iterator[Path]:
    """In a group, and in those beside it."""
    yield from parent.glob(f"{PREFIX}*")
    if (parent.parent / "cgroup.procs").exists():
        yield from (folder for folder in parent.parent.glob(f"*/{PREFIX}*") if folder.parent != parent)


def table(path: Path) -> dict[str, int]:
    """A file of lines that are a name and a number; empty where there is no such file."""
    with suppress(OSError):
        lines = [line.split() for line in path.read_text().splitlines()]
        return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
    return {}


def _told_when_full(memory: Path) -> int | None:
    """What the kernel counts up when the group has no memory left and nothing of it can give way; None where it does not tell."""
    counter = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        asked = os.open(memory / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            (memory / "cgroup.event_control").write_text(f"{counter} {asked}")
        finally:
            os.close(asked)
    except OSError:
        os.close(counter)
        return None
    return counter


def _write_if_there(path: Path, text: str) -> bool:
    if not path.exists():
        return False
    path.write_text(text)
    return True
