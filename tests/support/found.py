"""Findings as builds collect them, for the tests of the surfaces."""

from __future__ import annotations

from builds.engine.findings import Finding, Findings, Group, Severity
from builds.engine.findings.collector import MAX_FINDINGS
from builds.errors import Fault
from builds.models import Build
from builds.record.findings import FindingWriter

MISSING = Finding(
    "image-missing", Severity.BROKEN, "The figure “a.png” is missing.", "Add it to the repository.", "docs/index.md", 3, 7
)
NO_DOI = Finding("doi-unknown", Severity.BROKEN, "These references could not be looked up: 10.5555/none.", file="docs/index.md")
OWN = Finding(
    *("own-template-used", Severity.NOTICE, "paper.pdf was made with the journal's template."),
    export="typst",
    fault=Fault.TEMPLATE,
)
CHECKS = (
    Finding("editorial-title", Severity.PASSED, "It has a title.", group=Group.EDITORIAL),
    Finding("editorial-abstract", Severity.FAILED, "It has no abstract.", "Add an abstract.", group=Group.EDITORIAL),
    Finding("editorial-keywords", Severity.ADVISED, "It has one keyword.", "Add some.", group=Group.EDITORIAL),
)


def write_findings(build: Build, *findings: Finding, most: int = MAX_FINDINGS) -> None:
    """Write the findings of a running build."""
    collected = Findings(most)
    for finding in findings:
        collected.add(finding)
    FindingWriter(build, collected, str).write()
