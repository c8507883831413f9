"""Control groups: the kernel limits all programs of a command together, reports which limit they hit, and shows that none is left.

Each command gets its own group below the group of the service, so the service's limits apply to its builds too. cgroup_probe.py finds
out which version this machine has, and where.

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

from builds.engine.process.ceilings import OWN_PROCESSES, Ceilings

PREFIX = "jobsite-build-"
END_SECONDS = 30.0
# The weight of an ordinary program, in version 2 and in version 1.
EQUAL_WEIGHT, EQUAL_SHARES = 100, 1024
# The most memory that the kernel requests at once: a group can be full while this much of its limit is unused.
LARGEST_PAGES = 4 << 20
# Waits for a line on its input, then becomes the command. Unsets the variables that the shell itself has set.
WAIT = ("/bin/sh", "-c", 'read -r go && unset go PWD OLDPWD SHLVL && exec "$@" </dev/null', "jobsite")


class Version(StrEnum):
    V2 = "v2"
    V1 = "v1"
    NONE = "none"


class Group(ABC):
    """The group of one command. ``folders`` are its folders, by controller; in version 2 all are the same."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.folders = dict(folders)

    @abstractmethod
    def limit(self, ceilings: Ceilings) -> None:
        """Limit what its programs use together. Call this while nothing runs in it."""

    @property
    @abstractmethod
    def memory(self) -> int:
        """The memory of its programs and of their temporary file systems, in bytes; without cached files."""

    @property
    @abstractmethod
    def ran_out_of_memory(self) -> bool:
        """Whether it reached its memory limit, and the kernel could not free enough."""

    @property
    @abstractmethod
    def killed_for_memory(self) -> int:
        """How many of its programs the kernel killed because the group or the machine was out of memory."""

    @property
    @abstractmethod
    def processor_seconds(self) -> float:
        """The processor time, user and system, of all programs that ran in it. 0 where the kernel does not count it."""

    @property
    def refused_processes(self) -> int:
        """How often a process or thread could not start because of the limit."""
        return read_table(self.folders["pids"] / "pids.events").get("max", 0)

    @property
    def members(self) -> set[int]:
        """The ids of its processes."""
        found: set[int] = set()
        for folder in self.folders.values():
            with suppress(OSError):
                found.update(map(int, (folder / "cgroup.procs").read_text().split()))
        return found - {0}

    def make(self) -> None:
        for folder in set(self.folders.values()):
            folder.mkdir()

    def add(self, pid: int) -> None:
        """Put the process into this group, and with it everything that it starts from now on."""
        for folder in set(self.folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def kill(self) -> None:
        """Kill its processes. In version 1, processes that they start meanwhile may be left."""
        for pid in self.members:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def end(self, seconds: float = END_SECONDS) -> bool:
        """Kill what is left in it, and remove it. Whether that succeeded: a group can't be removed while anything runs in it."""
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
        found = read_table(self.folders["memory"] / "memory.stat")
        return found.get("anon", 0) + found.get("shmem", 0)

    @property
    def ran_out_of_memory(self) -> bool:
        return read_table(self.folders["memory"] / "memory.events").get("oom", 0) > 0

    @property
    def killed_for_memory(self) -> int:
        return read_table(self.folders["memory"] / "memory.events").get("oom_kill", 0)

    @property
    def processor_seconds(self) -> float:
        return read_table(self.folders["memory"] / "cpu.stat").get("usage_usec", 0) / 1e6

    def kill(self) -> None:
        """Kill its processes, and those that they start meanwhile (since Linux 5.14)."""
        with suppress(OSError):
            if _write_if_there(self.folders["memory"] / "cgroup.kill", "1"):
                return
        super().kill()


class Legacy(Group):
    """Version 1: each controller has its own hierarchy."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        super().__init__(folders)
        self._full_counter: int | None = None
        self._was_full = False

    def limit(self, ceilings: Ceilings) -> None:
        if ceilings.memory:
            memory = self.folders["memory"]
            self._full_counter = _count_when_full(memory)
            (memory / "memory.limit_in_bytes").write_text(str(ceilings.memory))
            if not _write_if_there(memory / "memory.memsw.limit_in_bytes", str(ceilings.memory)):
                _write_if_there(memory / "memory.swappiness", "0")
        if ceilings.processes:
            (self.folders["pids"] / "pids.max").write_text(str(ceilings.processes + OWN_PROCESSES))
        if "cpu" in self.folders:
            (self.folders["cpu"] / "cpu.shares").write_text(str(self._shares(ceilings.cpu_weight)))

    @staticmethod
    def _shares(weight: int) -> int:
        """A build competes with each program of the machine, not with the service as a whole: each of them weighs as much as an equal
        build. With less than they have, the build would be starved by whatever else runs."""
        return max(weight, EQUAL_WEIGHT) * EQUAL_SHARES // EQUAL_WEIGHT

    @property
    def memory(self) -> int:
        found = read_table(self.folders["memory"] / "memory.stat")
        return found.get("total_rss", 0) + found.get("total_shmem", 0)

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether both the kernel's counter and the peak usage say so. Each alone can mislead: the counter also counts when a group
        above is full, and the usage includes cached files, which the kernel can free."""
        if self._full_counter is not None:
            with suppress(BlockingIOError):
                self._was_full = os.eventfd_read(self._full_counter) > 0
            if not self._was_full:
                return False
        limit, peak = (int((self.folders["memory"] / f"memory.{name}_in_bytes").read_text()) for name in ("limit", "max_usage"))
        return peak + LARGEST_PAGES >= limit

    def end(self, seconds: float = END_SECONDS) -> bool:
        ended = super().end(seconds)
        if ended and self._full_counter is not None:
            os.close(self._full_counter)
            self._full_counter = None
        return ended

    @property
    def killed_for_memory(self) -> int:
        return read_table(self.folders["memory"] / "memory.oom_control").get("oom_kill", 0)

    @property
    def processor_seconds(self) -> float:
        """Only where the controllers cpu and cpuacct share a hierarchy, as they usually do."""
        with suppress(OSError, KeyError):
            return int((self.folders["cpu"] / "cpuacct.usage").read_text()) / 1e9
        return 0.0


@dataclass(frozen=True)
class Groups:
    """The control groups of this machine. Those of builds are made in ``parents``, by controller. ``problems`` say why there are none."""

    version: Version = Version.NONE
    parents: Mapping[str, Path] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.version != Version.NONE

    @property
    def share_processors(self) -> bool:
        return "cpu" in self.parents

    def make(self, build_id: str, ceilings: Ceilings) -> Group | None:
        """Make an empty group with these limits for one command of the build. None where there are no groups.

        Raises:
            OSError: the group could not be made. Nothing of it is left.
        """
        if not self:
            return None
        name = f"{PREFIX}{_safe(build_id)}.{uuid.uuid4().hex[:8]}"
        group = self._group({controller: parent / name for controller, parent in self.parents.items()})
        try:
            group.make()
            group.limit(ceilings)
        except OSError:
            group.end(0)
            raise
        return group

    def strays(self) -> dict[str, list[Group]]:
        """The groups of builds on this machine, by build: also those of another service, and of this service before a restart that put
        it into another group."""
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
        """Kill what is left in the build's groups, and remove them. Whether nothing is left."""
        return not [group for group in self.strays().get(_safe(build_id), []) if not group.end()]

    def _group(self, folders: Mapping[str, Path]) -> Group:
        return Unified(folders) if self.version == Version.V2 else Legacy(folders)


def _safe(build_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "_", build_id)[-80:]


def _made_below(parent: Path) -> Iterator[Path]:
    """The groups of builds in ``parent``, and in the groups beside it."""
    yield from parent.glob(f"{PREFIX}*")
    if (parent.parent / "cgroup.procs").exists():
        yield from (folder for folder in parent.parent.glob(f"*/{PREFIX}*") if folder.parent != parent)


def read_table(path: Path) -> dict[str, int]:
    """Read a file whose lines are a name and a number. Empty where there is no such file."""
    with suppress(OSError):
        lines = [line.split() for line in path.read_text().splitlines()]
        return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
    return {}


def _count_when_full(memory: Path) -> int | None:
    """A counter (eventfd) that the kernel raises when the group is out of memory. None where the kernel does not offer it."""
    counter = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        control = os.open(memory / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            (memory / "cgroup.event_control").write_text(f"{counter} {control}")
        finally:
            os.close(control)
    except OSError:
        os.close(counter)
        return None
    return counter


def _write_if_there(path: Path, text: str) -> bool:
    if not path.exists():
        return False
    path.write_text(text)
    return True
