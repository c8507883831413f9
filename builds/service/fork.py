"""Starts a program of the service as a fork of this process, which has loaded the application already: the two share its memory.

A forked program differs in nothing else from one that is started by exec. Its child process first leaves the supervisor's code, which
closes what that has open (:class:`InChild`), and then runs the command of the program (:class:`NextCommand`) as ``manage.py`` would.
docs/decisions/fork-after-import.md says why.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from django.core.management import ManagementUtility
from django.db import connections
from setproctitle import setproctitle

from builds.lib import release
from jobsite import env, log_lines

PR_SET_PDEATHSIG = 1
STDIN, STDERR = 0, 2
DESCRIPTORS, THREADS = Path("/proc/self/fd"), Path("/proc/self/task")


@dataclass(frozen=True)
class NextCommand:
    """What a forked program runs once it has left the supervisor's code.

    ``argv`` is the command line that would start it, with the interpreter. ``files`` are the descriptors that it inherits: their numbers
    in ``argv``, and the numbers under which they are kept until then.
    """

    argv: Sequence[str]
    files: Mapping[int, int] = field(default_factory=dict)

    def run(self) -> None:
        """Run it as ``manage.py`` would, in a Django that is set up already. No other descriptor stays open, as after an exec."""
        _close_all_but(self.files.values())
        for number, kept in self.files.items():
            os.dup2(kept, number, inheritable=False)
            os.close(kept)
        sys.argv = list(self.argv[1:])
        log_lines.name_process()
        ManagementUtility(sys.argv).fetch_command(sys.argv[1]).run_from_argv(sys.argv)


class InChild(BaseException):
    """Raised in the child of a fork, so that it leaves the code of its parent and runs ``command``."""

    def __init__(self, command: NextCommand) -> None:
        super().__init__()
        self.command = command


class Forked:
    """A forked program for its parent: the part of :class:`subprocess.Popen` that the supervisor uses."""

    stdin: IO[bytes] | None = None
    stdout: IO[bytes] | None = None

    def __init__(self, pid: int, stderr: IO[bytes]) -> None:
        self.pid, self.stderr = pid, stderr
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, or the negative number of the signal that ended it; None while it runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # the parent of this process lets the kernel reap its children
                self.returncode = 0
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def is_possible(argv: Sequence[str]) -> bool:
    """Whether a fork would run what starting ``argv`` would run: the same files and settings, and a process with one thread.

    After an upgrade, the files are another release's. A thread may hold a lock that no fork could ever release.
    """
    return (
        sys.platform == "linux"
        and list(argv[:2]) == [sys.executable, str(release.ROOT / "manage.py")]
        and Path(release.__file__).parents[2] == release.ROOT  # otherwise it was loaded through a link, which may change
        and _has_one_thread()
        and not release.has_changed()
        and not env.have_files_changed()
    )


def freeze() -> None:
    """Keep everything that is loaded out of garbage collections. They would write to it, and so copy it for each program."""
    gc.collect()
    gc.freeze()


def fork(argv: Sequence[str], files: Collection[int] = ()) -> Forked:
    """Start a program by a fork. The child has its own session, ends with this process, and writes its standard error to a pipe.

    Raises:
        InChild: in the child, with the command that it has to run.
    """
    reading, writing = os.pipe()
    waiting, ready = os.pipe()
    pid = _fork()
    if not pid:
        with _nothing_else_runs():
            os.dup2(os.open(os.devnull, os.O_RDONLY), STDIN)
            os.dup2(writing, STDERR)
            setproctitle(" ".join(argv))
            os.close(ready)
            raise InChild(NextCommand(argv, {number: os.dup(number) for number in files}))
    os.close(writing)
    _wait_until_closed(waiting, ready)
    return Forked(pid, os.fdopen(reading, "rb", buffering=0))


def _wait_until_closed(waiting: int, ready: int) -> None:
    """Wait until the child has closed ``ready``, or has ended: whoever looks for it then finds its name and its session."""
    os.close(ready)
    os.read(waiting, 1)
    os.close(waiting)


def in_child(step: Callable[[], None]) -> None:
    """Call ``step`` in a child process and wait for it, so that what it loads, opens and remembers does not stay in this process.

    If it fails, the child reports that as this process would, and this process ends with the child's exit code.
    """
    if sys.platform != "linux" or not _has_one_thread():
        step()
        return
    pid = _fork()
    if not pid:
        step()
        sys.exit(0)
    _pid, status = os.waitpid(pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(code if code > 0 else 1)


def die_with_parent(parent: int) -> None:
    """Let the kernel send this process SIGTERM when its parent dies. End it if the parent has died already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def _fork() -> int:
    """Fork. In the child, which has begun as a new process would, this returns 0; in the parent, the child's id."""
    _prepare()
    parent = os.getpid()
    with _signals_held():
        pid = os.fork()
        if not pid:
            with _nothing_else_runs():
                _begin(parent)
    return pid


def _prepare() -> None:
    """A child must not share a connection, nor write buffered output a second time."""
    connections.close_all()
    sys.stdout.flush()
    sys.stderr.flush()


def _begin(parent: int) -> None:
    """In the child: what a new process would have, instead of what the parent's code has set."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    die_with_parent(parent)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Signals wait meanwhile. One that reaches a child must not be taken by a handler of its parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _nothing_else_runs() -> Iterator[None]:
    """A child that fails here ends at once: it must never go on as its parent."""
    try:
        yield
    except InChild:
        raise
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _has_one_thread() -> bool:
    return len(list(THREADS.iterdir())) == 1


def _close_all_but(kept: Collection[int]) -> None:
    for number in [int(path.name) for path in DESCRIPTORS.iterdir()]:
        if number > STDERR and number not in kept:
            with suppress(OSError):  # the one that has listed them
                os.close(number)
