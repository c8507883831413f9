"""Runs an untrusted program, and ends everything that it started.

A program runs in its own session. It gets no environment but the given one, with a marker by which its processes are found
(:mod:`builds.engine.process.tree`). Where there are control groups, it runs in its own group from the first moment on.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from builds.engine.process import tree
from builds.engine.process.command import Command, Completed
from builds.engine.process.output import OutputAllowance
from builds.engine.process.start import Started, environment, not_started, remove, start
from builds.engine.process.watch import Streams, Watch
from builds.engine.process.watcher import Watcher
from builds.engine.sandbox.joining import Joined
from builds.engine.sandbox.sandbox import Launch
from builds.errors import MemoryFull, ProcessesFull, SandboxLost, SandboxUnavailable
from builds.lib.stop import Stop

STARTED, FAILED = b"R", b"E"
# Errors of the kernel that come from what other builds and programs use at that moment.
NO_ROOM = {errno.EAGAIN: ProcessesFull, errno.ENOMEM: MemoryFull}
KILLED = 128 + signal.SIGKILL  # the exit code of a sandbox whose program was killed
DEFAULT_OUTPUT_BYTES = 200_000_000


def run_command(
    command: Command,
    *,
    deadline_seconds: float,
    stop: Stop,
    on_lines: Callable[[str, Sequence[str]], None],
    redact: Callable[[str], str] = str,
    output: OutputAllowance | None = None,
    on_used: Callable[[float], None] = lambda seconds: None,
    started: Started | None = None,
) -> Completed:
    """Run ``command`` until it ends, or end it, together with everything that it started.

    ``on_lines`` gets ``stdout`` or ``stderr``, and the lines that have come. ``redact`` removes secrets from a line that is too long,
    before the line is cut. ``output`` limits what it may write; several commands may share it. ``on_used`` gets the processor time in
    seconds, also of a command that was stopped. ``started`` is its sandbox, if that was made before.

    Call this from a thread that lives on: a sandbox ends with the thread that started it.

    Raises:
        ToolMissing: the program does not exist.
        SandboxUnavailable: the sandbox could not be made.
        ProcessesFull, MemoryFull: the same, because there was no room for another process at that moment.
        SandboxLost: the sandbox was killed before the program started.
        BuildStopped: ``stop`` was set; nothing of the program runs any more.
        ProcessesLeft: some of its processes could not be ended.
    """
    started = started or start(command)
    processes = started.tree(command.marker)
    streams = Streams(started.process, on_lines, redact, output or OutputAllowance(DEFAULT_OUTPUT_BYTES))
    watcher = Watcher(command.ceilings, command.workspace, started.group)
    watch = Watch(started.process, streams, watcher, deadline=time.monotonic() + deadline_seconds, stop=stop)
    try:
        with _joined(started, command, is_over=lambda: watch.is_over) as joined:
            left_behind = _run_to_end(watch, processes, command)
            seconds = joined.seconds() if joined else 0.0
    finally:
        watch.finish()
        remove(started.group)
        start_report = _read_start_report(started.launch)
    completed = watch.completed(left_behind, sum(processes.orphans_seconds) + (seconds or 0.0))
    on_used(completed.processor_seconds)
    stop.check()
    _check_start(command.argv[0], start_report, completed)
    if seconds is None:
        _check_fork(start_report, completed)
    return completed


def _run_to_end(watch: Watch, processes: tree.Tree, command: Command) -> int:
    """Wait until the command ends, or end it. Returns how many of its processes outlived it. None is left, also after an error."""
    # A SIGTERM to bubblewrap would end everything inside it at once, without grace.
    spared = {processes.main} if command.sandbox and processes.main else set()
    try:
        watch.until_end()
        left_behind = processes.end(command.grace_seconds, spared=spared)
        watch.read_rest()
    except BaseException:
        processes.end(0)
        raise
    return left_behind


def _joined(started: Started, command: Command, is_over: Callable[[], bool]) -> AbstractContextManager[Joined | None]:
    """Start the program that joins the sandbox, if the sandbox was not started with it."""
    joining, group = started.launch.joining, started.group
    if joining is None:
        return nullcontext()
    files = [folder / "cgroup.procs" for folder in set(group.folders.values())] if group else []
    return joining.joined(started.first, groups=files, environment=environment(command), is_over=is_over)


def _check_fork(report: bytes, completed: Completed) -> None:
    """Raise an error if a fork did not start in time, or ended with its server: neither says anything about what it read."""
    if not report or (completed.exit_code == KILLED and not (completed.timed_out or completed.hit)):
        raise SandboxLost("A program of Jobsite did not run to its end in its sandbox.")


def _read_start_report(launch: Launch) -> bytes:
    """What builds/engine/tools/enter.py wrote about the start in a sandbox."""
    if launch.ready is None:
        return STARTED
    if launch.joining:  # the server may not have taken the other end yet
        os.set_blocking(launch.ready, False)
    with os.fdopen(launch.ready, "rb", buffering=0) as pipe:
        return pipe.read() or b""


def _check_start(program: str, report: bytes, completed: Completed) -> None:
    """Raise the error of a program that was not started."""
    if report.startswith(FAILED):
        number = int(report.removeprefix(FAILED))
        raise NO_ROOM.get(number, SandboxUnavailable)(f"The build's sandbox could not be made: {os.strerror(number)}.")
    if code := report.removeprefix(STARTED):
        raise not_started(program, os.strerror(int(code)))
    if report or completed.timed_out or completed.hit:
        return
    if completed.signal is not None or completed.exit_code == KILLED:
        raise SandboxLost("The sandbox was killed before the build started.")
    raise SandboxUnavailable("The build's sandbox could not be made; the last lines of the log say why.")
