"""Lets a build reach listed hosts, if it needs them, through its own filtering proxy (builds/engine/tools/filter.py)."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from builds.engine.sandbox.sandbox import Sandbox
from builds.engine.tools import TOOLS
from builds.errors import BuildError, SystemFault
from builds.lib import fork_server
from builds.lib.fork_server import FIRST_MORE, Forked

BACKLOG = 256
# How builds/engine/tools/filter.py begins the line of a listed host that it could not reach.
UNREACHABLE = "unreachable "
# The same, of a host that a connection was made to.
ASKED = "asked "
# Not through the proxy: servers inside the sandbox, such as a notebook's kernel or a preview.
DIRECT = "localhost,127.0.0.1,::1"


@dataclass
class Proxy:
    """A running proxy: the sandbox from which programs reach it, the address it listens at (of a socket's file, or of TCP), and the file
    it writes refusals and failures to."""

    sandbox: Sandbox
    address: str | tuple[str, int]
    output: Path

    @property
    def family(self) -> socket.AddressFamily:
        """The kind of socket that connects to its address."""
        return socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET

    def variables(self) -> dict[str, str]:
        """The environment variables that make programs in the sandbox use it."""
        address = f"http://127.0.0.1:{self.sandbox.port}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy")
        return {**dict.fromkeys(names, address), "NO_PROXY": DIRECT, "no_proxy": DIRECT, "NODE_USE_ENV_PROXY": "1"}

    def refusals(self) -> list[str]:
        """What it has refused so far: one sentence per host and reason."""
        return [line for line in self._lines() if not line.startswith((UNREACHABLE, ASKED))]

    def unreachable(self) -> list[str]:
        """The listed hosts that it could not reach so far: one sentence per host and reason."""
        return [line.removeprefix(UNREACHABLE) for line in self._lines() if line.startswith(UNREACHABLE)]

    def asked(self) -> list[str]:
        """The hosts that it has connected the build to so far."""
        return [line.removeprefix(ASKED) for line in self._lines() if line.startswith(ASKED)]

    def has_died(self) -> bool:
        """Whether it takes no connections any more. A build that met this met it before, so there is nothing to wait for."""
        with socket.socket(self.family) as client:
            client.settimeout(1)
            return client.connect_ex(self.address) == errno.ECONNREFUSED

    def _lines(self) -> list[str]:
        with suppress(OSError):
            return list(dict.fromkeys(self.output.read_text(errors="replace").splitlines()))
        return []


@contextmanager
def proxied(sandbox: Sandbox, hosts: Sequence[str], private: Sequence[str] = (), *, own: str = "") -> Iterator[Proxy]:
    """Run a proxy for ``sandbox`` during the block. It allows ``hosts``, and ``private`` hosts also at private addresses.

    ``own`` is a host that may be this machine itself. Only for a program of our own, while nothing of the manuscript runs.

    Raises:
        SystemFault: the block failed, and the proxy had died before.
    """
    with tempfile.TemporaryDirectory(prefix="jobsite-net-") as folder:
        reaching, listening = sandbox.with_proxy(Path(folder))
        with listening:
            listening.listen(BACKLOG)
            proxy = Proxy(reaching, listening.getsockname(), Path(folder) / "refused")
            started = _start(listening, proxy.output, ",".join(hosts), ",".join(private), own)
        with started as process:
            try:
                yield proxy
            except BuildError as error:
                if proxy.has_died():
                    raise SystemFault("The proxy through which the build reaches the network has died.") from error
                raise
            finally:
                process.end()  # every line that it wrote is in the file


def _start(listening: socket.socket, written: Path, *lists: str) -> Forked | _Process:
    """Start the proxy, which takes connections at once.

    As a fork of the fork server it has nothing to import. Without one it is started as a new process, and becomes the filtering program
    with the first connection, because most commands never use the network.
    """
    with written.open("wb") as output, Path(os.devnull).open("r+b", buffering=0) as null:
        own_folder = str(written.parent)
        if server := fork_server.current():
            files = [null.fileno(), output.fileno(), null.fileno(), listening.fileno()]
            with suppress(fork_server.Gone):
                return server.start("filter", [str(FIRST_MORE), own_folder, *lists], files=files)
        return _Process(listening.fileno(), output.fileno(), own_folder, *lists)


class _Process:
    """The proxy as a process of its own. Leaving the block kills it if it still runs."""

    def __init__(self, listening: int, output: int, *arguments: str) -> None:
        program = [sys.executable, "-I", str(TOOLS / "filter.py"), str(listening), *arguments]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(TOOLS / "await_client.py"), str(listening), *program],
            env={"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
            pass_fds=[listening],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """Kill it, and wait for its end."""
        self._process.kill()
        self._process.wait()
