from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from builds.engine.findings import Finding, Findings, Group, Kind, Severity, failing, kind
from builds.engine.findings.catalogue import exports, repository
from builds.engine.findings.kind import KINDS, MAX_CODE
from builds.engine.kinds import can_not_fail
from builds.errors import Fault
from tests.support.stage_context import KeptLog, make_context

NOTICE = Finding("a-notice", Severity.NOTICE, "A notice.")
BROKEN = Finding("a-problem", Severity.BROKEN, "A problem.", file="index.md", line=3)


def numbered(finding: Finding, number: int) -> Finding:
    return Finding(finding.code, finding.severity, finding.text, file=f"{number}.md")


def test_each_finding_is_kept_once() -> None:
    findings = Findings()
    assert [findings.add(each) for each in (BROKEN, NOTICE, BROKEN)] == [True, True, False]
    assert findings.all == (BROKEN, NOTICE)
    assert findings.problems == 1


def test_the_rest_is_counted() -> None:
    findings = Findings(most=2)
    for number in (*range(5), *range(5)):
        findings.add(numbered(BROKEN, number))
    assert [each.file for each in findings.all] == ["0.md", "1.md"]
    assert (findings.left_out, findings.problems) == (3, 5)


def test_a_notice_makes_room_for_a_problem() -> None:
    findings = Findings(most=2)
    for finding in (NOTICE, numbered(NOTICE, 1), BROKEN):
        findings.add(finding)
    assert findings.all == (NOTICE, BROKEN)
    assert (findings.left_out, findings.problems) == (1, 1)


def test_a_finding_that_does_not_hold_is_discarded() -> None:
    findings = Findings()
    findings.add(BROKEN)
    findings.discard([BROKEN])
    assert findings.all == ()


def test_a_finding_of_our_own_is_a_line_of_the_log(tmp_path: Path) -> None:
    ctx = make_context(tmp_path, log=KeptLog())
    for _ in range(2):
        found = ctx.find(repository.LFS_POINTER, names="fig.png", file="fig.png")
    assert ctx.log.line("next") == 2  # type: ignore[attr-defined, unused-ignore]
    assert [(each.code, each.file, each.log_line) for each in ctx.findings.all] == [("lfs-pointer", "fig.png", 1)]
    assert found.text.startswith("fig.png: only the Git LFS pointer")


def test_the_first_finding_of_a_code_is_found_also_if_it_was_left_out() -> None:
    findings = Findings(most=1)
    other = Finding("another-problem", Severity.BROKEN, "Another.")
    for finding in (BROKEN, other, numbered(other, 1)):
        findings.add(finding)
    assert findings.first_of({"another-problem"}) == other
    assert findings.first_of({"another-problem", "a-problem"}) == BROKEN
    assert findings.first_of({"a-notice"}) is None


def test_every_kind_is_in_the_list_of_all() -> None:
    """A setting names kinds by their codes, and an unknown code is refused at the start."""
    listed = "from builds.engine.kinds import all_kinds; print(*sorted(all_kinds()))"
    everything = (
        "import pkgutil, importlib, builds.engine; from builds.engine.findings.kind import KINDS;"
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(builds.engine.__path__, 'builds.engine.')"
        " if '.tools' not in m.name];"
        "print(*sorted(KINDS))"
    )
    first, second = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for code in (listed, everything)
    )
    assert first == second
    assert "lfs-pointer" in first


@pytest.mark.parametrize(
    ("codes", "problem"),
    [
        ([], ""),
        (["lfs-pointer", "doi-unknown"], ""),
        (["lfs-pointer", "nonsense"], "has the code 'nonsense', which no finding has"),
    ],
)
def test_only_a_known_code_can_fail_builds(codes: list[str], problem: str) -> None:
    assert can_not_fail(codes) == problem


def test_an_editorial_check_can_not_fail_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "a-check", Kind("a-check", Severity.FAILED, "No title.", group=Group.EDITORIAL))
    assert "never fails a build" in can_not_fail(["a-check"])


def test_a_finding_fails_a_build_with_its_code_text_and_place() -> None:
    findings = Findings()
    findings.add(Finding("a-problem", Severity.BROKEN, "A problem.", file="index.md", line=3, log_line=7, fault=Fault.TEMPLATE))
    failing.check(findings, {"another"})
    with pytest.raises(failing.FindingFails) as raised:
        failing.check(findings, {"a-problem"})
    cause = raised.value.cause
    assert (cause.code, cause.fault, cause.file, cause.line, cause.log_line) == ("a-problem", "template", "index.md", 3, 7)
    assert (cause.sentence, cause.advice) == ("Failed to build the repo files: A problem.", failing.ADVICE)


def test_the_codes_are_unique() -> None:
    with pytest.raises(ValueError, match="is taken"):
        kind(exports.OWN_TEMPLATE.code, Severity.NOTICE, "Another.")
    kind(exports.OWN_TEMPLATE.code, Severity.NOTICE, "Another way to find it.", is_shared=True)
    assert KINDS[exports.OWN_TEMPLATE.code] is exports.OWN_TEMPLATE
    with pytest.raises(ValueError, match="is taken"):
        kind(exports.OWN_TEMPLATE.code, Severity.NOTICE, "A third.", is_shared=True)
    assert all(len(code) <= MAX_CODE and code == code.lower() for code in KINDS)
