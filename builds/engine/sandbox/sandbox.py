"""What every kind of sandbox has: its settings, what it shows of the system, and the user that the build runs as.

:mod:`builds.engine.sandbox.probe` chooses the kind. The environment of a build is not set here but in
:func:`builds.engine.process.run.run_command`.
"""

from __future__ import annotations

import marshal
import os
import signal
import socket
import subprocess
import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

from builds.engine.sandbox.gate import Gate
from builds.engine.sandbox.joining import Fork, Joining
from builds.engine.tools import TOOLS
from builds.errors import SandboxUnavailable

# What a build sees of the system. Of /etc it sees only what programs need to run: no accounts, hosts or keys.
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
    "/var/lib/texmf",  # where Debian keeps the formats of TeX, and the list of its files
)
# User ids (first, count) that no account has: beyond those that distributions and containers assign (systemd's UIDS-GIDS.md), or,
# where those do not exist, systemd's dynamic ones.
UIDS = ((1_900_000_000, 1 << 24), (61_184, 4_000))


class SandboxKind(StrEnum):
    """How builds are sandboxed, as workers report it."""

    BUBBLEWRAP = "bubblewrap"
    LANDLOCK = "landlock"
    NONE = "none"


@dataclass(frozen=True)
class Policy:
    """What builds can see. ``hidden`` folders stay invisible even inside visible ones; ``readable`` ones are visible in addition."""

    hidden: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    tmp_bytes: int = 256 << 20


@dataclass(frozen=True)
class Launch:
    """A command and the descriptors that it inherits. On ``ready`` it reports how its start went (builds/engine/tools/enter.py)."""

    argv: list[str]
    pass_fds: tuple[int, ...] = ()
    ready: int | None = None
    gate: Gate | None = None
    """Where the command waits for its start, if it makes a sandbox whose processes the kernel counts by themselves."""
    joining: Joining | None = None
    """What runs in the sandbox that the command makes, if it is not the command itself."""


@dataclass(frozen=True)
class Sandbox(ABC):
    """The sandbox of one build, around its workspace. ``limits`` are per process, by the name of the RLIMIT_."""

    kind: ClassVar[SandboxKind]
    notice: ClassVar[str] = ""
    """What operators must know where builds run in this kind of sandbox."""
    can_be_joined: ClassVar[bool] = False
    """Whether a fork can join this kind of sandbox."""

    workspace: Path
    policy: Policy = Policy()
    limits: Mapping[str, int] = field(default_factory=dict)
    nice: int = 0
    uid: int | None = None
    syscall_filter: bytes = field(default=b"", repr=False)

    @classmethod
    @abstractmethod
    def find_problem(cls, policy: Policy, syscall_filter: bytes) -> str:
        """Why this machine can't have this kind of sandbox, as far as can be said without trying it; empty otherwise."""

    @abstractmethod
    def launch(self, argv: Sequence[str], cwd: Path) -> Launch:
        """The command to start instead of ``argv``, so that it runs in the sandbox."""

    def launch_fork(self, fork: Fork, cwd: Path) -> Launch:
        """How to start ``fork`` in the sandbox. Only kinds that ``can_be_joined`` define it."""
        raise NotImplementedError(f"{self.kind} can't be joined")

    @abstractmethod
    def with_proxy(self, folder: Path) -> tuple[Self, socket.socket]:
        """The same sandbox, from which programs reach a proxy, and the socket on which that proxy has to listen.

        ``folder`` is for the files that this needs. Only the service may be able to enter it.

        Raises:
            SandboxUnavailable: the proxy can't have such a socket now.
        """

    @property
    @abstractmethod
    def port(self) -> int:
        """The port on the build's loopback where its programs reach the proxy; 0 if there is none."""

    @property
    def shares_processes(self) -> bool:
        """Whether the kernel counts the build's processes together with the service's and other builds'."""
        return False

    @property
    def has_own_tmp(self) -> bool:
        """Whether the build has its own /tmp and /dev/shm, of ``policy.tmp_bytes`` each."""
        return False

    def extend_environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """``variables``, and those that programs need in this kind of sandbox."""
        return dict(variables)

    def seeing(self, *paths: Path) -> Self:
        """The same sandbox, in which ``paths`` can be read too."""
        return replace(self, policy=replace(self.policy, readable=(*self.policy.readable, *paths)))

    def hand_over(self) -> None:
        """Give the workspace to the build's user, if it has its own. No program of the build may be running."""
        if self.uid is not None:
            owner = f"{self.uid}:{self.uid}"
            subprocess.run(["chown", "-Rh", owner, "--", str(self.workspace)], check=True, capture_output=True)

    def _plan(self, ready: int, cwd: Path) -> dict[str, Any]:
        """What builds/engine/tools/enter.py does before the program starts."""
        signals = [int(signal.SIGPIPE), int(signal.SIGXFSZ)]
        return {
            **{"ready": ready, "limits": dict(self.limits), "nice": self.nice},
            **{"uid": self.uid, "cwd": str(cwd), "signals": signals},
        }


def bound_socket(family: socket.AddressFamily, address: str | tuple[str, int]) -> socket.socket:
    """A socket at this address, for a proxy.

    Raises:
        SandboxUnavailable: it can't be made.
    """
    made = socket.socket(family)
    try:
        made.bind(address)
    except OSError as error:
        made.close()
        raise SandboxUnavailable(f"The build's proxy has no socket to listen on: {error.strerror}.") from error
    return made


def with_plan(program: Path, plan: Mapping[str, Any], argv: Sequence[str]) -> list[str]:
    """The command that runs ``program``, which becomes ``argv`` after it has followed the plan. It needs no installed packages."""
    return [sys.executable, "-I", "-S", str(program), marshal.dumps(dict(plan)).hex(), *argv]


def program_folders() -> list[Path]:
    """The folders of programs that builds use beyond the system's: this Python with its virtual environment (which holds ``myst``,
    Node and Typst), under each of its names, and our tools."""
    prefixes = [Path(sys.base_prefix), Path(sys.base_prefix).resolve(), Path(sys.prefix), Path(sys.prefix).resolve()]
    outside = [path for path in prefixes if not any(path.is_relative_to(system) for system in SYSTEM)]
    return [*dict.fromkeys(outside), TOOLS]


def find_exposed(kind: SandboxKind, hidden: Iterable[Path], visible: Sequence[Path]) -> str:
    """Why a folder can't be hidden: it is inside one that builds must see. Empty if all can be hidden."""
    for path in hidden:
        for seen in visible:
            if path.resolve().is_relative_to(seen.resolve()):
                return (
                    f"With {kind}, builds could read {path}, because it is inside {seen}, which they can read. Move it elsewhere."
                )
    return ""


def build_user(build_id: str) -> int | None:
    """If this process is root: the id of a user that only this build has. Otherwise None: builds run as the service's own user."""
    if os.geteuid() != 0:
        return None
    first, count = next(span for span in UIDS if _is_mapped(span) or span is UIDS[-1])
    return first + zlib.crc32(build_id.encode()) % count


def _is_mapped(span: tuple[int, int]) -> bool:
    """Whether all ids of the span exist: a container may have fewer."""
    lines = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(int(first) <= span[0] and sum(span) <= int(first) + int(count) for first, _outside, count in lines)
