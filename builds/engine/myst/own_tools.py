"""Runs Jobsite's own programs (builds/engine/tools/) in the sandbox of a build, on untrusted files and addresses."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from builds.engine.context import Context
from builds.engine.process.command import Command, Completed
from builds.engine.process.output import OutputAllowance
from builds.engine.process.run import run_command
from builds.engine.sandbox.joining import Fork
from builds.engine.sandbox.sandbox import Sandbox
from builds.engine.tools import TOOLS
from builds.errors import Fault, SandboxLost, SandboxUnavailable
from builds.lib import fork_server

logger = logging.getLogger(__name__)

# The programs that every build runs.
FORKED = ("read_manuscript.py", "read_exports.py")


@dataclass(frozen=True)
class ToolResult:
    """How a program ended, and the lines that it wrote to its standard output and error."""

    ended: Completed
    lines: list[str]
    errors: list[str]

    def check_service(self, doing: str) -> None:
        """Raise DiskFull or MemoryFull if it ended through the service's own fault. ``doing`` names its task: "the page was read"."""
        hit = self.ended.hit
        if hit and hit.error.fault is Fault.SERVICE:
            raise hit.error(f"Failed to build the repo files: while {doing}, the build {hit.text}")

    @property
    def last_error(self) -> str:
        return (self.errors or ["no reason given"])[-1]


def prepare(ctx: Context) -> None:
    """Begin to make the sandbox in which the next program runs, if that can run as a fork. Call it inside ``with ctx.spare``."""
    ctx.spare.make(_command(ctx, ctx.sandbox, FORKED[0], (), {}))


def run(
    ctx: Context, sandbox: Sandbox | None, command: tuple[str, ...], *, seconds: float, max_bytes: int, env: Mapping[str, str]
) -> ToolResult:
    """Run ``command``, the name of a tool and its arguments, for at most ``seconds``, with at most ``max_bytes`` of output.

    Raises:
        SandboxUnavailable, SandboxLost: it can't be sandboxed.
        ProcessesFull, MemoryFull: there was no room for its process.
        BuildStopped: the build has to stop.
    """
    if sandbox:
        sandbox.hand_over()
    name, *arguments = command
    program = _command(ctx, sandbox, name, arguments, env)
    try:
        return _run(ctx, program, seconds, max_bytes)
    except (SandboxLost, SandboxUnavailable) as error:
        if program.fork is None:
            raise
        logger.warning("%s is started as a new process, because it could not run as a fork: %s", name, error)
        fork_server.do_without()
        return _run(ctx, replace(program, fork=None), seconds, max_bytes)


def _command(ctx: Context, sandbox: Sandbox | None, name: str, arguments: Sequence[str], env: Mapping[str, str]) -> Command:
    return Command(
        [sys.executable, "-I", str(TOOLS / name), *arguments],
        cwd=ctx.workspace,
        env=env,
        marker=ctx.build_id,
        sandbox=sandbox,
        ceilings=ctx.limits.ceilings,
        groups=ctx.groups,
        grace_seconds=0,
        fork=_fork(name, arguments),
    )


def _run(ctx: Context, program: Command, seconds: float, max_bytes: int) -> ToolResult:
    lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
    ended = run_command(
        program,
        deadline_seconds=seconds,
        stop=ctx.stop,
        on_lines=lambda stream, texts: lines[stream].extend(texts),
        output=OutputAllowance(max_bytes),
        on_used=ctx.report.used,
        started=ctx.spare.take(program),
    )
    return ToolResult(ended, lines["stdout"], lines["stderr"])


def _fork(name: str, arguments: Sequence[str]) -> Fork | None:
    server = fork_server.current() if name in FORKED else None
    return Fork(server, name.removesuffix(".py"), arguments) if server else None
