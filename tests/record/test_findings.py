"""The rows of a build's findings: each once, bounded, without secrets, and none after the build has ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builds import lifecycle
from builds.engine.findings import Finding, Findings, Group, Severity
from builds.errors import BuildStopped, CommandFailed, Fault
from builds.lib.redact import Redactor
from builds.models import Build
from builds.record import findings as record
from builds.record.findings import FindingWriter
from tests.support.rows import claim, lapse, submit

pytestmark = pytest.mark.django_db(transaction=True)

BROKEN = Finding("a-problem", Severity.BROKEN, "A problem.", "Mend it.", "index.md", 3, 7, "pdf")
NOTICE = Finding("a-notice", Severity.NOTICE, "A notice.", fault=Fault.TEMPLATE)
PASSED = Finding("title", Severity.PASSED, "It has a title.", group=Group.EDITORIAL)


@pytest.fixture
def build() -> Build:
    return claim(submit())


def codes(build: Build) -> list[str]:
    return list(build.findings.values_list("code", flat=True))


def counts(build: Build) -> tuple[int, int]:
    build.refresh_from_db()
    return build.problems, build.findings_left_out


def test_findings_are_rows_in_their_order(build: Build) -> None:
    findings = Findings()
    writer = FindingWriter(build, findings, str)
    findings.add(BROKEN)
    writer.write()
    for finding in (BROKEN, NOTICE, PASSED):
        findings.add(finding)
    writer.write()
    first, second, third = build.findings.all()
    assert (first.code, first.severity, first.text, first.advice) == ("a-problem", "broken", "A problem.", "Mend it.")
    assert (first.file, first.line, first.log_line, first.export) == ("index.md", 3, 7, "pdf")
    assert (first.fault, first.group, first.submission_id) == ("manuscript", "build", build.submission_id)
    assert (second.code, second.fault, second.line) == ("a-notice", "template", None)
    assert (third.group, third.severity) == ("editorial", "passed")
    assert counts(build) == (1, 0)


def test_a_finding_that_does_not_hold_loses_its_row(build: Build) -> None:
    findings = Findings()
    writer = FindingWriter(build, findings, str)
    findings.add(BROKEN)
    findings.add(NOTICE)
    writer.write()
    findings.discard([BROKEN])
    writer.write()
    assert (codes(build), counts(build)) == (["a-notice"], (0, 0))


def test_what_was_not_kept_is_counted(build: Build) -> None:
    findings = Findings(most=2)
    for number in range(5):
        findings.add(replace(BROKEN, line=number))
    FindingWriter(build, findings, str).write()
    assert (len(codes(build)), counts(build)) == (2, (5, 3))


def test_secrets_and_oversized_values_are_not_stored(build: Build) -> None:
    findings = Findings()
    findings.add(Finding("a-problem", Severity.BROKEN, "hunter2-hunter2\0\ud83d " + "x" * 5000, "y" * 5000, "f" * 500, 2**40))
    FindingWriter(build, findings, Redactor(["hunter2-hunter2"]).redact).write()
    row = build.findings.get()
    assert row.text.startswith("*** x")
    assert (len(row.text), len(row.advice), len(row.file), row.line) == (1000, 1000, 300, None)


@pytest.mark.parametrize("how", ["failed", "lost", "cancelled"])
def test_nothing_is_written_once_the_build_has_ended(build: Build, how: str) -> None:
    findings = Findings()
    writer = FindingWriter(build, findings, str)
    findings.add(NOTICE)
    writer.write()
    if how == "failed":
        lifecycle.fail(build, CommandFailed().cause)
    elif how == "lost":
        lapse(build)
        lifecycle.lose(build)
    else:
        lifecycle.request_cancel(build, actor="ed", reason="x")
        lifecycle.finish_cancel(build)
    findings.add(BROKEN)
    for write in (writer.write, writer.write_at_once):
        with pytest.raises(BuildStopped):
            write()
    assert (codes(build), counts(build)) == (["a-notice"], (0, 0))


def test_a_delivery_again_takes_over_what_the_build_found(build: Build) -> None:
    findings, again = Findings(most=2), Findings()
    for finding in (BROKEN, replace(BROKEN, line=4), replace(BROKEN, line=5), PASSED):
        findings.add(finding)
    FindingWriter(build, findings, str).write()
    build.refresh_from_db()
    record.take_over(build, again)
    assert again.all == (replace(BROKEN, log_line=None), replace(BROKEN, line=4, log_line=None))
    assert (again.problems, again.left_out) == (3, 2)
