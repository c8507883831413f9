"""Asks a fork server (builds/engine/tools/fork_server.py) to run a program, and waits for its end."""

from __future__ import annotations

import fcntl
import marshal
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ANSWER = struct.Struct("=idd")
# The number that a program has for the first of the descriptors that it is given beside its standard input, output and error.
FIRST_MORE = 3
END_SECONDS = 5.0


class Gone(Exception):
    """The server has ended, before the program did or before it was asked."""


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit code, negative for the number of a signal, and its processor time in seconds."""

    code: int
    seconds: float


class Forked:
    """A program that runs. Leaving the block kills it if it still does; so does the end of this process."""

    def __init__(self, reply: socket.socket) -> None:
        self._reply = reply

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._reply.close()

    def wait(self, seconds: float) -> Ended | None:
        """How it ended. None if it runs longer than ``seconds``.

        Raises:
            Gone: the server has ended, and the program with it.
        """
        if not select.select([self._reply], [], [], seconds)[0]:
            return None
        with suppress(OSError):
            if len(answer := self._reply.recv(ANSWER.size)) == ANSWER.size:
                status, user, system = ANSWER.unpack(answer)
                return Ended(os.waitstatus_to_exitcode(status), user + system)
        raise Gone

    def end(self) -> None:
        """Kill it if it runs, and wait for its end, but not for a server that was stopped."""
        with suppress(OSError, Gone):
            self._reply.shutdown(socket.SHUT_WR)
            self.wait(END_SECONDS)


class ForkServer:
    """The server as the process that started it and that process's forks see it. It ends with the last of them."""

    def __init__(self, program: Path) -> None:
        """Start the server. It can be asked at once, and answers when it has imported what it needs."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs, _copy_of_python() as python:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", str(program), str(theirs.fileno())],
                    executable=f"/proc/self/fd/{python.fileno()}",
                    env={"PATH": os.defpath},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno(), python.fileno()],
                    start_new_session=True,  # Ctrl-C in a terminal is not for its programs
                )
        except BaseException:
            self._socket.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Only the process that started it may ask."""
        return self._process.poll() is None

    @property
    def is_there(self) -> bool:
        """Whether the server seems to run, as far as can be told without asking it for anything."""
        hung_up = select.poll()
        hung_up.register(self._socket, 0)
        return not hung_up.poll(0)

    def start(
        self, program: str, arguments: Sequence[str], *, files: Sequence[int], inside: Mapping[str, Any] | None = None
    ) -> Forked:
        """Run the program. ``files`` are descriptors: standard input, output and error, and then those that ``inside`` is about, or that
        the program finds from FIRST_MORE on.

        Raises:
            Gone: the server has ended.
        """
        order = {"program": program, "arguments": list(arguments), **({"inside": dict(inside)} if inside else {})}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, memory_file(marshal.dumps(order)) as file:
            try:
                socket.send_fds(self._socket, [b"run"], [file.fileno(), theirs.fileno(), *files])
            except OSError as error:
                ours.close()
                raise Gone from error
        return Forked(ours)

    def close(self) -> None:
        """End the server."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


_of_this_process: ForkServer | None = None


def current() -> ForkServer | None:
    """The server that this process, or the one that it was forked from, has started. None if there is none, or no longer."""
    return _of_this_process if _of_this_process and _of_this_process.is_there else None


def keep_running(program: Path) -> ForkServer:
    """The server of this process, which is started if it does not run."""
    global _of_this_process
    if _of_this_process is None or not _of_this_process.is_running:
        ended, _of_this_process = _of_this_process, None
        if ended:
            ended.close()
        _of_this_process = ForkServer(program)
    return _of_this_process


def do_without() -> None:
    """Stop using a server in this process."""
    global _of_this_process
    _of_this_process = None


def _copy_of_python() -> Any:
    """This Python's program, as a file in memory that can't be written.

    A fork in a sandbox reaches the file that the server was started from, by ``/proc/self/exe``. There it is not read-only, as all other
    files outside the workspace are: whoever owns it could change its mode, and so give the service's Python away.
    """
    program = os.fdopen(os.memfd_create("python", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "w+b", buffering=0)
    try:
        with Path(sys.executable).open("rb") as original:
            shutil.copyfileobj(original, program, 1 << 20)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(program, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        program.close()
        raise
    return program


def memory_file(content: bytes = b"") -> Any:
    """A file in memory, open for reading and writing, at its beginning."""
    file = os.fdopen(os.memfd_create("jobsite"), "w+b", buffering=0)
    file.write(content)
    file.seek(0)
    return file
