"""Runs programs of ours (builds/tools/) in the sandbox of a build, on what a stranger has made, or names."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from builds import process
from builds.ceilings import OutputAllowance
from builds.errors import Fault
from builds.process import Completed
from builds.sandbox import Sandbox
from builds.stages import Context
from builds.toolchain import TOOLS


@dataclass(frozen=True)
class Told:
    """How a program has ended, and what it has said."""

    ended: Completed
    lines: list[str]
    complaints: list[str]

    def check_service(self, doing: str) -> None:
        """Raise DiskFull, MemoryFull, … where it ended for what is the service's own fault, ``doing`` what it was to do."""
        hit = self.ended.hit
        if hit and hit.error.fault is Fault.SERVICE:
            raise hit.error(f"Failed to build the repo files: while {doing}, the build {hit.text}")

    @property
    def last_complaint(self) -> str:
        return (self.complaints or ["no reason given"])[-1]


def run(
    ctx: Context, sandbox: Sandbox | None, command: tuple[str, ...], *, seconds: float, most_bytes: int, env: Mapping[str, str]
) -> Told:
    """Run ``command``, the name of a tool and its arguments, for ``seconds`` at most; it may say ``most_bytes``.

    Raises:
        SandboxUnavailable, SandboxLost: it can't be shut in.
        BuildStopped: the build has to stop.
    """
    if sandbox:
        sandbox.hand_over()
    lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
    name, *arguments = command
    ended = process.run(
        [sys.executable, "-I", str(TOOLS / name), *arguments],
        cwd=ctx.workspace,
        env=env,
        on_line=lambda stream, text: lines[stream].append(text),
        deadline_seconds=seconds,
        stop=ctx.stop,
        marker=ctx.build_id,
        output=OutputAllowance(most_bytes),
        grace_seconds=0,
        sandbox=sandbox,
        ceilings=ctx.limits.ceilings,
        groups=ctx.groups,
    )
    return Told(ended, lines["stdout"], lines["stderr"])
