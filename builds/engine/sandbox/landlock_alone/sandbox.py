"""The sandbox without namespaces: Landlock restricts files and TCP, two seccomp filters and the keeper do what Landlock can't."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import psutil

from builds.engine.sandbox import landlock, seccomp, syscall_numbers
from builds.engine.sandbox.landlock_alone.seccomp import asked_calls, build_filter
from builds.engine.sandbox.landlock_alone.syscall_numbers import MACHINES
from builds.engine.sandbox.sandbox import (
    ETC,
    SYSTEM,
    Launch,
    Policy,
    Sandbox,
    SandboxKind,
    bound_socket,
    build_user,
    find_exposed,
    program_folders,
    with_plan,
)

OWN_TOOLS = Path(__file__).parent.resolve() / "tools"
# From this version on (Linux 6.12), Landlock keeps a build from signalling the service's processes.
MIN_LANDLOCK = 6
# No terminals: those that exist belong to the service's user.
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/fd")
# The kernel's limit on processes is higher than the build's by this factor, so that the build is seen to exceed its limit.
NPROC_FACTOR = 2


@dataclass(frozen=True)
class LandlockAlone(Sandbox):
    """See docs/sandbox.md for what it hides less than bubblewrap."""

    kind = SandboxKind.LANDLOCK
    notice = "builds are sandboxed by Landlock alone: they can see that other files and processes exist, and can't run notebooks."

    proxy_port: int = 0

    @classmethod
    def find_problem(cls, policy: Policy, syscall_filter: bytes) -> str:
        if (found := landlock.version()) < MIN_LANDLOCK:
            return f"Landlock without bubblewrap needs version {MIN_LANDLOCK} (Linux 6.12); this kernel has version {found}."
        if not syscall_filter:
            return f"Landlock without bubblewrap also needs a seccomp filter: {seccomp.find_problem()}"
        visible = [*program_folders(), *map(Path, SYSTEM), *policy.readable]
        if problem := find_exposed(cls.kind, policy.hidden, visible):
            return problem
        closed = _find_closed([*program_folders(), *policy.hidden]) if build_user("probe") is not None else None
        if closed is None:
            return ""
        return f"As root, builds run as another user, which with Landlock alone can't enter {closed}: run Jobsite as an ordinary user."

    def launch(self, argv: Sequence[str], cwd: Path) -> Launch:
        read_end, write_end = os.pipe()
        plan = self._plan(write_end, cwd) | {
            "limits": self._limits(),
            "filter": self.syscall_filter.hex(),
            "keeper": self._keeper(),
        }
        plan["landlock"] = landlock.rules(read=self._readable, write=[str(self.workspace)], devices=DEVICES, no_tcp=True)
        return Launch(with_plan(OWN_TOOLS / "start.py", plan, argv), (write_end,), read_end)

    def with_proxy(self, folder: Path) -> tuple[Self, socket.socket]:
        """The build shares the machine's loopback. The proxy keeps its port for as long as it runs."""
        listening = bound_socket(socket.AF_INET, ("127.0.0.1", 0))
        return replace(self, proxy_port=listening.getsockname()[1]), listening

    @property
    def port(self) -> int:
        return self.proxy_port

    @property
    def shares_processes(self) -> bool:
        return self.uid is None

    def extend_environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """mystmd lists every folder from the root down to the project; listing.cjs answers for those that Landlock closes."""
        options = f"{variables.get('NODE_OPTIONS', '')} --require={OWN_TOOLS / 'listing.cjs'}".strip()
        return {**variables, "NODE_OPTIONS": options, "JOBSITE_LISTED": ":".join([*self._readable, str(self.workspace)])}

    def _limits(self) -> dict[str, int]:
        """If the build runs as the service's user, the kernel also counts the processes of the service and of other builds. The limit is
        then raised by their number."""
        limits = dict(self.limits)
        if "NPROC" in limits and self.shares_processes:
            running = [process.info for process in psutil.process_iter(["uids", "num_threads"])]
            taken = sum(info["num_threads"] or 0 for info in running if info["uids"] and info["uids"].real == os.getuid())
            limits["NPROC"] = taken + NPROC_FACTOR * limits["NPROC"]
        return limits

    def _keeper(self) -> dict[str, Any]:
        """What tools/start.py gives to the keeper."""
        name = syscall_numbers.machine_name()
        return {
            "parent": os.getpid(),
            "workspace": str(self.workspace),
            "port": self.port,
            "asked": asked_calls(name),
            "filter": build_filter(name).hex(),
            "seccomp": MACHINES[name].calls["seccomp"],
        }

    @property
    def _readable(self) -> list[str]:
        folders = map(str, (*program_folders(), OWN_TOOLS, *self.policy.readable))
        return [*SYSTEM, *ETC, "/etc/passwd", "/etc/group", *folders]


def _find_closed(paths: Iterable[Path]) -> Path | None:
    """The first folder, of ``paths`` and their parents, that only its owner can enter."""
    folders = (folder for path in paths for folder in (*reversed(path.parents), path) if folder.is_dir())
    return next((folder for folder in folders if not folder.stat().st_mode & 0o001), None)
