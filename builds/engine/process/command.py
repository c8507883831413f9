"""A command to run, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builds.engine.process.ceilings import Ceilings, Hit
from builds.engine.process.cgroups import Groups
from builds.engine.sandbox.joining import Fork
from builds.engine.sandbox.sandbox import Launch, Sandbox


@dataclass(frozen=True)
class Command:
    """A program with its arguments, and what confines it.

    ``env`` is its whole environment, beside ``marker``, which names the build and by which all of the command's processes are found.
    Processes that are still there at its end get ``grace_seconds`` to end before they are killed.
    """

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    marker: str
    sandbox: Sandbox | None = None
    ceilings: Ceilings = field(default_factory=Ceilings)
    groups: Groups | None = None
    grace_seconds: float = 10.0
    fork: Fork | None = None
    """The same program as a fork, which starts sooner. Used where it can be as confined and as well watched."""

    @property
    def workspace(self) -> Path:
        """The folder whose size is limited."""
        return self.sandbox.workspace if self.sandbox else self.cwd

    def launch(self) -> Launch:
        """How it is started: through the sandbox, if it has one."""
        if self.sandbox is None:
            return Launch(list(self.argv))
        if self.fork and self.joins:
            return self.sandbox.launch_fork(self.fork, self.cwd)
        return self.sandbox.launch(self.argv, self.cwd)

    @property
    def joins(self) -> bool:
        """Whether it is a fork that joins a sandbox. A fork is not a child of the process that starts it: without a control group its
        memory would not be counted.
        """
        return bool(self.fork and self.groups and self.sandbox and self.sandbox.can_be_joined)


@dataclass(frozen=True)
class Completed:
    """How a command ended. One of ``exit_code`` and ``signal`` is None; a sandbox reports a signal as the exit code 128 + its number.

    The peak memory is that of the whole tree, by samples and by the kernel. ``processor_seconds`` is the user and system time of the
    whole tree: the kernel's count of a control group, or else the larger of what the kernel reports of reaped processes and of the
    samples. Processes and threads are sampled only without a control
    group. ``left_behind`` is how many processes outlived the command; ``hit`` is the limit for which it was ended.
    """

    exit_code: int | None
    signal: int | None
    duration_seconds: float
    peak_memory_bytes: int
    peak_processes: int
    processor_seconds: float
    timed_out: bool
    output_limit_hit: bool
    left_behind: int
    hit: Hit | None = None
