"""Runs a stranger's program and ends all of it.

Processes are started in a session of their own, with an environment that is given whole, and carry a marker in it. What leaves the
session (``setsid``, double fork) is found as a descendant, because this process takes in orphans (PR_SET_CHILD_SUBREAPER, prctl(2)),
or by the marker in ``/proc/<pid>/environ``. Where there are control groups, each command is in one of its own from its first moment on.
"""

from __future__ import annotations

import ctypes
import errno
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from builds.ceilings import Ceilings, Hit, OutputAllowance, Watcher
from builds.cgroups import WAIT, Group, Groups
from builds.errors import BuildError, SandboxLost, SandboxUnavailable, ToolMissing
from builds.output import LineSplitter
from builds.sandbox import Launch, Mode, Sandbox
from builds.stages import Stop

MARKER = "JOBSITE_BUILD"
PR_SET_CHILD_SUBREAPER = 36
READ_BYTES = 64 * 1024
TICK_SECONDS = 0.1
SAMPLE_SECONDS = 0.2
READY = b"R"
KILLED = 128 + signal.SIGKILL  # as bubblewrap tells it of what it has started
KILL_SECONDS = 30.0
DEFAULT_OUTPUT_BYTES = 200_000_000


class ProcessesLeft(BuildError):
    """Processes of the build could not be ended."""

    code = "processes-left"


@dataclass(frozen=True)
class Completed:
    """How a command ended. Of ``exit_code`` and ``signal`` one is None; in bubblewrap a signal is told as the code 128 + its number.

    Memory is the whole tree's, sampled, and the kernel's peak. ``hit`` is the limit for which it was ended.
    """

    exit_code: int | None
    signal: int | None
    duration_seconds: float
    peak_memory_bytes: int
    timed_out: bool
    output_limit_hit: bool
    left_behind: int
    hit: Hit | None = None


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    on_line: Callable[[str, str], None],
    deadline_seconds: float,
    stop: Stop,
    marker: str,
    output: OutputAllowance | None = None,
    grace_seconds: float = 10.0,
    redact: Callable[[str], str] = str,
    sandbox: Sandbox | None = None,
    ceilings: Ceilings | None = None,
    groups: Groups | None = None,
) -> Completed:
    """Run ``argv`` to its end, or end it, with everything that it started. ``on_line`` gets ``stdout`` or ``stderr``, and a line.

    Must be called from a thread that lives on: a sandbox ends with the thread that started it.

    Raises:
        ToolMissing: there is no such program.
        SandboxUnavailable: the sandbox could not be made.
        SandboxLost: it was killed before the program had begun.
        BuildStopped: ``stop`` was set; nothing of the program runs any more.
        ProcessesLeft: something of it could not be ended.
    """
    take_in_orphans()
    others = _children()
    launch = sandbox.launch(argv, cwd) if sandbox else Launch(list(argv))
    group = _group(groups, marker, ceilings or Ceilings())
    process = _start(launch, group, cwd=cwd, env={**env, MARKER: marker})
    # Bubblewrap takes a TERM for its own, and would leave no grace to what it holds. Landlock's first process is the program.
    spared = {process.pid} if sandbox and sandbox.mode == Mode.BUBBLEWRAP else set()
    watch = _Watch(
        process, on_line, time.monotonic() + deadline_seconds, stop, output or OutputAllowance(DEFAULT_OUTPUT_BYTES), redact
    )
    watch.watcher = Watcher(ceilings or Ceilings(), sandbox.workspace if sandbox else cwd, group)
    try:
        watch.until_end()
        watch.watcher.close()
        left_behind = _end(marker, others, grace_seconds, main=process.pid, spared=spared, group=group)
        watch.read_rest()
        watch.hit = watch.hit or watch.watcher.look_at_group()
    finally:
        watch.watcher.close()
        _end(marker, others, 0, main=process.pid, group=group)
        watch.reap()
        watch.close()
        _remove(group)
        told = _told(launch)
    stop.check()
    completed = watch.completed(left_behind)
    _check_start(argv[0], told, completed)
    return completed


def _told(launch: Launch) -> bytes:
    """How the start in a sandbox went (builds/tools/enter.py)."""
    if launch.ready is None:
        return READY
    with os.fdopen(launch.ready, "rb") as pipe:
        return pipe.read()


def _check_start(program: str, told: bytes, completed: Completed) -> None:
    if number := told.removeprefix(READY):
        raise ToolMissing(f"The program {program!r} can't be started on this service: {os.strerror(int(number))}.")
    if told or completed.timed_out or completed.hit:
        return
    if completed.signal is not None or completed.exit_code == KILLED:
        raise SandboxLost("What shuts the build in was killed before the build had begun.")
    raise SandboxUnavailable("The build's sandbox could not be made; the last lines of the log say why.")


def _group(groups: Groups | None, marker: str, ceilings: Ceilings) -> Group | None:
    """What can't be limited is not run."""
    try:
        return groups.make(marker, ceilings) if groups else None
    except OSError as error:
        raise SandboxUnavailable(f"No control group could be made for the build: {error.strerror}.") from error


def _remove(group: Group | None) -> None:
    if group and not group.end():
        raise ProcessesLeft(f"Processes of the build could not be ended: {sorted(group.members)[:10]}.")


def _start(launch: Launch, group: Group | None, *, cwd: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start it, in ``group`` if there is one. Where it can't be started, ``group`` is gone."""
    try:
        if group is None:
            return _spawn(launch.argv, launch, cwd=cwd, env=env)
        if shutil.which(launch.argv[0], path=env.get("PATH")) is None:
            raise ToolMissing(f"The program {launch.argv[0]!r} can't be started on this service: {os.strerror(errno.ENOENT)}.")
        process = _spawn([*WAIT, *launch.argv], launch, cwd=cwd, env=env, stdin=subprocess.PIPE)
        if process.stdin:
            _let_go(process, process.stdin, group)
    except BuildError:
        _remove(group)
        raise
    finally:
        for descriptor in launch.taken:
            os.close(descriptor)
    return process


def _let_go(process: subprocess.Popen[bytes], stdin: IO[bytes], group: Group) -> None:
    """Put it into the group before it becomes the program."""
    try:
        group.take_in(process.pid)
        os.write(stdin.fileno(), b"go\n")
    except (ProcessLookupError, BrokenPipeError) as error:
        process.communicate()
        raise SandboxLost("The build was killed before it had begun.") from error
    except OSError as error:
        process.kill()
        process.communicate()
        raise SandboxUnavailable(f"The build could not be put into its control group: {error.strerror}.") from error
    finally:
        stdin.close()


def _spawn(
    argv: Sequence[str], launch: Launch, *, cwd: Path, env: Mapping[str, str], stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            pass_fds=launch.taken,
            cwd=cwd,
            env=dict(env),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            umask=0o077,
        )
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        raise ToolMissing(f"The program {launch.argv[0]!r} can't be started on this service: {error.strerror}.") from error


class _Watch:
    """Reads both streams of a process as they come, until it has ended or has to."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        on_line: Callable[[str, str], None],
        deadline: float,
        stop: Stop,
        output: OutputAllowance,
        redact: Callable[[str], str],
    ) -> None:
        self.status: int | None = None
        self.watcher = Watcher(Ceilings(), Path())
        self.hit: Hit | None = None
        self._process, self._on_line, self._deadline, self._stop, self._output = process, on_line, deadline, stop, output
        self._started_at = time.monotonic()
        self._ended_at = self._started_at
        self._peak = 0
        self._timed_out = False
        self._selector = selectors.DefaultSelector()
        for name, stream in (("stdout", process.stdout), ("stderr", process.stderr)):
            if stream:
                os.set_blocking(stream.fileno(), False)
                self._selector.register(stream.fileno(), selectors.EVENT_READ, (name, LineSplitter(redact=redact)))

    def until_end(self) -> None:
        next_sample = 0.0
        while self._may_go_on():
            if self._output.must_wait():
                time.sleep(TICK_SECONDS)
            else:
                self._read(TICK_SECONDS)
            if time.monotonic() >= next_sample:
                self.hit = self.watcher.look(self._process.pid)
                next_sample = time.monotonic() + SAMPLE_SECONDS
            if self._has_ended():
                return

    def read_rest(self) -> None:
        """What is still in the pipes. Nobody writes to them any more."""
        while not self._output.is_used_up and self._read(0):
            pass
        for key in list(self._selector.get_map().values()):
            self._end_of(key)

    def _may_go_on(self) -> bool:
        self._timed_out = time.monotonic() >= self._deadline
        return not (self._timed_out or self._stop.is_set or self._output.is_used_up or self.hit)

    def _read(self, timeout: float) -> bool:
        """Read once from each stream that has something or has ended; whether there was any."""
        if not self._selector.get_map():
            time.sleep(min(timeout, 0.01))
            return False
        ready = self._selector.select(timeout)
        for key, _events in ready:
            with suppress(BlockingIOError):
                data = os.read(key.fd, READ_BYTES)
                if data:
                    name, splitter = key.data
                    self._pass_on(name, splitter, data)
                else:
                    self._end_of(key)
        return bool(ready)

    def _pass_on(self, name: str, splitter: LineSplitter, data: bytes) -> None:
        self._output.take(data)
        for line in splitter.feed(data):
            self._on_line(name, line)

    def _end_of(self, key: selectors.SelectorKey) -> None:
        self._selector.unregister(key.fd)
        name, splitter = key.data
        for line in splitter.flush():
            self._on_line(name, line)

    def _has_ended(self) -> bool:
        if self.status is None:
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                self._ended(status, usage.ru_maxrss)
        return self.status is not None

    def _ended(self, status: int, maxrss_kib: int) -> None:
        self.status = status
        self._ended_at = time.monotonic()
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._peak = max(self._peak, maxrss_kib * 1024)

    def reap(self) -> None:
        """After the tree was ended: its first process is a zombie at most."""
        if self.status is None:
            with suppress(ChildProcessError):
                _pid, status, usage = os.wait4(self._process.pid, 0)
                self._ended(status, usage.ru_maxrss)

    def close(self) -> None:
        self._selector.close()
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()

    def completed(self, left_behind: int) -> Completed:
        code = os.waitstatus_to_exitcode(self.status) if self.status is not None else -signal.SIGKILL
        return Completed(
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            duration_seconds=self._ended_at - self._started_at,
            peak_memory_bytes=max(self._peak, self.watcher.peak_memory),
            timed_out=self._timed_out and self._ended_at >= self._deadline,
            output_limit_hit=self._output.is_used_up,
            left_behind=left_behind,
            hit=self.hit,
        )


# --- ending


def strays() -> dict[str, list[int]]:
    """The processes on this machine that carry a marker, by marker."""
    found: dict[str, list[int]] = {}
    for process in psutil.process_iter():
        marker = _marker(process)
        if marker:
            found.setdefault(marker, []).append(process.pid)
    return found


def end_tree(marker: str, *, grace_seconds: float) -> int:
    """End every process that carries ``marker``, and their descendants. Returns how many there were.

    Raises:
        ProcessesLeft: some could not be ended.
    """
    return _end(marker, None, grace_seconds)


def end_orphans(*, own: Iterable[int] = ()) -> int:
    """End all children of this process but its ``own``, and what they started. For a process that takes in orphans.

    Raises:
        ProcessesLeft: some could not be ended.
    """
    return _end("", set(own), 0)


def _end(
    marker: str,
    others: set[int] | None,
    grace_seconds: float,
    *,
    main: int | None = None,
    spared: set[int] | frozenset[int] = frozenset(),
    group: Group | None = None,
) -> int:
    """``others`` are children of ours that are none of this tree's; with None, only marked processes and theirs are. An empty
    ``marker`` is no process's.

    ``main`` is the first process of the tree: its end is not taken note of here. Those ``spared`` are not asked, only killed.
    """
    tree = _tree(marker, others, main)
    count = len(tree - {main})
    _signal(tree - spared, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while tree and time.monotonic() < deadline:
        time.sleep(0.02)
        tree = _tree(marker, others, main)
    deadline = time.monotonic() + KILL_SECONDS
    while tree:
        if group:
            group.kill()
        # What forks while it is being killed is stopped first: a stopped process forks no more.
        _signal(tree, signal.SIGSTOP)
        _signal(_tree(marker, others, main) | tree, signal.SIGKILL)
        time.sleep(0.01)
        tree = _tree(marker, others, main)
        if tree and time.monotonic() > deadline:
            raise ProcessesLeft(f"{len(tree)} processes of the build could not be ended: {sorted(tree)[:10]}.")
    return count


def _tree(marker: str, others: set[int] | None, main: int | None) -> set[int]:
    """The living processes of the build, by one look at the machine; its orphans that have ended are reaped on the way, ``main`` not."""
    own, found = os.getpid(), set()
    children: dict[int, list[int]] = {}
    for process in psutil.process_iter(["ppid", "status"]):
        parent = process.info["ppid"]
        is_orphan = others is not None and parent == own and process.pid not in others
        if process.info["status"] == psutil.STATUS_ZOMBIE:
            if is_orphan and process.pid != main:
                _reap(process.pid)
            continue
        children.setdefault(parent, []).append(process.pid)
        if is_orphan or (marker and _marker(process) == marker):
            found.add(process.pid)
    unseen = list(found)
    while unseen:
        more = [pid for pid in children.get(unseen.pop(), ()) if pid not in found]
        found.update(more)
        unseen += more
    return found - {own}


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _marker(process: psutil.Process) -> str:
    """Read straight from /proc: of a whole machine's processes, this is done often."""
    if sys.platform != "linux":
        with suppress(psutil.Error):
            return process.environ().get(MARKER, "")
        return ""
    with suppress(OSError):
        prefix = f"{MARKER}=".encode()
        for entry in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
            if entry.startswith(prefix):
                return entry.removeprefix(prefix).decode(errors="replace")
    return ""


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def take_in_orphans() -> None:
    """From now on, what loses its parent below this process becomes its child (Linux; not handed on to children)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
