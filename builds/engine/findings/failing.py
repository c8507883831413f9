"""Fails a build because of a finding, where its operators chose so."""

from __future__ import annotations

from collections.abc import Collection

from builds.engine.findings.collector import Findings
from builds.engine.findings.finding import Finding
from builds.errors import BuildError


class FindingFails(BuildError):
    """A finding that the operators chose to fail builds. The cause has its code, text and place."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(
            f"Failed to build the repo files: {finding.text}",
            advice=finding.advice or ADVICE,
            file=finding.file,
            line=finding.line,
            log_line=finding.log_line,
        )
        self.code, self.fault = finding.code, finding.fault


ADVICE = "The journal does not accept manuscripts with this problem. Fix it, then submit again."


def check(findings: Findings, failing: Collection[str]) -> None:
    """Fail if there is a finding with one of these codes. Called at the end, because a finding may turn out not to hold.

    Raises:
        FindingFails: there is one; of several, the first.
    """
    if finding := findings.first_of(failing):
        raise FindingFails(finding)
