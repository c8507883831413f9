"""Runs the commands of a build stage: they share one deadline, and write to the build's log and the stage's row."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence

from builds.engine.context import Context, Limits
from builds.engine.diagnosis import Clue, Clues, Pages
from builds.engine.diagnosis.programs import TOO_MANY_PROCESSES
from builds.engine.findings.catalogue.repository import OUTPUT_SLOWED
from builds.engine.manuscript.project import Project
from builds.engine.myst.measuring import Measuring, UserProcesses, tmp_in_words
from builds.engine.process.command import Command, Completed
from builds.engine.process.output import OutputAllowance
from builds.engine.process.run import run_command
from builds.errors import CommandTimedOut, LimitHit, ProcessesFull
from builds.lib import units

QUIETER = (
    "Reduce the output: turn off progress bars and debug output, or write them to a file. Or ask the journal's staff for more."
)


def command_timed_out(limits: Limits) -> CommandTimedOut:
    """The error of a build whose commands exceeded their time limit."""
    return CommandTimedOut(
        f"Failed to build the repo files: the build exceeded its time limit of {units.duration(limits.build_seconds)}."
    )


class Shell:
    """The commands of one build, in the project's folder, with ``environment``.

    ``clues`` keeps the output lines that complain about something or may explain a failure.
    """

    def __init__(self, context: Context, project: Project, environment: Mapping[str, str]) -> None:
        self.context = context
        self.folder = project.folder
        self.environment = environment
        self.clues = Clues(
            project.folder,
            within=str(project.folder.relative_to(project.root)),
            pages=Pages(project),
            limits={**context.limits.ceilings.in_words, "tmp": tmp_in_words(context.sandbox)},
            kernel_reports=bool(context.groups),
            is_fact=Measuring(context, environment).is_fact,
            checked=lambda: context.findings.all,
        )
        self._processes: UserProcesses | None = None
        self._output = OutputAllowance(context.limits.log_bytes, context.limits.log_bytes_per_second)
        self._deadline = time.monotonic() + context.limits.build_seconds
        self._peak_memory = 0
        self._has_warned = False

    def run(self, argv: Sequence[str], *, shown: str = "") -> int:
        """Run one command and return its exit code (negative: the signal that ended it).

        Raises:
            CommandTimedOut: the stage's time limit is over.
            LimitHit: the command exceeded a limit.
            ProcessesFull: it could not start a process, because other builds have started too many.
            DiskFull, MemoryFull: the service's disk is nearly full, or its machine is out of memory.
            SandboxUnavailable: it can't be sandboxed.
            BuildStopped: the build has to stop; none of the command's processes runs any more.
            ToolMissing: the program does not exist.
        """
        self.context.log.line(f"$ {shown or shlex.join(argv)}")
        self.context.spare.close()  # its processes carry the same marker as the command's
        if self.context.sandbox:
            self.context.sandbox.hand_over()
        self._processes = UserProcesses(self.context.sandbox, has_groups=bool(self.context.groups))
        command = Command(
            argv,
            cwd=self.folder,
            env=self.environment,
            marker=self.context.build_id,
            sandbox=self.context.sandbox,
            ceilings=self.context.limits.ceilings,
            groups=self.context.groups,
        )
        completed = run_command(
            command,
            deadline_seconds=max(self._deadline - time.monotonic(), 0.1),
            stop=self.context.stop,
            on_lines=self.take_lines,
            redact=self.context.redact,
            output=self._output,
            on_used=self.context.report.used,
        )
        self._report(completed)
        self._warn_if_slowed()
        self._check_limits(completed)
        return completed.exit_code if completed.exit_code is not None else -(completed.signal or 0)

    def _check_limits(self, completed: Completed) -> None:
        if completed.hit:
            raise completed.hit.error(
                f"Failed to build the repo files: the build {completed.hit.text}", advice=completed.hit.advice
            )
        if completed.exit_code and self._was_crowded_out(completed):
            raise ProcessesFull(
                "Failed to build the repo files: the service could not start any more processes, mostly because of other builds."
            )
        if completed.timed_out:
            raise command_timed_out(self.context.limits)
        if completed.output_limit_hit:
            limit = units.size(self.context.limits.log_bytes)
            raise LimitHit(
                f"Failed to build the repo files: the build wrote more than its output limit of {limit}.", advice=QUIETER
            )

    def _was_crowded_out(self, completed: Completed) -> bool:
        """Whether the command could not start a process although it had started only a few."""
        own = max(completed.peak_processes, completed.left_behind)  # a short-lived process may be in no sample
        has_few = own < self.context.limits.ceilings.processes // 2
        return has_few and self._processes is not None and self._processes.are_many and _is_about_processes(self.clues.explain())

    def _warn_if_slowed(self) -> None:
        if self._output.was_slowed and not self._has_warned:
            self._has_warned = True
            rate = units.size(self.context.limits.log_bytes_per_second)
            self.context.find(OUTPUT_SLOWED, rate=rate)

    def take_lines(self, stream: str, lines: Sequence[str]) -> None:
        """Keep lines of output in the log, and what they complain about."""
        first = self.context.log.write_lines(lines, stream=stream)
        if any(map(_is_about_processes, self.clues.see_many(first, stream, lines))) and self._processes:
            self._processes.count()
        self.on_lines(lines)

    def on_lines(self, lines: Sequence[str]) -> None:
        """Called with all lines of output, for a subclass."""

    def _report(self, completed: Completed) -> None:
        self._peak_memory = max(self._peak_memory, completed.peak_memory_bytes or 0)
        code = completed.exit_code if completed.exit_code is not None else -(completed.signal or 0)
        self.context.report.exited(exit_code=code, peak_memory_bytes=self._peak_memory)
        ended = f"exit code {code}" if code >= 0 else f"ended by signal {-code}"
        left = f", ended {completed.left_behind} processes that it left running" if completed.left_behind else ""
        if completed.output_limit_hit:
            limit = units.size(self.context.limits.log_bytes)
            self.context.log.line(f"Cut here: the build wrote more than its output limit of {limit}. The rest is not kept.")
        self.context.log.line(f"{ended} after {completed.duration_seconds:.1f} s{left}")


def _is_about_processes(clue: Clue | None) -> bool:
    return clue is not None and clue.rule is TOO_MANY_PROCESSES
