"""Exports that attack their reader: the real programs read them, in each sandbox that works on this machine."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from pypdf import PdfWriter

from builds.engine.context import Context, Limits
from builds.engine.manuscript.project import Project
from builds.engine.myst import editorial, inspection, own_tools
from builds.engine.myst.inspection import ExportFile, inspect
from builds.engine.process.ceilings import Ceilings
from builds.engine.process.tree import strays
from builds.engine.sandbox.probe import choose
from builds.engine.sandbox.sandbox import Policy
from builds.errors import DiskFull, ExportBroken
from tests.engine.sandbox.test_sandbox import WORKING_KINDS
from tests.support.stage_context import KeptLog, make_context

pytestmark = pytest.mark.slow

SMALL = Limits(unpacked_bytes=1_000_000, entries=10)
ITEM = '<manifest><item item-type="article-metadata"><instance href="a.xml"/></item></manifest>'
BROKEN = "<manifest>\x01</manifest>"


def meca(path: Path, entries: dict[str, bytes | str]) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path.read_bytes()


@pytest.fixture(params=WORKING_KINDS or ["none"])
def context(request: pytest.FixtureRequest, tmp_path: Path) -> Context:
    workspace = tmp_path / "workspace"
    sandbox = choose(request.param, Policy()).sandbox(workspace, "a build") if WORKING_KINDS else None
    return make_context(tmp_path, sandbox=sandbox)


def inspect_one(context: Context, kind: str, path: Path, name: str) -> list[str]:
    """Inspect one export, and return the warnings."""
    inspect(context, [ExportFile(kind, path, name)])
    assert isinstance(context.log, KeptLog)
    return context.log.warnings


def test_a_broken_document_is_fixed(context: Context) -> None:
    path = context.workspace / "a.zip"
    meca(path, {"manifest.xml": BROKEN, "article.xml": "<article/>", "b": bytes(900_000)})
    [warning] = inspect_one(replace(context, limits=SMALL), "meca", path, "the MECA")
    assert warning.startswith("Fixed in a.zip: manifest.xml. ")
    with zipfile.ZipFile(path) as archive:
        assert archive.read("manifest.xml") == b"<manifest></manifest>"


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"manifest.xml": BROKEN, "b": bytes(2_000_000)}, "unpacks to more than"),
        ({"manifest.xml": BROKEN, **{str(n): "" for n in range(20)}}, "more than 10 files"),
        ({"manifest.xml": BROKEN, "../x": ""}, "leads out of it"),
    ],
)
def test_a_bomb_is_not_unpacked_to_fix_it(context: Context, entries: dict[str, bytes | str], why: str) -> None:
    path = context.workspace / "a.zip"
    written = meca(path, entries)
    with pytest.raises(ExportBroken, match=why):
        inspect_one(replace(context, limits=SMALL), "meca", path, "the MECA")
    assert (path.read_bytes(), list(context.workspace.iterdir())) == (written, [path])


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"a": ""}, "does not contain a manifest.xml"),
        ({"manifest.xml": "<m"}, r"its manifest.xml is not well-formed XML \(line 1: "),
        ({"manifest.xml": "<m href='a/b'/>", "a/bc": ""}, "its manifest.xml names a/b, which is not in it"),
        ({"manifest.xml": "<m/>", "article.xml": "<"}, r"its article.xml is not well-formed XML \(line 1: "),
        ({"manifest.xml": "<manifest/>", "article.html": "<p>"}, "does not contain a JATS article"),
        ({"manifest.xml": "<m/>", "bundle/article.xml": "<article/>"}, "does not contain a JATS article"),
        ({"manifest.xml": ITEM, "a.xml": "<html/>", "b.xml": "<article/>"}, "its JATS a.xml has no article"),
    ],
)
def test_a_file_that_is_not_a_meca_is_reported(context: Context, entries: dict[str, bytes | str], why: str) -> None:
    path = context.workspace / "a.zip"
    meca(path, entries)
    with pytest.raises(ExportBroken, match=f"^Failed to build the repo files: the MECA was made but {why}"):
        inspect_one(context, "meca", path, "the MECA")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_with_unbounded_memory_use_is_refused(context: Context, method: int) -> None:
    """The delivery unpacks it too, without a memory limit."""
    path = context.workspace / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("manifest.xml", "<m/>")
    with pytest.raises(ExportBroken, match=r"'manifest\.xml', which uses an unsupported compression method"):
        inspect_one(context, "meca", path, "the MECA")


def test_only_the_first_sources_with_invalid_xml_are_named(context: Context) -> None:
    path = context.workspace / "a.zip"
    meca(path, {"manifest.xml": "<m href='bundle/'/>", "a.xml": "<article/>", **{f"bundle/{n}.xml": "<" for n in range(25)}})
    *named, last = inspect_one(context, "meca", path, "the MECA")
    assert [warning.partition(",")[0] for warning in named] == [f"{n}.xml" for n in range(20)]
    assert last == "5 more XML files, which are bundled as they are, are not well-formed."


def test_each_export_has_its_own_findings(context: Context) -> None:
    """One program reads several exports."""
    page, path = context.workspace / "index.json", context.workspace / "a.zip"
    page.write_text("{}")
    meca(path, {"manifest.xml": "<m/>", "article.xml": "<article/>"})
    exports = [ExportFile("page", page, "the page"), ExportFile("meca", path, "the MECA"), ExportFile("page", path, "another")]
    with pytest.raises(ExportBroken, match="another was made but is not valid JSON"):
        inspect(context, exports)


def test_a_pdf_with_a_page_is_accepted(context: Context) -> None:
    path = context.workspace / "a.pdf"
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.add_blank_page(100, 100)
    writer.write(path)
    assert inspection.inspect(context, [ExportFile("pdf", path, "the PDF")]).pages == {path: 2}


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7\n", b"no PDF at all"])
def test_a_file_that_is_not_a_pdf_is_reported(context: Context, content: bytes) -> None:
    path = context.workspace / "a.pdf"
    path.write_bytes(content)
    with pytest.raises(ExportBroken, match=r"the PDF was made but can't be opened as a PDF \(.+\)"):
        inspect_one(context, "pdf", path, "the PDF")


@pytest.mark.skipif(not WORKING_KINDS, reason="neither bubblewrap nor Landlock works here")
def test_a_pdf_outside_the_workspace_can_not_be_read(context: Context, tmp_path: Path) -> None:
    """The reader has the same sandbox as the build."""
    outside = tmp_path / "b.pdf"
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.write(outside)
    with pytest.raises(ExportBroken, match=r"No such file|Permission denied"):
        inspect_one(context, "pdf", outside, "the PDF")


@pytest.mark.parametrize("large", ["manifest.xml", "article.xml"])
def test_a_document_that_is_too_large_is_not_parsed(context: Context, large: str) -> None:
    path = context.workspace / "a.zip"
    meca(path, {"manifest.xml": b"<manifest/>", large: b"<m a='" + bytes(64 << 20)})
    with pytest.raises(ExportBroken, match=f"its {large} is .*larger than 67 MB"):
        inspect_one(context, "meca", path, "the MECA")


@pytest.mark.parametrize("kind", ["page", "pdf"])
def test_a_parser_that_never_returns_is_ended_by_its_alarm(context: Context, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Reading a pipe without a writer never ends. The time limit of the whole program is longer."""
    monkeypatch.setattr(inspection, "_seconds", lambda export, limits: 1)
    path = context.workspace / "pipe"
    os.mkfifo(path)
    with pytest.raises(ExportBroken, match=r"it was made but could not be read within 1 s\."):
        inspect_one(context, kind, path, "it")
    assert strays().get(context.build_id) is None


def test_exports_after_one_that_hangs_are_not_reported_as_broken(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "_seconds", lambda export, limits: 1)
    page, path = context.workspace / "index.json", context.workspace / "pipe"
    page.write_text("{}")
    os.mkfifo(path)
    with pytest.raises(ExportBroken, match="the pipe was made but could not be read within"):
        inspect(
            context,
            [ExportFile("page", page, "the first"), ExportFile("page", path, "the pipe"), ExportFile("page", page, "the last")],
        )


def test_a_parser_that_runs_out_of_memory_is_reported(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python raises MemoryError, because the reader limits its own memory."""
    monkeypatch.setattr(inspection, "READER_MEMORY_BYTES", 150 << 20)
    path = context.workspace / "index.json"
    path.write_text("[" + "[]," * 4_000_000)
    with pytest.raises(ExportBroken, match=r"the page was made but is not valid JSON \(it is too large\)"):
        inspect_one(context, "page", path, "the page")


def test_a_parser_that_exceeds_the_build_s_memory_limit_is_ended(context: Context) -> None:
    """The build's limit also holds for the reader, if it is lower than the reader's own."""
    path = context.workspace / "index.json"
    path.write_text("[" + "[]," * 8_000_000)
    small = replace(context, limits=replace(context.limits, ceilings=Ceilings(memory=150_000_000)))
    with pytest.raises(
        ExportBroken, match=r"the page was made but is not valid JSON \(used more than its memory limit of 150 MB"
    ):
        inspect_one(small, "page", path, "the page")
    assert strays().get(context.build_id) is None
    path.write_text("{}")
    inspect_one(small, "page", path, "the page")


def test_an_export_whose_reader_was_killed_is_broken(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel does this when the machine runs out of memory."""
    tools = context.workspace / "tools"
    tools.mkdir()
    (tools / "read_exports.py").write_text("import os\nos.kill(os.getpid(), 9)")
    monkeypatch.setattr(own_tools, "TOOLS", tools)
    path = context.workspace / "index.json"
    path.write_text("{}")
    with pytest.raises(ExportBroken, match=r"the page was made but is not valid JSON \(no reason given\)"):
        inspect_one(context, "page", path, "the page")


def test_checks_for_editors_that_end_too_soon_do_not_fail_the_build(context: Context) -> None:
    path = context.workspace / "index.json"
    path.write_text("{}")
    project = Project(context.workspace, context.workspace / "myst.yml")
    plan = editorial.plan(project, page=path, pdfs={})
    export = ExportFile("page", path, "the page")
    assert '{"labels": []}' in inspect(context, [export], plan).lines
    assert inspect(context, [export], {**plan, "memory": 1}).lines == ['{"export": 0, "problem": ""}']


def test_a_reader_that_ends_through_the_service_s_fault_is_reported_as_that(context: Context) -> None:
    path = context.workspace / "pipe"
    os.mkfifo(path)
    full = replace(context, limits=replace(context.limits, ceilings=Ceilings(free=1 << 60)))
    with pytest.raises(
        DiskFull, match="while the page was read, the build was stopped because the service's disk is nearly full"
    ):
        inspect_one(full, "page", path, "the page")


def test_a_valid_page_is_accepted(context: Context) -> None:
    path = context.workspace / "index.json"
    path.write_text('{"kind": "Article"}')
    inspect_one(context, "page", path, "the page")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "does not contain a page"),
        ("{", "is not valid JSON"),
        ("[" * 200_000, "is not valid JSON"),
        ("[" + "[]," * 50_000_000, "is not valid JSON"),
    ],
    ids=["list", "cut", "deep", "wide"],
)
def test_a_file_that_is_not_a_page_is_reported(context: Context, content: str, why: str) -> None:
    path = context.workspace / "index.json"
    path.write_text(content)
    with pytest.raises(ExportBroken, match=f"the page was made but {why}"):
        inspect_one(context, "page", path, "the page")
