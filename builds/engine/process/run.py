"""Runs an untrusted program, and ends everything that it started.

A program runs in its own session. It gets no environment but the given one, with a marker by which its processes are found
(:mod:`builds.engine.process.tree`). Where there are control groups, it runs in its own group from the first moment on.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace

from builds.engine.process import tree
from builds.engine.process.cgroups import WAIT, Group
from builds.engine.process.command import Command, Completed
from builds.engine.process.output import OutputAllowance
from builds.engine.process.watch import Streams, Watch
from builds.engine.process.watcher import Watcher
from builds.engine.sandbox.gate import Gate
from builds.engine.sandbox.joining import Joined
from builds.engine.sandbox.sandbox import Launch
from builds.errors import ProcessesLeft, SandboxLost, SandboxUnavailable, ToolMissing
from builds.lib.stop import Stop

STARTED = b"R"
KILLED = 128 + signal.SIGKILL  # the exit code of a sandbox whose program was killed
DEFAULT_OUTPUT_BYTES = 200_000_000
# Around a fork in a sandbox there are a shell, and its parent outside.
FORK_PROCESSES = 2


def run_command(
    command: Command,
    *,
    deadline_seconds: float,
    stop: Stop,
    on_lines: Callable[[str, Sequence[str]], None],
    redact: Callable[[str], str] = str,
    output: OutputAllowance | None = None,
    on_used: Callable[[float], None] = lambda seconds: None,
) -> Completed:
    """Run ``command`` until it ends, or end it, together with everything that it started.

    ``on_lines`` gets ``stdout`` or ``stderr``, and the lines that have come. ``redact`` removes secrets from a line that is too long,
    before the line is cut. ``output`` limits what it may write; several commands may share it. ``on_used`` gets the processor time in
    seconds, also of a command that was stopped.

    Call this from a thread that lives on: a sandbox ends with the thread that started it.

    Raises:
        ToolMissing: the program does not exist.
        SandboxUnavailable: the sandbox could not be made.
        SandboxLost: the sandbox was killed before the program started.
        BuildStopped: ``stop`` was set; nothing of the program runs any more.
        ProcessesLeft: some of its processes could not be ended.
    """
    tree.adopt_orphans()
    launch = command.launch()
    group = _make_group(command)
    # Of a sandbox with its own processes the kernel's list has them all.
    others = None if group and launch.gate else tree.child_pids()
    process, first = _start(launch, group, command)
    processes = tree.Tree(command.marker, others, process.pid, first, group)
    streams = Streams(process, on_lines, redact, output or OutputAllowance(DEFAULT_OUTPUT_BYTES))
    watcher = Watcher(command.ceilings, command.workspace, group)
    watch = Watch(process, streams, watcher, deadline=time.monotonic() + deadline_seconds, stop=stop)
    try:
        with _joined(launch, first, group, command, is_over=lambda: watch.is_over) as joined:
            left_behind = _run_to_end(watch, processes, command)
            seconds = joined.seconds() if joined else 0.0
    finally:
        watch.finish()
        _remove(group)
        start_report = _read_start_report(launch)
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


def _joined(
    launch: Launch, first: int | None, group: Group | None, command: Command, is_over: Callable[[], bool]
) -> AbstractContextManager[Joined | None]:
    """Start the program that joins the sandbox, if the sandbox was not started with it."""
    if launch.joining is None:
        return nullcontext()
    files = [folder / "cgroup.procs" for folder in set(group.folders.values())] if group else []
    return launch.joining.joined(first, groups=files, environment=_environment(command), is_over=is_over)


def _check_fork(report: bytes, completed: Completed) -> None:
    """Raise an error if a fork did not start in time, or ended with its server: neither says anything about what it read."""
    if not report or (completed.exit_code == KILLED and not (completed.timed_out or completed.hit)):
        raise SandboxLost("A program of Jobsite did not run to its end in its sandbox.")


def _environment(command: Command) -> dict[str, str]:
    return {**command.env, tree.MARKER: command.marker}


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
    if number := report.removeprefix(STARTED):
        raise _not_started(program, os.strerror(int(number)))
    if report or completed.timed_out or completed.hit:
        return
    if completed.signal is not None or completed.exit_code == KILLED:
        raise SandboxLost("The sandbox was killed before the build started.")
    raise SandboxUnavailable("The build's sandbox could not be made; the last lines of the log say why.")


def _not_started(program: str, reason: str | None) -> ToolMissing:
    return ToolMissing(f"The program {program!r} can't be started on this service: {reason}.")


def _make_group(command: Command) -> Group | None:
    """Make the command's group. Raises if its limits can't be set, so that it does not run without them."""
    try:
        more = FORK_PROCESSES if command.fork else 0
        ceilings = replace(command.ceilings, processes=command.ceilings.processes and command.ceilings.processes + more)
        return command.groups.make(command.marker, ceilings) if command.groups else None
    except OSError as error:
        raise SandboxUnavailable(f"The build's control group could not be made: {error.strerror}.") from error


def _remove(group: Group | None) -> None:
    if group and not group.end():
        raise ProcessesLeft(f"Processes of the build could not be ended: {sorted(group.members)[:10]}.")


def _start(launch: Launch, group: Group | None, command: Command) -> tuple[subprocess.Popen[bytes], int | None]:
    """Start the program, in ``group`` if there is one. Returns it with the first process of its sandbox, if that has its own processes.

    If it can't be started, ``group`` is removed.
    """
    try:
        process = _spawn(launch, command, waits=bool(group and not launch.gate))
        return process, _release(process, launch.gate, group)
    except BaseException:
        _remove(group)
        if launch.joining:
            launch.joining.close()
        if launch.ready is not None:
            os.close(launch.ready)
        raise
    finally:
        if launch.gate:
            launch.gate.close()


def _release(process: subprocess.Popen[bytes], gate: Gate | None, group: Group | None) -> int | None:
    """Put what waits into the group, then let it go on."""
    with _moving(process, gate):
        if gate:
            return _open(gate, process, group)
        if group and process.stdin:
            group.add(process.pid)
            os.write(process.stdin.fileno(), b"go\n")
    return None


def _open(gate: Gate, process: subprocess.Popen[bytes], group: Group | None) -> int | None:
    """Bubblewrap makes the sandbox meanwhile: it takes the kernel as long to move a process into a group."""
    if group:
        _add(group, process.pid)
    first = gate.first_process
    if group and first:
        _add(group, first)
    gate.open()
    return first


def _add(group: Group, pid: int) -> None:
    with suppress(ProcessLookupError):  # it has ended, and starts nothing: bubblewrap says why, or its exit code
        group.add(pid)


@contextmanager
def _moving(process: subprocess.Popen[bytes], gate: Gate | None) -> Iterator[None]:
    """Kill the process if the block fails, so that nothing runs outside its group."""
    try:
        yield
    except BaseException as error:
        _kill(process, gate)
        if isinstance(error, ProcessLookupError | BrokenPipeError):
            raise SandboxLost("The build was killed before it started.") from error
        if isinstance(error, OSError):
            raise SandboxUnavailable(f"The build could not be put into its control group: {error.strerror}.") from error
        raise
    finally:
        if process.stdin:
            process.stdin.close()


def _kill(process: subprocess.Popen[bytes], gate: Gate | None) -> None:
    """Kill what waits, and with bubblewrap the first process of its sandbox: that may not yet have asked to end with bubblewrap."""
    first = None
    if gate:
        with suppress(OSError):
            first = gate.first_process
    for pid in (process.pid, first):
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
    if first:
        with suppress(ChildProcessError):
            os.waitpid(first, 0)


def _spawn(launch: Launch, command: Command, *, waits: bool) -> subprocess.Popen[bytes]:
    """Start the program, or, if it ``waits``, a shell that becomes the program."""
    try:
        if waits and shutil.which(launch.argv[0], path=command.env.get("PATH")) is None:
            raise _not_started(launch.argv[0], os.strerror(errno.ENOENT))
        return subprocess.Popen(
            [*WAIT, *launch.argv] if waits else launch.argv,
            pass_fds=launch.pass_fds,
            cwd=command.cwd,
            env=_environment(command),
            stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            umask=0o077,
        )
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        raise _not_started(launch.argv[0], error.strerror) from error
    finally:
        for descriptor in launch.pass_fds:
            os.close(descriptor)
