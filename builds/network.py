"""Lets a build that needs it out to listed hosts, through a filtering proxy of its own (builds/tools/filter.py)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from builds.errors import SandboxUnavailable
from builds.toolchain import TOOLS

START_SECONDS = 20
END_SECONDS = 5
# What asks for something on the build's own machine asks it directly: a notebook's kernel, a preview's server.
DIRECT = "localhost,127.0.0.1,::1"


@dataclass
class Proxy:
    """A running proxy: where it listens, and what it has refused so far."""

    socket: Path
    output: Path

    def refusals(self) -> list[str]:
        """A sentence for each thing refused, each once."""
        with suppress(OSError):
            return list(dict.fromkeys(self.output.read_text(errors="replace").splitlines()))
        return []


def variables(port: int) -> dict[str, str]:
    """What makes programs ask the proxy, at ``port`` of the build's own loopback."""
    address = f"http://127.0.0.1:{port}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy")
    return {**dict.fromkeys(names, address), "NO_PROXY": DIRECT, "no_proxy": DIRECT, "NODE_USE_ENV_PROXY": "1"}


@contextmanager
def proxied(hosts: Sequence[str], private: Sequence[str] = ()) -> Iterator[Proxy]:
    """A proxy that lets through to ``hosts``, for as long as the block runs; to ``private`` ones also at private addresses.

    Raises:
        SandboxUnavailable: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="jobsite-net-") as folder:
        proxy = Proxy(Path(folder) / "proxy.sock", Path(folder) / "refused")
        command = [sys.executable, "-I", str(TOOLS / "filter.py"), str(proxy.socket), ",".join(hosts), ",".join(private)]
        with proxy.output.open("wb") as output:
            process = subprocess.Popen(
                command,
                env={"HOME": folder, "PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
            )
        try:
            _wait(proxy.socket, process)
            yield proxy
        finally:
            _end(process)


def _wait(socket: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not socket.is_socket():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SandboxUnavailable("The proxy that lets the build out to the network did not start.")
        time.sleep(0.02)
    socket.chmod(0o666)  # its folder is nobody else's; the build's user may connect


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
