"""Starts an untrusted program: in its own session, and in its control group from the first moment on, if there are control groups."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace

from builds.engine.process import tree
from builds.engine.process.cgroups import WAIT, Group
from builds.engine.process.command import Command
from builds.engine.sandbox.gate import Gate
from builds.engine.sandbox.joining import Fork
from builds.engine.sandbox.sandbox import Launch
from builds.errors import ProcessesLeft, SandboxLost, SandboxUnavailable, ToolMissing

# Around a fork in a sandbox there are a shell, and its parent outside.
FORK_PROCESSES = 2
# How long a sandbox that nothing has joined may take to end before it is killed.
END_SECONDS = 1.0


@dataclass(frozen=True)
class Started:
    """A program that was started, or a sandbox that a program can join.

    ``first`` is the first process of its sandbox, if that has its own processes. ``others`` are the children of this process that were
    there before it. None: the kernel's list of ``group`` has all that belongs to the program.
    """

    launch: Launch
    group: Group | None
    others: set[int] | None
    process: subprocess.Popen[bytes]
    first: int | None

    def tree(self, marker: str) -> tree.Tree:
        """Its processes, which carry ``marker``."""
        return tree.Tree(marker, self.others, self.process.pid, self.first, self.group)

    def joined_by(self, fork: Fork | None) -> Started:
        """The same sandbox, for ``fork`` to join it."""
        if fork is None or self.launch.joining is None:
            raise ValueError("no program can join")
        return replace(self, launch=replace(self.launch, joining=replace(self.launch.joining, fork=fork)))

    def end(self, marker: str) -> None:
        """End a sandbox that nothing has joined.

        Raises:
            ProcessesLeft: some of its processes could not be ended.
        """
        with ExitStack() as stack:  # each step, whatever happens to those before it
            stack.callback(remove, self.group)
            stack.callback(_close_streams, self.process)
            stack.callback(_reap, self.first)
            stack.callback(self.process.wait)
            stack.callback(self.process.kill)
            close_descriptors(self.launch)  # the shell in it waits for one of them, and ends
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(END_SECONDS)
            self.tree(marker).end(0)


class Starting:
    """A program whose process is there, and waits for its control group.

    Make it in a thread that lives on: a sandbox ends with the thread that started it. Another thread may call :meth:`finish`, which takes
    most of the time where there is a sandbox.

    Raises:
        ToolMissing: the program does not exist.
        SandboxUnavailable: the sandbox could not be made.
    """

    def __init__(self, command: Command) -> None:
        tree.adopt_orphans()
        self._group = _make_group(command)
        try:
            self._launch = command.launch()
        except BaseException:
            remove(self._group)
            raise
        # Of a sandbox with its own processes the kernel's list has them all.
        self._others = None if self._group and self._launch.gate else tree.child_pids()
        with self._given_up_after_error():
            self._process = _spawn(self._launch, command, waits=bool(self._group and not self._launch.gate))

    def finish(self) -> Started:
        """Put it into its group, and let it go on. Call this once.

        Raises:
            SandboxUnavailable, SandboxLost: that failed. The program has not run, and nothing of it is left.
        """
        with self._given_up_after_error():
            first = _release(self._process, self._launch.gate, self._group)
        if self._launch.gate:
            self._launch.gate.close()
        return Started(self._launch, self._group, self._others, self._process, first)

    @contextmanager
    def _given_up_after_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self._launch.gate:
                self._launch.gate.close()
            close_descriptors(self._launch)
            remove(self._group)
            raise


def start(command: Command) -> Started:
    """Start a program. Raises what :class:`Starting` and :meth:`Starting.finish` raise."""
    return Starting(command).finish()


def environment(command: Command) -> dict[str, str]:
    return {**command.env, tree.MARKER: command.marker}


def not_started(program: str, reason: str | None) -> ToolMissing:
    """The error for a program that the system does not start."""
    return ToolMissing(f"The program {program!r} can't be started on this service: {reason}.")


def remove(group: Group | None) -> None:
    """Remove the group with all that is left in it.

    Raises:
        ProcessesLeft: some of its processes could not be ended.
    """
    if group and not group.end():
        raise ProcessesLeft(f"Processes of the build could not be ended: {sorted(group.members)[:10]}.")


def close_descriptors(launch: Launch) -> None:
    """Close what a launch that comes to nothing has open in this process, beside its gate."""
    if launch.joining:
        launch.joining.close()
    if launch.ready is not None:
        os.close(launch.ready)


def _make_group(command: Command) -> Group | None:
    """Make the command's group. Raises if its limits can't be set, so that it does not run without them."""
    try:
        more = FORK_PROCESSES if command.fork else 0
        ceilings = replace(command.ceilings, processes=command.ceilings.processes and command.ceilings.processes + more)
        return command.groups.make(command.marker, ceilings) if command.groups else None
    except OSError as error:
        raise SandboxUnavailable(f"The build's control group could not be made: {error.strerror}.") from error


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
        # After that error, bubblewrap does not say in time which process it has made.
        _kill(process, None if isinstance(error, TimeoutError) else gate)
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
    _close_streams(process)
    _reap(first)


def _reap(first: int | None) -> None:
    """Wait for the first process of a sandbox whose bubblewrap has ended."""
    if first:
        with suppress(ChildProcessError):  # bubblewrap has waited for it
            os.waitpid(first, 0)


def _close_streams(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


def _spawn(launch: Launch, command: Command, *, waits: bool) -> subprocess.Popen[bytes]:
    """Start the program, or, if it ``waits``, a shell that becomes the program."""
    try:
        if waits and shutil.which(launch.argv[0], path=command.env.get("PATH")) is None:
            raise not_started(launch.argv[0], os.strerror(errno.ENOENT))
        return subprocess.Popen(
            [*WAIT, *launch.argv] if waits else launch.argv,
            pass_fds=launch.pass_fds,
            cwd=command.cwd,
            env=environment(command),
            stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            umask=0o077,
        )
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        raise not_started(launch.argv[0], error.strerror) from error
    finally:
        for descriptor in launch.pass_fds:
            os.close(descriptor)
