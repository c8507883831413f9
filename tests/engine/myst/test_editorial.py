"""The verdicts of the reader become findings of the attempt, which fail nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builds.engine.context import Context
from builds.engine.findings import Finding, Group, Severity
from builds.engine.findings.catalogue.editorial import CHECKS
from builds.engine.manuscript.project import Project
from builds.engine.myst import editorial, inspection, own_tools
from builds.engine.myst.own_tools import ToolResult
from tests.support.stage_context import KeptLog, make_context


def check(ctx: Context, project: Project, *, page: Path, pdfs: dict[Path, list[str]]) -> None:
    """Make the checks with the real reader, and keep what it says."""
    plan = editorial.plan(project, page=page, pdfs=pdfs)
    editorial.keep(ctx, project, inspection.inspect(ctx, [], plan).lines)


def test_each_check_is_a_finding_and_no_warning(tmp_path: Path) -> None:
    ctx = make_context(tmp_path, log=KeptLog())
    root = ctx.workspace / "repository"
    root.mkdir()
    (root / "index.json").write_text(json.dumps({"frontmatter": {"title": "Paint"}, "mdast": {"type": "root"}}))
    check(ctx, Project(root, root / "myst.yml"), page=root / "index.json", pdfs={})
    found = {each.code: each for each in ctx.findings.all}
    assert found.keys() == CHECKS.keys()
    assert {each.group for each in found.values()} == {Group.EDITORIAL}
    assert (found["editorial-title"].severity, found["editorial-title"].advice) == (Severity.PASSED, "")
    assert found["editorial-authors"].severity is Severity.FAILED
    assert found["editorial-authors"].advice
    assert (ctx.findings.problems, ctx.log.warnings) == (0, [])  # type: ignore[attr-defined]


def test_a_reader_that_was_taken_over_can_only_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = make_context(tmp_path)
    run = own_tools.run
    lines = [
        '{"check": "editorial-title", "severity": "broken", "text": "x"}',
        '{"check": "no-check", "severity": "passed", "text": "x"}',
        '{"check": "editorial-title", "severity": "failed", "text": ["x"]}',
        '{"check": "editorial-title", "severity": "passed", "text": "twice"}',
        '{"code": "editorial-authors", "file": "x", "words": {"result": "x"}}',
        '{"code": "nb-empty-file", "file": "a.ipynb", "is_fatal": true}',
    ]
    monkeypatch.setattr(own_tools, "run", lambda *given, **more: _with(run(*given, **more), lines))
    folder = ctx.workspace / "docs"
    check(ctx, Project(ctx.workspace, folder / "myst.yml"), page=folder / "index.json", pdfs={})
    assert [(each.code, each.severity, each.file) for each in ctx.findings.all] == [
        ("editorial-title", Severity.FAILED, ""),
        ("nb-empty-file", Severity.BROKEN, "docs/a.ipynb"),
    ]


def _with(result: ToolResult, lines: list[str]) -> ToolResult:
    return replace(result, lines=lines)


def test_what_is_missing_is_kept_once_and_explains_what_myst_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = make_context(tmp_path)
    run = own_tools.run
    words = {"pdf": "a.pdf", "text": "x", "where": ""}
    lost = {"code": "pdf-text-missing", "file": "a.md", "line": 3, "subject": "details", "words": words}
    swallowed = {"code": "text-in-no-page", "file": "docs/a.md", "line": 7, "words": {"words": "x"}}
    answers: list[dict[str, Any]] = [lost, swallowed, {**swallowed, "line": 9}, {"labels": ["used"]}, {"labels": []}]
    lines = [json.dumps(each) for each in answers]
    monkeypatch.setattr(own_tools, "run", lambda *given, **more: _with(run(*given, **more), lines))
    for code, text, file, line in (
        ("typst-without-node", "The PDF leaves out a part of the paper that MyST calls details.", "", None),
        ("typst-without-node", "The PDF leaves out a part of the paper that MyST calls aside.", "", None),
        ("footnote-unused", "A note.", "docs/a.md", 9),
        ("label-duplicate", "The label Used is used in two places, one of them in a.md.", "", None),
        ("label-duplicate", "The label cell is used in two places, one of them in a.md.", "", None),
    ):
        ctx.keep(Finding(code, Severity.BROKEN, text, file=file, line=line))
    folder = ctx.workspace / "docs"
    check(ctx, Project(ctx.workspace, folder / "myst.yml"), page=folder / "index.json", pdfs={})
    assert [(each.code, each.severity, each.file, each.line) for each in ctx.findings.all] == [
        ("typst-without-node", Severity.BROKEN, "", None),
        ("footnote-unused", Severity.BROKEN, "docs/a.md", 9),
        ("label-duplicate", Severity.BROKEN, "", None),
        ("pdf-text-missing", Severity.BROKEN, "docs/a.md", 3),
        ("text-in-no-page", Severity.BROKEN, "docs/a.md", 7),
        ("label-duplicate", Severity.NOTICE, "", None),
    ]
