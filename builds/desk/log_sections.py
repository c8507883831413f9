"""The parts of a log, one for each stage: which lines are whose, which are open at first, and which lines are shown at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from builds.models import UNFINISHED, Build, Stage, StageName, State

PAGE_LINES = 500
LINES_BEFORE = 100


@dataclass(frozen=True)
class Section:
    """The lines ``first`` to ``last`` of one stage; of none where ``stage`` is None. ``last`` is below ``first`` where there are none."""

    name: str
    first: int
    last: int
    stage: Stage | None = None

    @property
    def key(self) -> str:
        return f"stage-{self.name}"

    @property
    def title(self) -> str:
        return self.name if self.stage else "Before the first stage"

    @property
    def state(self) -> str:
        return self.stage.state if self.stage else ""

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    def holds(self, line: int) -> bool:
        return self.first <= line <= self.last


def sections(build: Build, stages: Sequence[Stage]) -> list[Section]:
    """Those of a build whose log has ``build.log_lines`` lines."""
    total = max(
        [build.log_lines, *(stage.first_log_line - 1 for stage in stages)]
    )  # a stage may be newer than what was read of its build
    starts = [*(stage.first_log_line for stage in stages), total + 1]
    ends = pairwise(starts)
    found = [Section(stage.name, first, following - 1, stage) for stage, (first, following) in zip(stages, ends, strict=True)]
    first = found[0].first if found else total + 1
    return [Section("start", 1, first - 1), *found] if first > 1 else found


def opened(build: Build, parts: Sequence[Section]) -> str:
    """The key of the section that a reader wants to see: the one that failed, or runs; of a success what the build itself wrote."""
    if not parts:
        return ""
    failed = next((part for part in parts if part.state == Stage.State.FAILED), None)
    built = next((part for part in parts if part.name == StageName.BUILD), None)
    return ((built if build.state == State.SUCCEEDED else failed) or parts[-1]).key


def first_shown(build: Build, parts: Sequence[Section]) -> int:
    """The line with which the page begins where none is asked for: near the cause of a failure, near the end of what still runs."""
    start = 1
    if build.state == State.SUCCEEDED:
        start = next((part.first for part in parts if part.key == opened(build, parts)), 1)
    elif build.state == State.FAILED and build.cause_log_line:
        start = build.cause_log_line - LINES_BEFORE
    elif build.state in UNFINISHED or build.state in (State.FAILED, State.CANCELLED):
        start = build.log_lines
    return within(build, start)


def within(build: Build, start: int) -> int:
    """``start``, or the nearest line with which a full page begins."""
    return max(min(start, build.log_lines - PAGE_LINES + 1), 1)
