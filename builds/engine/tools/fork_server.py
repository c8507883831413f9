"""Runs Jobsite's own programs as forks of a process that has imported what they need. A new Python takes ten to fifty times as long.

Usage: fork_server.py DESCRIPTOR

DESCRIPTOR is a socket of the kind SOCK_SEQPACKET. Each message on it asks for one program, and brings descriptors: a file with the order, a
socket for the answer, the program's standard input, output and error, and those that the order is about. This process reads no order and no
text of a manuscript: the fork does. So a fork has nothing in its memory that an earlier one was given.

An order is a dictionary, written by marshal: ``program``, its ``arguments``, and, if it has to run in a sandbox, ``inside``
(step_inside.py). Otherwise the program finds the descriptors that the order is about from 3 on.

The answer is the end of the program: its status as of wait(2), and its user and system time in seconds. A program whose asker has gone, or
has closed the socket, is killed. This process ends when the last one that can ask it has ended, or after IDLE_SECONDS without a request.
"""

from __future__ import annotations

import fcntl
import gc
import json
import marshal
import os
import select
import signal
import socket
import struct
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parent))  # an isolated Python does not look beside the program

import step_inside  # type: ignore[import-not-found]  # beside this program

ANSWER = struct.Struct("=idd")
MAX_DESCRIPTORS = 24
ORDER, REPLY, STDIN, STDOUT, STDERR, MORE = range(6)
IDLE_SECONDS = 300
# Programs whose only argument is a plan in JSON; the others take their arguments as they are.
PLANNED = ("read_exports", "read_manuscript")
WARM = (
    *("read_exports", "read_published", "read_manuscript", "read_text", "meca", "jats"),
    *("reading.manuscript", "reading.editorial", "reading.whole", "pypdf", "xml.sax.expatreader", "tomllib"),
    *("ruamel.yaml", "ruamel.yaml.mergevalue", "filter"),
)


def main(descriptor: str) -> None:
    requests = socket.socket(fileno=int(descriptor))
    step_inside.die_with_parent(os.getppid())
    for name in WARM:
        with suppress(ImportError):  # the program that needs it says so
            import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy the pages of all that was imported
    Server(requests).serve()
    requests.close()  # at once: a client that asks from now on learns that nobody answers
    os._exit(0)


class Server:
    """Forks for each request, and answers when the fork has ended."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._running: dict[int, socket.socket] = {}
        self._pid = os.getpid()
        self._ended, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._poll = select.poll()
        self._poll.register(requests, select.POLLIN)
        self._poll.register(self._ended, select.POLLIN)

    def serve(self) -> None:
        """Serve until nobody is left who could ask, or nobody has asked for a long time."""
        while events := self._poll.poll(None if self._running else IDLE_SECONDS * 1000):
            for descriptor, happened in events:
                if descriptor == self._requests.fileno():
                    if not self._take():
                        return
                elif descriptor == self._ended:
                    self._reap()
                elif happened:
                    self._give_up(descriptor)

    def _take(self) -> bool:
        """Start what was asked for. False if nobody can ask any more."""
        message, descriptors, _flags, _address = socket.recv_fds(self._requests, 16, MAX_DESCRIPTORS)
        if not message:
            return False
        if len(descriptors) >= MORE:
            reply = socket.socket(fileno=os.dup(descriptors[REPLY]))
            pid = os.fork()
            if pid == 0:
                self._become(descriptors)
            self._running[pid] = reply
            self._poll.register(reply, select.POLLIN)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _become(self, descriptors: list[int]) -> NoReturn:
        """In the fork: run the program, and end with its exit code."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            step_inside.die_with_parent(self._pid)
            code = run(descriptors)
        except BaseException:  # whatever it is, this process must not go on as a server
            traceback.print_exc()
        finally:
            with suppress(BaseException):
                sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._ended, 4096)
        for pid in list(self._running):
            reaped, status, usage = os.wait4(pid, os.WNOHANG)
            if reaped:
                reply = self._running.pop(pid)
                with suppress(KeyError):  # it was killed, because nobody waits for it any more
                    self._poll.unregister(reply)
                with suppress(OSError):
                    reply.send(ANSWER.pack(status, usage.ru_utime, usage.ru_stime))
                reply.close()

    def _give_up(self, descriptor: int) -> None:
        """Kill the program whose asker has closed the socket, unless it has just ended."""
        for pid, reply in self._running.items():
            if reply.fileno() == descriptor:
                self._poll.unregister(descriptor)
                os.kill(pid, signal.SIGKILL)


def run(descriptors: list[int]) -> int:
    """Follow the order. Returns the program's exit code."""
    with os.fdopen(os.dup(descriptors[ORDER]), "rb") as file:
        order = marshal.load(file)  # noqa: S302 - the service wrote it
    for number, descriptor in enumerate((STDIN, STDOUT, STDERR)):
        os.dup2(descriptors[descriptor], number)
    # First to numbers that are not in the way of any lower one.
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 64) for descriptor in descriptors[MORE:]]
    more = [os.dup2(descriptor, 3 + number, inheritable=False) for number, descriptor in enumerate(moved)]
    os.closerange(3 + len(more), 256)
    gc.enable()
    if "inside" in order:
        step_inside.step(order["inside"], more)
    return call(order["program"], order["arguments"])


def call(program: str, arguments: list[Any]) -> int:
    """Call the program's ``main``. Its exit code is that which a Python of its own would have."""
    try:
        main = import_module(program).main
        main(json.loads(arguments[0])) if program in PLANNED else main(*arguments)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    else:
        code = 0
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    main(*sys.argv[1:])
