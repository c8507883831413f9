"""A finding: one complaint about one attempt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from builds.errors import Fault


class Severity(StrEnum):
    """How much a finding matters. The editorial checks have the last three."""

    BROKEN = "broken"  # an export is not what the author wrote: something is missing or wrong in it
    NOTICE = "notice"
    FAILED = "failed"
    ADVISED = "advised"
    PASSED = "passed"


class Group(StrEnum):
    """Who a finding is for: ``build`` is about the exports, ``editorial`` advises editors and never fails a build."""

    BUILD = "build"
    EDITORIAL = "editorial"


@dataclass(frozen=True)
class Finding:
    """A complaint, as it is stored and shown.

    ``code`` names its kind. ``file`` is relative to the repository's root, ``line`` counts from 1, and ``log_line`` is the number of a
    line of the build's log. ``export`` is the role or the name of the export that it touches; empty for all of them.
    """

    code: str
    severity: Severity
    text: str
    advice: str = ""
    file: str = ""
    line: int | None = None
    log_line: int | None = None
    export: str = ""
    fault: Fault = Fault.MANUSCRIPT
    group: Group = Group.BUILD

    @property
    def is_broken(self) -> bool:
        return self.severity is Severity.BROKEN

    @property
    def identity(self) -> tuple[str, str, int | None, str, str]:
        """What makes two findings the same: `myst` repeats a complaint for each export."""
        return self.code, self.file, self.line, self.text, self.export
