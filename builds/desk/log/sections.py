"""The sections of a log, one per stage: their lines, which section starts open, and which line the page starts with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from builds.models import UNFINISHED, Build, Stage, StageName, State

PAGE_LINES = 500
LINES_BEFORE = 100


@dataclass(frozen=True)
class Section:
    """The lines ``first`` to ``last`` of one stage, or those before the first stage. ``last`` is ``first - 1`` if there are none."""

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


def find_sections(build: Build, stages: Sequence[Stage]) -> list[Section]:
    """The sections of a build's log."""
    # A stage may have been read after its build, so it may start beyond ``build.log_lines``.
    total = max([build.log_lines, *(stage.first_log_line - 1 for stage in stages)])
    starts = [*(stage.first_log_line for stage in stages), total + 1]
    ends = pairwise(starts)
    found = [Section(stage.name, first, following - 1, stage) for stage, (first, following) in zip(stages, ends, strict=True)]
    first = found[0].first if found else total + 1
    return [Section("start", 1, first - 1), *found] if first > 1 else found


def find_open_key(build: Build, parts: Sequence[Section]) -> str:
    """The key of the section that starts open: the failed or running one, or after a success the build stage."""
    if not parts:
        return ""
    failed = next((part for part in parts if part.state == Stage.State.FAILED), None)
    built = next((part for part in parts if part.name == StageName.BUILD), None)
    return ((built if build.state == State.SUCCEEDED else failed) or parts[-1]).key


def choose_first_line(build: Build, parts: Sequence[Section]) -> int:
    """The first line of the page if the request names none: near the cause of a failure, or near the end of a running log."""
    start = 1
    if build.state == State.SUCCEEDED:
        start = next((part.first for part in parts if part.key == find_open_key(build, parts)), 1)
    elif build.state == State.FAILED and build.cause_log_line:
        start = build.cause_log_line - LINES_BEFORE
    elif build.state in UNFINISHED or build.state in (State.FAILED, State.CANCELLED):
        start = build.log_lines
    return fit_start(build, start)


def fit_start(build: Build, start: int) -> int:
    """``start``, moved so that a full page follows it if the log is long enough."""
    return max(min(start, build.log_lines - PAGE_LINES + 1), 1)
