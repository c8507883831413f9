"""Finds out whether the service can make control groups on this machine, of which version, and where.

Version 2 needs a subtree that is delegated to the service (systemd's ``Delegate=yes``). Version 1 needs hierarchies that the service
can write to (as root). In version 2 only a group without processes can limit the groups below it, so the service moves itself into a
group beside those of its builds.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

from builds.engine.process.ceilings import Ceilings
from builds.engine.process.cgroups import WAIT, Groups, Version, read_table

LEAF = "jobsite-service"
NEEDED, WANTED = ("memory", "pids"), ("cpu",)
PROC = Path("/proc/self")
PROBE_SECONDS = 5.0

INSTALL = (
    "Run Jobsite with deploy/jobsite.service (its Delegate=yes lets Jobsite use control groups), start it by hand with "
    "`systemd-run --user --scope -p Delegate=yes make run`, or run it as root on a machine with control groups of version 1."
)


class _Unusable(Exception):
    """The reason why control groups of one version can't be used here."""


@cache
def choose(wanted: str) -> Groups:
    """The control groups of the newest version that works here; the result is cached. ``wanted`` "no" means none.

    A version works if a group can be made, a process put into it, and both be ended.
    """
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
    """Make a group, use it and remove it: limits that silently do nothing would be worse than no groups."""
    ceilings = Ceilings(memory=256 << 20, processes=16)
    group = groups.make(f"probe-{os.getpid()}", ceilings)
    if group is None:
        return
    process = subprocess.Popen([*WAIT, "true"], stdin=subprocess.PIPE, env={}, stdout=subprocess.DEVNULL)
    try:
        group.add(process.pid)
        if group.members != {process.pid}:
            raise _Unusable("A process could not be put into a control group.")
        events = group.folders["memory"] / ("memory.events" if groups.version == Version.V2 else "memory.oom_control")
        if "oom_kill" not in read_table(events) or "max" not in read_table(group.folders["pids"] / "pids.events"):
            raise _Unusable("The kernel is too old to report which limit of a control group was hit.")
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
        raise _Unusable("The control group of this service (version 2) is not delegated to it.")
    used = [name for name in (*NEEDED, *WANTED) if name in there]
    if not set(used) <= set((home / "cgroup.subtree_control").read_text().split()):
        _settle(home)
        (home / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in used))
    return Groups(Version.V2, dict.fromkeys(used, home))


def _settle(home: Path) -> None:
    """Move this service into its own group inside ``home``, together with the programs that started it."""
    own = psutil.Process()
    # With `systemd-run --scope make run`, make is in the group too.
    family = {process.pid for process in (own, *own.parents(), *own.children(recursive=True))}
    inside = {int(pid) for pid in (home / "cgroup.procs").read_text().split()}
    if inside - family:
        raise _Unusable("The control group of this service (version 2) contains other programs too.")
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
        raise _Unusable("Only root can make control groups of version 1.")
    return Groups(Version.V1, {name: path for name, path in parents.items() if os.access(path, os.W_OK)})


def _own_groups(proc: Path) -> dict[str, Path]:
    """The groups that this process is in, by controller (version 1). The one of version 2 has an empty name."""
    mounts = dict(_mounts(proc))
    found = {}
    for line in (proc / "cgroup").read_text().splitlines():
        _number, controllers, name = line.split(":", 2)
        for controller in controllers.split(","):
            if controller in mounts:
                root, place = mounts[controller]
                # In a container, the mounted group may be below the root of the hierarchy.
                inside = Path(name).relative_to(root) if Path(name).is_relative_to(root) else Path()
                found[controller] = place / inside
    return found


def _mounts(proc: Path) -> Iterator[tuple[str, tuple[str, Path]]]:
    """For each controller, the group that is mounted, and where (proc(5), mountinfo)."""
    for line in (proc / "mountinfo").read_text().splitlines():
        before, _dash, after = line.partition(" - ")
        kind, _source, options = after.split(" ", 2)
        root, place = before.split()[3:5]
        if kind in ("cgroup", "cgroup2"):
            for controller in [""] if kind == "cgroup2" else options.split(","):
                yield controller, (root, Path(place))
