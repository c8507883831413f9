"""A queue store as a process, for tests and benchmarks. It needs no settings."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobsite import embedded
from tests.support.waiting import wait_until

PROGRAM = embedded.find_program() or embedded.PROGRAMS[0]
# On its socket alone, and without files.
LOCAL = ("--port", "0", "--save", "")


@contextmanager
def server(folder: Path, *arguments: str, program: str = PROGRAM) -> Iterator[subprocess.Popen[bytes]]:
    """A queue store that keeps nothing, started with these arguments. It is ready when it has made its socket ``folder``/v.sock."""
    socket = folder / "v.sock"
    command = [program, *arguments, "--unixsocket", str(socket), "--dir", str(folder)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def is_ready() -> bool:
        assert running.poll() is None
        return socket.exists()

    wait_until(is_ready)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(20)
