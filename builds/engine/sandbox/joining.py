"""Starts a program of our own in a sandbox as a fork of the fork server (builds/engine/tools/step_inside.py).

A shell in the sandbox waits for the program's exit code and ends with it. So the sandbox is watched and ended as if the shell were the
program: when bubblewrap or the first process inside is killed, the kernel kills everything in the sandbox.
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builds.lib.fork_server import Forked, ForkServer, Gone

logger = logging.getLogger(__name__)

# It says that it waits, then reads a line; 137 is what a killed program ends with.
SHELL = ("/bin/sh", "-c", 'echo >"/proc/self/fd/$1"; read -r code <"/proc/self/fd/$2" || code=137; exit "$code"', "jobsite")
NAMESPACES = ("cgroup", "ipc", "uts", "net", "pid", "mnt", "user")
# How often to look whether to wait on for the sandbox.
LOOK_SECONDS = 0.1
# How long the server may take to say how a fork has ended, once its sandbox has.
END_SECONDS = 1.0


@dataclass(frozen=True)
class Fork:
    """A program of builds/engine/tools, by its module's name, with its arguments. ``server`` forks it."""

    server: ForkServer
    program: str
    arguments: Sequence[str]


@dataclass
class Joined:
    """A fork that has joined a sandbox, or should have."""

    running: Forked | None = None

    def seconds(self) -> float | None:
        """Its processor time, once the sandbox has ended. None if it did not end by itself, but with the server or before it had begun."""
        try:
            ended = self.running.wait(END_SECONDS) if self.running else None
        except Gone:
            return None
        return ended.seconds if ended and ended.code >= 0 else None


@dataclass(frozen=True)
class Joining:
    """A fork that will join a sandbox. ``plan`` and ``syscall_filter`` confine it there.

    The descriptors are ours: ``up`` can be read once the shell waits. ``code``, where the shell reads the exit code, and ``ready``, where
    the start is reported, are handed to the fork.
    """

    fork: Fork
    plan: Mapping[str, Any]
    syscall_filter: bytes
    up: int
    code: int
    ready: int

    @contextmanager
    def joined(
        self, first: int | None, *, groups: Iterable[Path], environment: Mapping[str, str], is_over: Callable[[], bool]
    ) -> Iterator[Joined]:
        """Start the fork once the sandbox is there, unless ``is_over`` before. It does not outlive the block.

        If it can't be started the shell ends, and nothing is reported on ``ready``. ``first`` is the sandbox's first process, if it could
        be made, and ``groups`` are the control groups' files that list its processes.
        """
        inside = {
            "groups": [str(path) for path in groups],
            "namespaces": NAMESPACES,
            "filter": self.syscall_filter,
            "environment": dict(environment),
            "plan": dict(self.plan),
        }
        joined = Joined()
        with ExitStack() as stack:
            try:
                if first and self._is_up(is_over):
                    joined.running = stack.enter_context(self._start(first, inside))
            except (Gone, OSError) as error:
                logger.warning("a program could not be started in its sandbox: %s", str(error) or type(error).__name__)
            finally:
                self.close()
            yield joined

    def close(self) -> None:
        for descriptor in (self.up, self.code, self.ready):
            os.close(descriptor)

    def _is_up(self, is_over: Callable[[], bool]) -> bool:
        """Wait until the shell waits. False if bubblewrap could not make the sandbox; it has printed why."""
        while not select.select([self.up], [], [], LOOK_SECONDS)[0]:
            if is_over():
                return False
        return bool(os.read(self.up, 16))

    def _start(self, first: int, inside: Mapping[str, Any]) -> Forked:
        with ExitStack() as stack:

            def opened(path: str, flags: int) -> int:
                descriptor = os.open(f"/proc/{first}/{path}", flags | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                return descriptor

            standard = [opened("fd/0", os.O_RDONLY), opened("fd/1", os.O_WRONLY), opened("fd/2", os.O_WRONLY)]
            namespaces = [opened(f"ns/{name}", os.O_RDONLY) for name in NAMESPACES]
            files = [*standard, self.ready, self.code, *namespaces]
            return self.fork.server.start(self.fork.program, self.fork.arguments, files=files, inside=inside)
