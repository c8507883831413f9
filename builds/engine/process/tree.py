"""Finds all processes of a build, and ends them.

A process that leaves its session (``setsid``, double fork) is still found: as a descendant, because this process adopts orphans
(PR_SET_CHILD_SUBREAPER, prctl(2)), or by the marker in ``/proc/<pid>/environ``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from builds.engine.process.cgroups import Group
from builds.errors import ProcessesLeft

MARKER = "JOBSITE_BUILD"
PR_SET_CHILD_SUBREAPER = 36
KILL_SECONDS = 30.0
# How long a process may take to end after SIGKILL before it counts as one that was left behind.
DYING_SECONDS = 2.0
DYING_PAUSE_SECONDS = 0.01
# How long the processes of a sandbox may take to end after the program in it.
SETTLE_SECONDS = 0.05
SETTLE_PAUSE_SECONDS = 0.001
PF_EXITING = 4  # of a process's flags (proc(5))


def strays() -> dict[str, list[int]]:
    """The processes on this machine that carry a marker, by marker."""
    found: dict[str, list[int]] = {}
    for pid, _parent, _is_zombie in _processes():
        if marker := _marker(pid):
            found.setdefault(marker, []).append(pid)
    return found


def end_tree(marker: str, *, grace_seconds: float, kill_seconds: float = KILL_SECONDS) -> int:
    """End every process that carries ``marker``, and their descendants. Returns how many there were.

    ``grace_seconds``: how long they may end by themselves. ``kill_seconds``: how long SIGKILL may take.

    Raises:
        ProcessesLeft: some could not be ended.
    """
    return Tree(marker).end(grace_seconds, kill_seconds=kill_seconds)


def end_orphans(*, own: Iterable[int] = ()) -> int:
    """End all children of this process except ``own``, and their descendants. For a process that adopts orphans.

    Raises:
        ProcessesLeft: some could not be ended.
    """
    return Tree("", others=set(own)).end(0)


@dataclass(frozen=True)
class Tree:
    """The processes that carry ``marker`` (none where it is empty), this process's children except ``others``, and all descendants.

    ``others`` None: no child belongs to it without the marker. ``main`` is the tree's first process, which its starter reaps. ``first`` is
    the first process of its sandbox: it ends with all others there, and becomes this process's child if ``main`` ends before. All that
    ``group`` has belongs to the tree too.
    ``orphans_seconds`` are the processor times of the orphans that were reaped, with those of their children.
    """

    marker: str
    others: set[int] | None = None
    main: int | None = None
    first: int | None = None
    group: Group | None = None
    orphans_seconds: list[float] = field(default_factory=list)

    def end(
        self,
        grace_seconds: float,
        *,
        kill_seconds: float = KILL_SECONDS,
        spared: set[int] | frozenset[int] = frozenset(),
    ) -> int:
        """Ask all but ``spared`` to end, wait, then kill what is left. Returns how many there were beside ``main``.

        Raises:
            ProcessesLeft: some could not be ended.
        """
        if self._has_ended():
            return 0
        pids = self._lasting_pids()
        count = len(pids - {self.main})
        _signal(pids - spared, signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while pids and time.monotonic() < deadline:
            time.sleep(0.02)
            pids = self.pids()
        self._kill(pids, kill_seconds)
        return count

    def _has_ended(self) -> bool:
        """Whether nothing of a sandbox with its own processes is left, by the kernel's list: that needs no scan of the whole machine."""
        if self.group is None or self.first is None or self._runs_on():
            return False
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.group.members or not self._is_reaped(self.first):
            if time.monotonic() > deadline:
                return False
            time.sleep(SETTLE_PAUSE_SECONDS)
        return True

    def _runs_on(self) -> bool:
        """Whether ``main`` runs: then the list is not all, whatever it says."""
        if self.main is None:
            return False
        with suppress(ChildProcessError):  # its starter has reaped it
            return os.waitid(os.P_PID, self.main, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        return False

    def _lasting_pids(self) -> set[int]:
        """As :meth:`pids`, without those that are being killed: our own relay to the proxy ends with its program, but a moment later."""
        pids = self.pids()
        others = pids - {self.main}
        if not others:
            return pids
        deadline = time.monotonic() + DYING_SECONDS
        time.sleep(DYING_PAUSE_SECONDS)
        while any(map(_is_dying, others)) and time.monotonic() < deadline:
            time.sleep(DYING_PAUSE_SECONDS)
        return self.pids()

    def _kill(self, pids: set[int], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while pids:
            if self.group:
                self.group.kill()
            # Stop them first: a stopped process can't fork while the others are killed.
            _signal(pids, signal.SIGSTOP)
            _signal(self.pids() | pids, signal.SIGKILL)
            time.sleep(0.01)
            pids = self.pids()
            if pids and time.monotonic() > deadline:
                raise ProcessesLeft(f"{len(pids)} processes of the build could not be ended: {sorted(pids)[:10]}.")

    def pids(self) -> set[int]:
        """Its living processes, found in one pass over the machine. Orphans that have ended are reaped on the way, except ``main``."""
        own, found, zombies = os.getpid(), set(), set()
        children: dict[int, list[int]] = {}
        for pid, parent, is_zombie in _processes():
            children.setdefault(parent, []).append(pid)
            if is_zombie:
                zombies.add(pid)
            elif self.marker and _marker(pid) == self.marker:
                found.add(pid)
        if self.group:
            found |= self.group.members
        orphans = {pid for pid in children.get(own, ()) if self._is_own(pid)}
        found |= orphans - self._reap(orphans & zombies - {self.main})
        return _with_descendants(found, children, zombies) - {own}

    def _is_own(self, child: int) -> bool:
        """Whether a child of this process belongs to the tree, also without the marker."""
        return child == self.first if self.others is None else child not in self.others

    def _reap(self, zombies: set[int]) -> set[int]:
        """Reap those that have ended, and return them: another process may get such a number at once."""
        return {pid for pid in zombies if not _has_living_thread(pid) and self._is_reaped(pid)}

    def _is_reaped(self, pid: int) -> bool:
        """Whether this process has no such child any more. It is reaped if it has ended, and its processor time kept with that of the
        children that it had waited for."""
        try:
            reaped, _status, usage = os.wait4(pid, os.WNOHANG)
        except ChildProcessError:
            return True
        if reaped:
            self.orphans_seconds.append(usage.ru_utime + usage.ru_stime)
        return bool(reaped)


def _with_descendants(pids: set[int], children: dict[int, list[int]], zombies: set[int]) -> set[int]:
    """Those of ``pids`` that live, and their descendants. Only the zombies among them are looked at: a machine may be full of others."""
    living, unseen = set[int](), list(pids)
    while unseen:
        pid = unseen.pop()
        if pid not in living and (pid not in zombies or _has_living_thread(pid)):
            living.add(pid)
            unseen += children.get(pid, ())
    return living


def _has_living_thread(pid: int) -> bool:
    """Whether a thread of a zombie still runs: a process whose first thread has ended looks like a zombie until its last one ends."""
    with suppress(OSError):
        return any(_is_living(thread) for thread in Path(f"/proc/{pid}/task").iterdir())
    return False


def _is_living(thread: Path) -> bool:
    with suppress(OSError):
        return (thread / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _is_dying(pid: int) -> bool:
    """Whether a process is ending, or will before it can do anything else. Not if it has ended."""
    fields = _read(pid, "stat").rpartition(b")")[2].split(maxsplit=7)
    if not fields or (fields[0] in b"ZX" and not _has_living_thread(pid)):
        return False
    pending = [
        int(line.split()[1], 16) for line in _read(pid, "status").splitlines() if line.startswith((b"SigPnd:", b"ShdPnd:"))
    ]
    if any(signals >> (signal.SIGKILL - 1) & 1 for signals in pending):
        return True
    return bool(int(fields[6]) & PF_EXITING)


def _processes() -> Iterator[tuple[int, int, bool]]:
    """Each process of this machine: its id, its parent's, and whether it is a zombie.

    Read straight from /proc, because this is done at the end of each command: psutil takes four times as long.
    """
    if sys.platform != "linux":
        for process in psutil.process_iter(["ppid", "status"]):
            yield process.pid, process.info["ppid"], process.info["status"] == psutil.STATUS_ZOMBIE
        return
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    for pid in pids:
        # The name, in brackets, may have spaces and brackets in it.
        if fields := _read(pid, "stat").rpartition(b")")[2].split(maxsplit=2):
            yield pid, int(fields[1]), fields[0] == b"Z"


def _read(pid: int, name: str) -> bytes:
    """A file of a process in /proc; empty if it has ended or may not be read."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123 - much faster than pathlib, and there are many
            return file.read()
    except OSError:
        return b""


def _marker(pid: int) -> str:
    if sys.platform != "linux":
        with suppress(psutil.Error):
            return psutil.Process(pid).environ().get(MARKER, "")
        return ""
    prefix = f"{MARKER}=".encode()
    for entry in _read(pid, "environ").split(b"\0"):
        if entry.startswith(prefix):
            return entry.removeprefix(prefix).decode(errors="replace")
    return ""


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def kill_descendants(pid: int) -> None:
    """Kill the descendants of a process that cannot be killed itself, and so starts no more of them."""
    with suppress(psutil.Error):
        _signal([child.pid for child in psutil.Process(pid).children(recursive=True)], signal.SIGKILL)


def child_pids() -> set[int]:
    """The children of this process."""
    return {pid for pid, parent, _is_zombie in _processes() if parent == os.getpid()}


def adopt_orphans() -> None:
    """From now on, a descendant that loses its parent becomes a child of this process (Linux; children do not inherit this)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
