"""Runs the commands of one build's build stage: one deadline over all of them, their output into the log, the stage's row kept."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from builds import process, units
from builds.ceilings import OutputAllowance
from builds.diagnosis import Clues
from builds.diagnosis.programs import TOO_MANY_PROCESSES
from builds.errors import CommandTimedOut, LimitHit, ProcessesFull
from builds.stages import Context

# What mystmd says when it can't write a bundle's project file (MYST.md: a toc whose list is not indented deeper than its key).
TOC_BUG = "Invalid YAML was generated"
QUIETER = (
    "Make it write less: turn off progress bars and debug output, or send them to a file. Or ask the journal's staff for more."
)
UNKNOWN_DOI = re.compile(r'Could not find DOI "(?:doi:|https?://(?:dx\.)?doi\.org/)?(?P<doi>10\.[^"\s]{1,500})"')


class Shell:
    """The commands of one build, in ``folder`` with ``environment``. ``clues`` keeps what of their output may explain a failure."""

    def __init__(self, context: Context, folder: Path, environment: Mapping[str, str]) -> None:
        self.context = context
        self.folder = folder
        self.environment = environment
        self.clues = Clues(folder, limits=context.limits.ceilings.in_words, kernel_tells=bool(context.groups))
        self.met_toc_bug = False
        self.unknown_dois: set[str] = set()
        self._output = OutputAllowance(context.limits.log_bytes, context.limits.log_bytes_per_second)
        self._deadline = time.monotonic() + context.limits.build_seconds
        self._peak_memory = 0
        self._told_of_waiting = False

    def run(self, argv: Sequence[str], *, shown: str = "") -> int:
        """Run one command and return its exit code (negative: the signal that ended it).

        Raises:
            CommandTimedOut: the time of the whole stage is over.
            LimitHit: it took more than it may.
            ProcessesFull: it could start no more, because others have started so many.
            DiskFull, MemoryFull: the service's disk is nearly full, or its machine has no memory left.
            SandboxUnavailable: it can't be shut in.
            BuildStopped: the build has to stop; nothing of the command runs any more.
            ToolMissing: there is no such program.
        """
        self.context.log.line(f"$ {shown or shlex.join(argv)}")
        if self.context.sandbox:
            self.context.sandbox.hand_over()
        completed = process.run(
            argv,
            cwd=self.folder,
            env=self.environment,
            on_line=self._line,
            deadline_seconds=max(self._deadline - time.monotonic(), 0.1),
            stop=self.context.stop,
            marker=self.context.build_id,
            output=self._output,
            redact=self.context.redact,
            sandbox=self.context.sandbox,
            ceilings=self.context.limits.ceilings,
            groups=self.context.groups,
        )
        self._tell(completed)
        self._tell_of_waiting()
        self._check_limits(completed)
        return completed.exit_code if completed.exit_code is not None else -(completed.signal or 0)

    def _check_limits(self, completed: process.Completed) -> None:
        if completed.hit:
            raise completed.hit.error(
                f"Failed to build the repo files: the build {completed.hit.text}", advice=completed.hit.advice
            )
        if completed.exit_code and self._was_crowded_out(completed):
            raise ProcessesFull(
                "Failed to build the repo files: the service could not start any more processes, and most of them were not this build's."
            )
        if completed.timed_out:
            most = units.duration(self.context.limits.build_seconds)
            raise CommandTimedOut(f"Failed to build the repo files: the build took longer than the {most} that it may.")
        if completed.output_limit_hit:
            most = units.size(self.context.limits.log_bytes)
            raise LimitHit(
                f"Failed to build the repo files: the build wrote more than the {most} of output that it may.", advice=QUIETER
            )

    def _was_crowded_out(self, completed: process.Completed) -> bool:
        """Whether it says that it could start nothing more, though it had not started much."""
        sandbox, clue = self.context.sandbox, self.clues.explain()
        is_shared = sandbox is not None and sandbox.shares_processes and not self.context.groups
        own = max(completed.peak_processes, completed.left_behind)  # of what ends soon no sample may have been taken
        has_few = own < self.context.limits.ceilings.processes // 2
        return is_shared and has_few and clue is not None and clue.rule is TOO_MANY_PROCESSES

    def _tell_of_waiting(self) -> None:
        if self._output.was_slowed and not self._told_of_waiting:
            self._told_of_waiting = True
            rate = units.size(self.context.limits.log_bytes_per_second)
            self.context.log.warning(f"The build wrote more than {rate} of output a second, and was made to wait. {QUIETER}")

    def _line(self, stream: str, text: str) -> None:
        number = self.context.log.line(text, stream=stream)
        self.clues.see(number, stream, text)
        self.met_toc_bug = self.met_toc_bug or TOC_BUG in text
        if found := UNKNOWN_DOI.search(text):
            self.unknown_dois.add(found["doi"])

    def _tell(self, completed: process.Completed) -> None:
        self._peak_memory = max(self._peak_memory, completed.peak_memory_bytes or 0)
        code = completed.exit_code if completed.exit_code is not None else -(completed.signal or 0)
        self.context.report.exited(exit_code=code, peak_memory_bytes=self._peak_memory)
        ended = f"exit code {code}" if code >= 0 else f"ended by signal {-code}"
        left = f", ended {completed.left_behind} processes that it left behind" if completed.left_behind else ""
        if completed.output_limit_hit:
            most = units.size(self.context.limits.log_bytes)
            words = f"Cut here: the build had written more than the {most} of output that it may. What came after is not kept."
            self.context.log.line(words)
        self.context.log.line(f"{ended} after {completed.duration_seconds:.1f} s{left}")
