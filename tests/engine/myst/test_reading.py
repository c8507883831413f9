"""The findings of the reader become findings of the attempt. The real program reads, in each sandbox that works on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builds.engine.context import Context
from builds.engine.findings import Finding, Severity
from builds.engine.manuscript.project import Project
from builds.engine.myst import own_tools
from builds.engine.myst.own_tools import ToolResult
from builds.engine.myst.reading import read_sources
from builds.engine.sandbox.probe import choose
from builds.engine.sandbox.sandbox import Policy
from builds.errors import Fault, ManuscriptUnreadable
from tests.engine.sandbox.test_sandbox import WORKING_KINDS
from tests.support.stage_context import KeptLog, make_context


@pytest.fixture(params=WORKING_KINDS or ["none"])
def context(request: pytest.FixtureRequest, tmp_path: Path) -> Context:
    sandbox = choose(request.param, Policy()).sandbox(tmp_path / "workspace", "a build") if WORKING_KINDS else None
    return make_context(tmp_path, sandbox=sandbox)


def project(ctx: Context, **files: str | bytes) -> Project:
    root = ctx.workspace / "repository"
    root.mkdir()
    for name, content in {"myst.yml": "version: 1\nproject:\n  toc:\n    - file: index.md\n", **files}.items():
        (root / name.replace("__", ".")).write_bytes(content if isinstance(content, bytes) else content.encode())
    return Project(root, root / "myst.yml")


def test_the_sources_are_read_and_stored_as_utf_8(context: Context) -> None:
    manuscript = project(context, index__md=b"\xef\xbb\xbf![](a.png)")
    read_sources(context, manuscript, runs_code=False)
    assert [(each.code, each.file, each.line, each.severity) for each in context.findings.all] == [
        ("byte-order-mark", "index.md", 1, Severity.NOTICE),
        ("image-missing", "index.md", 1, Severity.BROKEN),
    ]
    assert (manuscript.folder / "index.md").read_bytes() == b"![](a.png)"
    assert context.findings.problems == 1


def test_a_link_that_leads_out_of_the_repository_is_not_read(context: Context, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("![](a.png)")
    manuscript = project(context)
    (manuscript.folder / "index.md").symlink_to(tmp_path / "secret.md")
    read_sources(context, manuscript, runs_code=False)
    assert "image-missing" not in {each.code for each in context.findings.all}


def test_a_notebook_that_cannot_be_read_ends_the_build(context: Context) -> None:
    manuscript = project(
        context, myst__yml="version: 1\nproject:\n  toc:\n    - file: a.ipynb\n", a__ipynb='{\n <<<<<<< HEAD\n"cells"'
    )
    with pytest.raises(ManuscriptUnreadable) as caught:
        read_sources(context, manuscript, runs_code=False)
    cause = caught.value.cause
    assert (cause.code, cause.file, cause.line, cause.fault) == ("nb-conflict", "a.ipynb", 2, Fault.MANUSCRIPT)
    assert cause.sentence.startswith("Failed to build the repo files: The notebook a.ipynb contains Git conflict markers")


def answered(ctx: Context, monkeypatch: pytest.MonkeyPatch, *lines: str) -> KeptLog:
    """What is kept of a reader that prints these lines."""
    run = own_tools.run

    def forge(*arguments: object, **more: object) -> ToolResult:
        return replace(run(*arguments, **more), lines=list(lines))  # type: ignore[arg-type]

    monkeypatch.setattr(own_tools, "run", forge)
    read_sources(ctx, project(ctx), runs_code=False)
    assert isinstance(ctx.log, KeptLog)
    return ctx.log


def test_a_reader_that_was_taken_over_can_only_name_known_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = make_context(tmp_path)
    log = answered(
        ctx,
        monkeypatch,
        "no json",
        "[1]",
        '{"code": "no-such-kind"}',
        '{"code": "orcid-invalid", "file": "a"}',
        '{"code": "page-utf16", "file": "a\\u202e\\n", "line": "3", "words": {"other": "b"}}',
        '{"code": "page-utf16", "file": "a", "words": {"file": "b"}}',
        '{"code": "page-utf16", "file": "a", "words": [1]}',
        '{"code": ["x"], "file": {}}',
        '{"end": true}',
    )
    assert [(each.code, each.file, each.line) for each in ctx.findings.all] == [("page-utf16", "a", None)]
    assert len(log.warnings) == 1


def test_a_reader_that_does_not_finish_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = make_context(tmp_path)
    answered(ctx, monkeypatch)
    assert [each.code for each in ctx.findings.all] == ["sources-unchecked"]


@pytest.mark.parametrize(
    ("complaint", "kept"),
    [
        (Finding("a", Severity.BROKEN, "Cannot find figures/a.png.", file="index.md", log_line=9), False),
        (Finding("a", Severity.BROKEN, "Cannot find figures/a.png.", file="index.md", line=4, log_line=9), False),
        (Finding("a", Severity.BROKEN, "Cannot find figures/a.png.", file="index.md", line=5, log_line=9), True),
        (Finding("a", Severity.BROKEN, "Cannot find figures/a.png.", file="two.md", log_line=9), True),
        (Finding("a", Severity.BROKEN, "Cannot find b.png.", file="index.md", line=4, log_line=9), True),
        (Finding("a", Severity.BROKEN, "Bad syntax.", file="r.bib", line=2, log_line=9), False),
        (Finding("a", Severity.BROKEN, "Bad syntax.", file="r.bib", log_line=9), True),
        (Finding("a", Severity.BROKEN, "b.eps can't be converted.", file="index.md", log_line=9), True),
        (Finding("a", Severity.NOTICE, "b.eps is large.", file="index.md", log_line=9), False),
    ],
)
def test_a_complaint_about_what_was_found_is_not_kept_beside_it(tmp_path: Path, complaint: Finding, kept: bool) -> None:
    ctx = make_context(tmp_path)
    ctx.findings.explain(Finding("image-missing", Severity.BROKEN, "x", file="index.md", line=4), "figures/a.png")
    ctx.findings.explain(Finding("bib-key-missing", Severity.BROKEN, "x", file="r.bib", line=2), "*")
    ctx.findings.explain(Finding("image-eps-converted", Severity.NOTICE, "x", file="index.md", line=6), ".eps")
    ctx.keep(complaint)
    assert (complaint in ctx.findings) is kept
