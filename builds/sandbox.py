"""Shuts a build's programs in: they see the system, the build tools and their own workspace, and nothing else of this machine.

With bubblewrap in namespaces of their own (files, processes, users, network), with Landlock as a second layer. Where the system
refuses user namespaces, Landlock alone: no other files, no other process to signal, no TCP. In both, of the kernel's calls only what
a build needs (:mod:`builds.syscalls`). As root, builds run as an ordinary user that is each build's own.

The environment is not this module's: :func:`builds.process.run` gives it whole, and bubblewrap itself gets no other, because its
own would be readable at ``/proc/1/environ`` (``--clearenv`` does not help).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from builds import syscalls
from builds.errors import SandboxUnavailable
from builds.toolchain import TOOLS

ENTER = TOOLS / "enter.py"

# What of the system a build sees. Of /etc only what programs need to run: no accounts, no hosts, no keys.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
ETC = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/crypto-policies",
    "/etc/fonts",
    "/etc/texmf",
    "/etc/mime.types",
    "/etc/localtime",
)
# Without namespaces, no terminals: they are those of whoever the service's user is.
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/fd")

HELP_SECONDS = 20
# Users that nobody is: beyond what distributions and containers give out (systemd's UIDS-GIDS.md), else systemd's dynamic ones.
UIDS = ((1_900_000_000, 1 << 24), (61_184, 4_000))
INSIDE_UID = 1000
SHARED_TIMES = 2
# Below those that systems give out by themselves.
RELAY_PORTS, PROXY_INSIDE = range(20_128, 32_000), "/run/jobsite/proxy.sock"


class Mode(StrEnum):
    BUBBLEWRAP = "bubblewrap"
    LANDLOCK = "landlock"
    NONE = "none"


@dataclass(frozen=True)
class Policy:
    """What builds get to see. ``hidden`` are folders of the service's, where they lie inside what is seen; ``readable`` are more."""

    hidden: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    tmp_bytes: int = 256 << 20


@dataclass(frozen=True)
class Launch:
    """A command, the descriptors that it takes along, and the one that tells how its start went."""

    argv: list[str]
    taken: tuple[int, ...] = ()
    ready: int | None = None


@dataclass(frozen=True)
class Sandbox:
    """One build's: made for its workspace. ``limits`` are per process, by the name of the RLIMIT_; ``refused`` is a filter for
    system calls."""

    mode: Mode
    workspace: Path
    policy: Policy = Policy()
    bwrap: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)
    nice: int = 0
    uid: int | None = None
    proxy: Path | None = None
    refused: bytes = field(default=b"", repr=False)

    def launch(self, argv: Sequence[str], cwd: Path) -> Launch:
        """What to start instead of ``argv``."""
        ready, told = os.pipe()
        plan: dict[str, Any] = {"ready": told, "limits": self._limits(), "nice": self.nice, "uid": self.uid, "cwd": str(cwd)}
        plan["landlock"] = self._landlock()
        if self.mode == Mode.LANDLOCK:
            plan["refused"] = self.refused.hex()
            plan["keeper"] = self._keeper()
        if self.proxy:
            plan["relay"] = {"port": self.port, "socket": PROXY_INSIDE if self.mode == Mode.BUBBLEWRAP else str(self.proxy)}
        inside = [sys.executable, "-I", str(ENTER), json.dumps(plan), *argv]
        if self.mode == Mode.LANDLOCK:
            return Launch(inside, (told,), ready)
        given = [_data(text) for text in (*self._accounts(), self.refused) if text]
        return Launch([*self._bubblewrap(given), *inside], (told, *given), ready)

    def _limits(self) -> dict[str, int]:
        """The kernel counts a user's processes: of ours and of all builds, where none has a user or a namespace of its own. There it
        lets through twice as many, so that who starts too many is seen to (builds/ceilings.py), and ended before it does others harm
        for long."""
        limits = dict(self.limits)
        if "NPROC" in limits and self.shares_processes:
            own = [process.info for process in psutil.process_iter(["uids", "num_threads"])]
            taken = sum(info["num_threads"] or 0 for info in own if info["uids"] and info["uids"].real == os.getuid())
            limits["NPROC"] = taken + SHARED_TIMES * limits["NPROC"]
        return limits

    @property
    def shares_processes(self) -> bool:
        """Whether the processes that it may start are counted together with those of the service and of other builds."""
        return self.mode == Mode.LANDLOCK and self.uid is None

    def _keeper(self) -> dict[str, Any]:
        """What builds/tools/keep.py is to know."""
        name = syscalls.machine_name()
        return {
            "parent": os.getpid(),
            "workspace": str(self.workspace),
            "port": self.port if self.proxy else 0,
            "asked": syscalls.asked_alone(name),
            "filter": syscalls.program_alone(name).hex(),
            "seccomp": syscalls.MACHINES[name].calls["seccomp"],
        }

    def seeing(self, *paths: Path) -> Sandbox:
        """The same, in which ``paths`` can be read too."""
        return replace(self, policy=replace(self.policy, readable=(*self.policy.readable, *paths)))

    @property
    def port(self) -> int:
        """Where the proxy is asked: in a network of its own any port will do; on the machine's, one that nobody has."""
        return RELAY_PORTS[0] if self.mode == Mode.BUBBLEWRAP else _free_port(str(self.workspace))

    def hand_over(self) -> None:
        """Give the workspace to the build's user, where that is another. Nothing of the build runs."""
        if self.uid is not None:
            owner = f"{self.uid}:{self.uid}"
            subprocess.run(["chown", "-Rh", owner, "--", str(self.workspace)], check=True, capture_output=True)

    # --- bubblewrap

    def _bubblewrap(self, given: Sequence[int]) -> list[str]:
        """The filter is bubblewrap's to load: it then holds in its own process inside too, which those of a build could make act."""
        passwd, group, *refused = given
        return [
            self.bwrap,
            *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--unshare-net", "--hostname", "build"),
            *self._privileges(),
            *("--new-session", "--die-with-parent"),
            *self._files(),
            *("--ro-bind-data", str(passwd), "/etc/passwd", "--ro-bind-data", str(group), "/etc/group"),
            *(word for descriptor in refused for word in ("--seccomp", str(descriptor))),
            *("--remount-ro", "/dev", "--remount-ro", "/"),
            "--",
        ]

    def _privileges(self) -> list[str]:
        if self.uid is None:
            more = ["--disable-userns"] if _knows(self.bwrap, "--disable-userns") else []
            return ["--unshare-user", *more, "--uid", str(INSIDE_UID), "--gid", str(INSIDE_UID), "--cap-drop", "ALL"]
        kept = [word for name in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{name}")]
        return ["--cap-drop", "ALL", *kept]  # until the user is changed, in enter.py

    def _files(self) -> Iterator[str]:
        size = ("--perms", "1777", "--size", str(self.policy.tmp_bytes))  # as root, the folder would be root's alone
        for path in map(Path, SYSTEM):
            yield from _seen(path)
        yield from _made([Path(name) for name in ETC])
        for name in ETC:
            yield from ("--ro-bind-try", name, name)
        yield from ("--proc", "/proc", "--dev", "/dev", *size, "--tmpfs", "/dev/shm", *size, "--tmpfs", "/tmp")  # noqa: S108
        more = [path for path in self.policy.readable if path.exists()]
        yield from _made(more)
        for path in more:
            yield from ("--ro-bind", str(path), str(path))
        for path in self._hidden():
            yield from ("--tmpfs", str(path))
        yield from _made([*programs(), self.workspace])
        for path in programs():
            yield from ("--ro-bind", str(path), str(path))
        yield from ("--bind", str(self.workspace), str(self.workspace))
        if self.proxy:
            yield from (*_made([Path(PROXY_INSIDE)]), "--bind", str(self.proxy), PROXY_INSIDE)
        for path in self._hidden():
            yield from ("--remount-ro", str(path))

    def _hidden(self) -> list[Path]:
        shown = [Path(name) for name in SYSTEM] + list(self.policy.readable)
        return [path for path in self.policy.hidden if path.is_dir() and any(path.is_relative_to(other) for other in shown)]

    def _accounts(self) -> tuple[bytes, bytes]:
        number = INSIDE_UID if self.uid is None else self.uid
        return f"build:x:{number}:{number}:build:{self.workspace}/home:/bin/sh\n".encode(), f"build:x:{number}:\n".encode()

    # --- Landlock

    @property
    def listed(self) -> list[str]:
        """Where folders can be listed, if not everywhere that leads there can be too."""
        return [*self._readable, str(self.workspace)] if self.mode == Mode.LANDLOCK else []

    @property
    def _readable(self) -> list[str]:
        return [*SYSTEM, *ETC, "/etc/passwd", "/etc/group", *map(str, programs()), *map(str, self.policy.readable)]

    def _landlock(self) -> dict[str, Any] | None:
        """Inside bubblewrap all that can be seen may be read; the network is the build's own, so its ports are."""
        if landlock_version() < 1:
            return None
        writable = [str(self.workspace)]
        if self.mode == Mode.BUBBLEWRAP:
            return {"read": ["/"], "write": [*writable, "/tmp", "/dev/shm"], "devices": ["/dev"], "no_ports": False}  # noqa: S108 - the sandbox's own
        return {"read": self._readable, "write": writable, "devices": DEVICES, "no_ports": True}


def _seen(path: Path) -> list[str]:
    if path.is_symlink():
        return ["--symlink", str(path.readlink()), str(path)]
    return ["--ro-bind", str(path), str(path)] if path.is_dir() else []


def _made(paths: Iterable[Path]) -> Iterator[str]:
    """The folders that lead to ``paths``, from the top down. Made by bubblewrap itself they would be root's alone."""
    for folder in sorted({parent for path in paths for parent in path.parents if parent != Path("/")}):
        yield from ("--perms", "0755", "--dir", str(folder))


def programs() -> list[Path]:
    """Beyond the system: this Python with its virtual environment (``myst``, Node and Typst are there), by each name, and our tools."""
    prefixes = [Path(sys.base_prefix), Path(sys.base_prefix).resolve(), Path(sys.prefix), Path(sys.prefix).resolve()]
    found = [path for path in prefixes if not any(path.is_relative_to(system) for system in SYSTEM)]
    return [*dict.fromkeys(found), TOOLS]


def _data(text: bytes) -> int:
    """A descriptor that reads as ``text``."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - bubblewrap reads it
    file.write(text)
    file.seek(0)
    descriptor = os.dup(file.fileno())
    file.close()
    return descriptor


@cache
def _free_port(workspace: str) -> int:
    """For all commands of the workspace's build the same. Where builds look at once, each begins elsewhere."""
    first = zlib.crc32(workspace.encode()) % len(RELAY_PORTS)
    for port in (*RELAY_PORTS[first:], *RELAY_PORTS[:first]):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return int(port)
    raise SandboxUnavailable("No port of this machine is free for builds' network.")


def landlock_version() -> int:
    """The kernel's; 0 where it has none."""
    if sys.platform != "linux" or find_spec("landlockpy") is None:
        return 0
    from landlockpy import abi_version  # noqa: PLC0415 - where the package is missing, bubblewrap does without

    return abi_version()


@cache
def _knows(bwrap: str, option: str) -> bool:
    answer = subprocess.run([bwrap, "--help"], capture_output=True, text=True, env={}, check=False, timeout=HELP_SECONDS)
    return option in answer.stdout + answer.stderr


def build_user(build_id: str) -> int | None:
    """Where this is root: the number of a user of the build's own. Otherwise builds run as the user that this is."""
    if os.geteuid() != 0:
        return None
    first, count = next(span for span in UIDS if _is_mapped(span) or span is UIDS[-1])
    return first + zlib.crc32(build_id.encode()) % count


def _is_mapped(span: tuple[int, int]) -> bool:
    """In a container not every number is a user."""
    lines = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(int(first) <= span[0] and sum(span) <= int(first) + int(count) for first, _outside, count in lines)
