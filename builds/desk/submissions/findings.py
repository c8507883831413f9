"""The findings of an attempt, as its page shows them: problems, notices, editorial checks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from uuid import UUID

from django.db.models import Q

from builds.engine.findings import Group, Severity
from builds.engine.findings.catalogue.exports import OWN_TEMPLATE
from builds.engine.manuscript.url import file_link
from builds.models import Build, Finding, State

# Editorial checks in the order of the page: for each severity its look, which is a state's, and its word.
CHECKS = {
    Severity.FAILED: ("failed", "failed"),
    Severity.ADVISED: ("warning", "advised"),
    Severity.PASSED: ("succeeded", "passed"),
}


def describe_place(file: str, line: int | None) -> str:
    """``paper.md, line 3``; empty without a file."""
    return f"{file}, line {line}" if file and line else file


@dataclass(frozen=True)
class Shown:
    """One finding. ``link`` leads to its file on GitHub; empty if that is unknown. ``look`` and ``word`` are for editorial checks."""

    finding: Finding
    link: str
    look: str = ""
    word: str = ""

    @property
    def place(self) -> str:
        return describe_place(self.finding.file, self.finding.line)


@dataclass(frozen=True)
class ShownFindings:
    """The findings of ``build``. ``warnings`` are texts that an older release kept."""

    build: Build
    problems: Sequence[Shown]
    notices: Sequence[Shown]
    checks: Sequence[Shown]
    warnings: Sequence[str]

    @property
    def number_of_problems(self) -> int:
        """Also counts the problems that were not kept. A failed attempt's cause is shown beside them and not counted."""
        return len(self.problems) if self.build.state == State.FAILED else self.build.problems

    @property
    def source(self) -> Build | None:
        """The attempt that found them, if ``build`` only delivers its exports again. Its log has the lines."""
        return self.build.made_by


def read_noted(builds: Sequence[Build]) -> dict[UUID, list[Finding]]:
    """What the list of attempts needs of several builds: their problems, and what is noted at an export."""
    noted: dict[UUID, list[Finding]] = defaultdict(list)
    kinds = Q(severity=Severity.BROKEN, group=Group.BUILD) | Q(code=OWN_TEMPLATE.code)
    for finding in Finding.objects.filter(kinds, build__in=builds):
        noted[finding.build_id].append(finding)
    return noted


def read(build: Build) -> ShownFindings:
    """The findings of a build, without the one that is its cause."""
    found = [_show(finding, build) for finding in build.findings.all() if not _is_cause(finding, build)]
    of_build = [shown for shown in found if shown.finding.group == Group.BUILD]
    order = list(CHECKS)
    return ShownFindings(
        build,
        problems=[shown for shown in of_build if shown.finding.severity == Severity.BROKEN],
        notices=[shown for shown in of_build if shown.finding.severity != Severity.BROKEN],
        checks=sorted((shown for shown in found if shown.word), key=lambda shown: order.index(Severity(shown.finding.severity))),
        warnings=[str(warning) for warning in build.warnings],
    )


def _show(finding: Finding, build: Build) -> Shown:
    look, word = CHECKS.get(Severity(finding.severity), ("", "")) if finding.group == Group.EDITORIAL else ("", "")
    return Shown(finding, _make_link(finding, build), look, word)


def _make_link(finding: Finding, build: Build) -> str:
    path = PurePosixPath(finding.file)
    if not build.commit or not finding.file or path.is_absolute() or ".." in path.parts:
        return ""
    return file_link(build.submission.repository, build.commit, finding.file, finding.line)


def _is_cause(finding: Finding, build: Build) -> bool:
    cause = (build.cause_code, build.cause_file, build.cause_line)
    return build.state == State.FAILED and (finding.code, finding.file, finding.line) == cause
