"""Finds all of a build's processes, and ends them.

What leaves its session (``setsid``, double fork) is found as a descendant, because this process takes in orphans
(PR_SET_CHILD_SUBREAPER, prctl(2)), or by the marker in ``/proc/<pid>/environ``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from builds.cgroups import Group
from builds.errors import BuildError

MARKER = "JOBSITE_BUILD"
PR_SET_CHILD_SUBREAPER = 36
KILL_SECONDS = 30.0


class ProcessesLeft(BuildError):
    """Processes of the build could not be ended."""

    code = "processes-left"


def strays() -> dict[str, list[int]]:
    """The processes on this machine that carry a marker, by marker."""
    found: dict[str, list[int]] = {}
    for process in psutil.process_iter():
        marker = _marker(process)
        if marker:
            found.setdefault(marker, []).append(process.pid)
    return found


def end_tree(marker: str, *, grace_seconds: float) -> int:
    """End every process that carries ``marker``, and their descendants. Returns how many there were.

    Raises:
        ProcessesLeft: some could not be ended.
    """
    return end(marker, None, grace_seconds)


def end_orphans(*, own: Iterable[int] = ()) -> int:
    """End all children of this process but its ``own``, and what they started. For a process that takes in orphans.

    Raises:
        ProcessesLeft: some could not be ended.
    """
    return end("", set(own), 0)


def end(
    marker: str,
    others: set[int] | None,
    grace_seconds: float,
    *,
    main: int | None = None,
    spared: set[int] | frozenset[int] = frozenset(),
    group: Group | None = None,
) -> int:
    """``others`` are children of ours that are none of this tree's; with None, only marked processes and theirs are. An empty
    ``marker`` is no process's.

    ``main`` is the first process of the tree: its end is not taken note of here. Those ``spared`` are not asked, only killed.
    """
    tree = _tree(marker, others, main)
    count = len(tree - {main})
    _signal(tree - spared, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while tree and time.monotonic() < deadline:
        time.sleep(0.02)
        tree = _tree(marker, others, main)
    deadline = time.monotonic() + KILL_SECONDS
    while tree:
        if group:
            group.kill()
        # What forks while it is being killed is stopped first: a stopped process forks no more.
        _signal(tree, signal.SIGSTOP)
        _signal(_tree(marker, others, main) | tree, signal.SIGKILL)
        time.sleep(0.01)
        tree = _tree(marker, others, main)
        if tree and time.monotonic() > deadline:
            raise ProcessesLeft(f"{len(tree)} processes of the build could not be ended: {sorted(tree)[:10]}.")
    return count


def _tree(marker: str, others: set[int] | None, main: int | None) -> set[int]:
    """The living processes of the build, by one look at the machine; its orphans that have ended are reaped on the way, ``main`` not."""
    own, found = os.getpid(), set()
    children: dict[int, list[int]] = {}
    for process in psutil.process_iter(["ppid", "status"]):
        parent = process.info["ppid"]
        is_orphan = others is not None and parent == own and process.pid not in others
        if process.info["status"] == psutil.STATUS_ZOMBIE:
            if is_orphan and process.pid != main:
                _reap(process.pid)
            continue
        children.setdefault(parent, []).append(process.pid)
        if is_orphan or (marker and _marker(process) == marker):
            found.add(process.pid)
    unseen = list(found)
    while unseen:
        more = [pid for pid in children.get(unseen.pop(), ()) if pid not in found]
        found.update(more)
        unseen += more
    return found - {own}


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _marker(process: psutil.Process) -> str:
    """Read straight from /proc: of a whole machine's processes, this is done often."""
    if sys.platform != "linux":
        with suppress(psutil.Error):
            return process.environ().get(MARKER, "")
        return ""
    with suppress(OSError):
        prefix = f"{MARKER}=".encode()
        for entry in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
            if entry.startswith(prefix):
                return entry.removeprefix(prefix).decode(errors="replace")
    return ""


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def children_of_ours() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def take_in_orphans() -> None:
    """From now on, what loses its parent below this process becomes its child (Linux; not handed on to children)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
