"""Runs a stranger's program and ends all of it.

Processes are started in a session of their own, with an environment that is given whole, and carry a marker in it, by which they are
found (:mod:`builds.process_tree`). Where there are control groups, each command is in one of its own from its first moment on.
"""

from __future__ import annotations

import errno
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from builds import process_tree
from builds.ceilings import Ceilings, Hit, OutputAllowance, Watcher
from builds.cgroups import WAIT, Group, Groups
from builds.errors import SandboxLost, SandboxUnavailable, ToolMissing
from builds.output import LineSplitter
from builds.sandbox import Launch, Sandbox
from builds.stages import Stop

READ_BYTES = 64 * 1024
TICK_SECONDS = 0.1
SAMPLE_SECONDS = 0.2
READY = b"R"
KILLED = 128 + signal.SIGKILL  # as a sandbox tells it of what it has started
DEFAULT_OUTPUT_BYTES = 200_000_000


@dataclass(frozen=True)
class Completed:
    """How a command ended. Of ``exit_code`` and ``signal`` one is None; in a sandbox a signal is told as the code 128 + its number.

    Memory is the whole tree's, sampled, and the kernel's peak. Processes and threads are sampled where there is no control group.
    ``hit`` is the limit for which it was ended.
    """

    exit_code: int | None
    signal: int | None
    duration_seconds: float
    peak_memory_bytes: int
    peak_processes: int
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
    process_tree.take_in_orphans()
    others = process_tree.children_of_ours()
    launch = sandbox.launch(argv, cwd) if sandbox else Launch(list(argv))
    ceilings = ceilings or Ceilings()
    group = _group(groups, marker, ceilings)
    process = _start(launch, group, cwd=cwd, env={**env, process_tree.MARKER: marker})
    # Bubblewrap takes a TERM for its own, and would leave no grace to what it holds.
    spared = {process.pid} if sandbox else set()
    watcher = Watcher(ceilings, sandbox.workspace if sandbox else cwd, group)
    output = output or OutputAllowance(DEFAULT_OUTPUT_BYTES)
    watch = _Watch(process, on_line, time.monotonic() + deadline_seconds, stop, output, redact, watcher)
    try:
        watch.until_end()
        left_behind = process_tree.end(marker, others, grace_seconds, main=process.pid, spared=spared, group=group)
        watch.read_rest()
    finally:
        process_tree.end(marker, others, 0, main=process.pid, group=group)
        watch.finish()
        _remove(group)
        told = _told(launch)
    stop.check()
    return _checked(argv[0], told, watch.completed(left_behind))


def _told(launch: Launch) -> bytes:
    """How the start in a sandbox went (builds/tools/enter.py)."""
    if launch.ready is None:
        return READY
    with os.fdopen(launch.ready, "rb") as pipe:
        return pipe.read()


def _checked(program: str, told: bytes, completed: Completed) -> Completed:
    """``completed``, if ``program`` was started."""
    if number := told.removeprefix(READY):
        raise ToolMissing(f"The program {program!r} can't be started on this service: {os.strerror(int(number))}.")
    if told or completed.timed_out or completed.hit:
        return completed
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
        raise process_tree.ProcessesLeft(f"Processes of the build could not be ended: {sorted(group.members)[:10]}.")


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
    except BaseException:
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
        watcher: Watcher,
    ) -> None:
        self.status: int | None = None
        self._watcher = watcher
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
        try:
            self._follow()
        finally:
            self._watcher.close()

    def _follow(self) -> None:
        next_sample = 0.0
        while self._may_go_on():
            if self._output.must_wait():
                time.sleep(TICK_SECONDS)
            else:
                self._read(TICK_SECONDS)
            if time.monotonic() >= next_sample:
                self.hit = self._watcher.look(self._process.pid)
                next_sample = time.monotonic() + SAMPLE_SECONDS
            if self._has_ended():
                return

    def read_rest(self) -> None:
        """What is still in the pipes, to which nobody writes any more; and whether the kernel has ended it for a limit."""
        while not self._output.is_used_up and self._read(0):
            pass
        for key in list(self._selector.get_map().values()):
            self._end_of(key)
        self.hit = self.hit or self._watcher.look_at_group()

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

    def finish(self) -> None:
        """After the tree was ended: its first process is a zombie at most."""
        if self.status is None:
            with suppress(ChildProcessError):
                _pid, status, usage = os.wait4(self._process.pid, 0)
                self._ended(status, usage.ru_maxrss)
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
            peak_memory_bytes=max(self._peak, self._watcher.peak_memory),
            peak_processes=self._watcher.peak_processes,
            timed_out=self._timed_out and self._ended_at >= self._deadline,
            output_limit_hit=self._output.is_used_up,
            left_behind=left_behind,
            hit=self.hit,
        )
