"""Measures whether the service itself is why a command failed: a program of the build can print anything."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping

import psutil

from builds.engine.context import Context
from builds.engine.diagnosis.rule import Fact
from builds.engine.sandbox.sandbox import Sandbox
from builds.lib import units

# Less is a full disk even where no reserve is set: a program may have removed what it could not finish.
MIN_FREE_BYTES = 16 << 20
COUNT_SECONDS = 1.0


class Measuring:
    """What can be measured around the commands of one build, which are run with ``environment``."""

    def __init__(self, context: Context, environment: Mapping[str, str]) -> None:
        self._context, self._path = context, environment.get("PATH", os.defpath)

    def is_fact(self, fact: Fact, about: tuple[str, ...]) -> bool:
        """Whether the fact is true now of these programs or hosts."""
        match fact:
            case Fact.DISK_IS_FULL:
                return self._is_disk_full()
            case Fact.HOST_IS_DOWN:
                return bool(self._context.unreachable())
            case Fact.HOST_WAS_REFUSED:
                return any(not about or f"'{host}'" in line for line in self._context.refused() for host in about or ("",))
            case Fact.HOST_WAS_ASKED:
                return bool(about) and set(about) <= set(self._context.asked())
            case Fact.PROGRAM_IS_MISSING:
                return not all(shutil.which(program, path=self._path) for program in about)

    def _is_disk_full(self) -> bool:
        """Whether the workspace's disk has less free space than it should, or no number for another file."""
        disk = os.statvfs(self._context.workspace)
        free = disk.f_bavail * disk.f_frsize
        return free < max(self._context.limits.ceilings.free, MIN_FREE_BYTES) or (disk.f_files > 0 and disk.f_favail == 0)


class UserProcesses:
    """Counts the processes and threads of the service's user, in whatever build they run, where the kernel limits them together."""

    def __init__(self, sandbox: Sandbox | None, *, has_groups: bool) -> None:
        is_shared = sandbox is not None and sandbox.shares_processes and not has_groups
        self._room = sandbox.limits.get("NPROC", 0) if sandbox and is_shared else 0
        self._before = _count_own() if self._room else 0
        self._next_at = 0.0
        self._most = self._before

    def count(self) -> None:
        """Count them now, if that was not done just before. Call this when a program says that it could not start another."""
        if self._room and time.monotonic() >= self._next_at:
            self._most = max(self._most, _count_own())
            self._next_at = time.monotonic() + COUNT_SECONDS

    @property
    def are_many(self) -> bool:
        """Whether at least half of the room that was left at the start was taken when they were counted."""
        return self._room > 0 and self._most - self._before >= self._room // 2


def _count_own() -> int:
    infos = [process.info for process in psutil.process_iter(["uids", "num_threads"])]
    return sum(info["num_threads"] or 0 for info in infos if info["uids"] and info["uids"].real == os.getuid())


def tmp_in_words(sandbox: Sandbox | None) -> str:
    """What a program can fill beside the workspace, as a sentence with a space before it; empty if there is nothing."""
    if sandbox is None or not sandbox.has_own_tmp:
        return ""
    return f" Its private folders /tmp and /dev/shm hold {units.size(sandbox.policy.tmp_bytes)} each."
