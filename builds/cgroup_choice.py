"""Whether this machine lets the service make control groups, of which version, and where.

Version 2 is used where a subtree is delegated to the service (systemd's ``Delegate=yes``), version 1 where its hierarchies can be
written (as root). In version 2 only a group without processes may limit those below it: the service moves to one beside them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

from builds.ceilings import Ceilings
from builds.cgroups import WAIT, Groups, Version, table

LEAF = "jobsite-service"
NEEDED, WANTED = ("memory", "pids"), ("cpu",)
PROC = Path("/proc/self")
PROBE_SECONDS = 5.0

INSTALL = (
    "Run Jobsite by deploy/jobsite.service (its Delegate=yes gives control groups to it), by hand with "
    "`systemd-run --user --scope -p Delegate=yes make run`, or as root on a machine with control groups of version 1."
)


class _Unusable(Exception):
    """Control groups of one version can't be used here."""


@cache
def choose(wanted: str) -> Groups:
    """The newest version that works here: a group is made, a process put into it, and both are ended. Found out once per process."""
    if wanted == "no":
        return Groups(problems=("BUILD_CGROUPS=no.",))
    problems = []
    for find in (_unified, _legacy):
        try:
            groups = find(PROC)
            _try(groups)
        except _Unusable as problem:
            problems.append(str(problem))
        except OSError as error:
            problems.append(f"Control groups can't be used: {error.strerror} ({error.filename}).")
        else:
            return groups
    return Groups(problems=(*problems, INSTALL))


def _try(groups: Groups) -> None:
    """A limit that is not kept is worse than none: it must be there as it was set, and the process in it."""
    ceilings = Ceilings(memory=256 << 20, processes=16)
    group = groups.make(f"probe-{os.getpid()}", ceilings)
    if group is None:
        return
    process = subprocess.Popen([*WAIT, "true"], stdin=subprocess.PIPE, env={}, stdout=subprocess.DEVNULL)
    try:
        group.take_in(process.pid)
        if group.members != {process.pid}:
            raise _Unusable("A process could not be put into a control group.")
        told = group.folders["memory"] / ("memory.events" if groups.version == Version.V2 else "memory.oom_control")
        if "oom_kill" not in table(told) or "max" not in table(group.folders["pids"] / "pids.events"):
            raise _Unusable("The kernel is too old to tell which limit of a control group was hit.")
    finally:
        process.kill()
        process.communicate()
        if not group.end(PROBE_SECONDS):
            raise _Unusable("A control group could not be removed.")


def _unified(proc: Path) -> Groups:
    """Version 2."""
    own = _own_groups(proc).get("")
    if own is None:
        raise _Unusable("The kernel has no control groups of version 2.")
    home = own.parent if own.name == LEAF else own
    there = (home / "cgroup.controllers").read_text().split()
    if missing := [name for name in NEEDED if name not in there]:
        raise _Unusable(f"The control group of this service (version 2) has no controller for {' and '.join(missing)}.")
    if not all(os.access(home / name, os.W_OK) for name in (".", "cgroup.procs", "cgroup.subtree_control")):
        raise _Unusable("The control group that this service runs in (version 2) is not given to it.")
    used = [name for name in (*NEEDED, *WANTED) if name in there]
    if not set(used) <= set((home / "cgroup.subtree_control").read_text().split()):
        _settle(home)
        (home / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in used))
    return Groups(Version.V2, dict.fromkeys(used, home))


def _settle(home: Path) -> None:
    """Move this service to a group of its own inside ``home``."""
    own = psutil.Process()
    # What has started it too: with `systemd-run --scope make run` that is make.
    family = {process.pid for process in (own, *own.parents(), *own.children(recursive=True))}
    inside = {int(pid) for pid in (home / "cgroup.procs").read_text().split()}
    if inside - family:
        raise _Unusable("The control group that this service runs in (version 2) holds other programs too.")
    (home / LEAF).mkdir(exist_ok=True)
    for pid in inside:
        with suppress(ProcessLookupError):
            (home / LEAF / "cgroup.procs").write_text(str(pid))


def _legacy(proc: Path) -> Groups:
    """Version 1."""
    own = _own_groups(proc)
    parents = {name: own[name] for name in (*NEEDED, *WANTED) if name in own}
    if missing := [name for name in NEEDED if name not in parents]:
        raise _Unusable(f"The kernel has no control groups of version 1 for {' and '.join(missing)}.")
    if not all(os.access(parents[name], os.W_OK) for name in NEEDED):
        raise _Unusable("Control groups of version 1 can only be made by root.")
    return Groups(Version.V1, {name: path for name, path in parents.items() if os.access(path, os.W_OK)})


def _own_groups(proc: Path) -> dict[str, Path]:
    """The groups that this process is in, by controller of version 1; by an empty name that of version 2."""
    mounts = dict(_mounts(proc))
    found = {}
    for line in (proc / "cgroup").read_text().splitlines():
        _number, controllers, name = line.split(":", 2)
        for controller in controllers.split(","):
            if controller in mounts:
                root, place = mounts[controller]
                # In a container the hierarchy may be seen from below: from the group that is mounted.
                inside = Path(name).relative_to(root) if Path(name).is_relative_to(root) else Path()
                found[controller] = place / inside
    return found


def _mounts(proc: Path) -> Iterator[tuple[str, tuple[str, Path]]]:
    """Of each controller: which group is mounted, and where (proc(5), mountinfo)."""
    for line in (proc / "mountinfo").read_text().splitlines():
        before, _dash, after = line.partition(" - ")
        kind, _source, options = after.split(" ", 2)
        root, place = before.split()[3:5]
        if kind in ("cgroup", "cgroup2"):
            for controller in [""] if kind == "cgroup2" else options.split(","):
                yield controller, (root, Path(place))
