"""Exports that attack what reads them: with the real programs, in this machine's sandbox where it has one."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from pypdf import PdfWriter

from builds import inspection, own_tools, process_tree
from builds.ceilings import Ceilings
from builds.errors import DiskFull, ExportBroken
from builds.inspection import Asked, inspect
from builds.sandbox import Policy
from builds.sandbox_choice import choose
from builds.stages import Context, Limits
from tests.stages.context import KeptLog, make_context
from tests.test_sandbox import MODES

SMALL = Limits(unpacked_bytes=1_000_000, entries=10)
BROKEN = "<manifest>\x01</manifest>"


def meca(path: Path, entries: dict[str, bytes | str]) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path.read_bytes()


@pytest.fixture(params=MODES or ["none"])
def context(request: pytest.FixtureRequest, tmp_path: Path) -> Context:
    workspace = tmp_path / "workspace"
    sandbox = choose(request.param, Policy()).sandbox(workspace, "a build") if MODES else None
    return make_context(tmp_path, sandbox=sandbox)


def look(context: Context, kind: str, path: Path, name: str) -> list[str]:
    """What was warned of."""
    inspect(context, [Asked(kind, path, name)])
    assert isinstance(context.log, KeptLog)
    return context.log.warnings


def test_a_broken_document_is_mended(context: Context) -> None:
    path = context.workspace / "a.zip"
    meca(path, {"manifest.xml": BROKEN, "b": bytes(900_000)})
    [warning] = look(replace(context, limits=SMALL), "meca", path, "the MECA")
    assert warning.startswith("Mended in a.zip: manifest.xml. ")
    with zipfile.ZipFile(path) as archive:
        assert archive.read("manifest.xml") == b"<manifest></manifest>"


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"manifest.xml": BROKEN, "b": bytes(2_000_000)}, "unpacks to more than"),
        ({"manifest.xml": BROKEN, **{str(n): "" for n in range(20)}}, "more than the 10 files"),
        ({"manifest.xml": BROKEN, "../x": ""}, "leads out of it"),
    ],
)
def test_a_bomb_is_not_unpacked_to_mend_it(context: Context, entries: dict[str, bytes | str], why: str) -> None:
    path = context.workspace / "a.zip"
    written = meca(path, entries)
    with pytest.raises(ExportBroken, match=why):
        look(replace(context, limits=SMALL), "meca", path, "the MECA")
    assert (path.read_bytes(), list(context.workspace.iterdir())) == (written, [path])


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"a": ""}, "holds no manifest.xml"),
        ({"manifest.xml": "<m"}, r"its manifest.xml is no well-formed XML \(line 1: "),
        ({"manifest.xml": "<m href='a/b'/>", "a/bc": ""}, "its manifest.xml names a/b, which is not in it"),
        ({"manifest.xml": "<m/>", "article.xml": "<"}, r"its article.xml is no well-formed XML \(line 1: "),
    ],
)
def test_what_is_no_meca_is_told(context: Context, entries: dict[str, bytes | str], why: str) -> None:
    path = context.workspace / "a.zip"
    meca(path, entries)
    with pytest.raises(ExportBroken, match=f"^Failed to build the repo files: the MECA was made but {why}"):
        look(context, "meca", path, "the MECA")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_to_any_size_at_once_is_refused(context: Context, method: int) -> None:
    """It would do so for who delivers it, too, whose memory nobody limits."""
    path = context.workspace / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("manifest.xml", "<m/>")
    with pytest.raises(ExportBroken, match=r"'manifest\.xml', which is packed in another way than by Deflate"):
        look(context, "meca", path, "the MECA")


def test_of_sources_that_are_no_xml_the_first_are_named(context: Context) -> None:
    path = context.workspace / "a.zip"
    meca(path, {"manifest.xml": "<m href='bundle/'/>", **{f"bundle/{n}.xml": "<" for n in range(25)}})
    *named, last = look(context, "meca", path, "the MECA")
    assert [warning.partition(",")[0] for warning in named] == [f"{n}.xml" for n in range(20)]
    assert last == "5 more XML files, which are bundled as they are, are not well-formed."


def test_each_export_has_its_own_answer(context: Context) -> None:
    """Of several exports that are read by one program."""
    page, path = context.workspace / "index.json", context.workspace / "a.zip"
    page.write_text("{}")
    meca(path, {"manifest.xml": "<m/>"})
    exports = [Asked("page", page, "the page"), Asked("meca", path, "the MECA"), Asked("page", path, "another")]
    with pytest.raises(ExportBroken, match="another was made but is not valid JSON"):
        inspect(context, exports)


def test_a_pdf_is_counted(context: Context) -> None:
    path = context.workspace / "a.pdf"
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.write(path)
    look(context, "pdf", path, "the PDF")


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7\n", b"no PDF at all"])
def test_what_is_no_pdf_is_told(context: Context, content: bytes) -> None:
    path = context.workspace / "a.pdf"
    path.write_bytes(content)
    with pytest.raises(ExportBroken, match=r"the PDF was made but can't be opened as a PDF \(.+\)"):
        look(context, "pdf", path, "the PDF")


@pytest.mark.skipif(not MODES, reason="neither bubblewrap nor Landlock can shut anything in here")
def test_a_pdf_outside_of_the_workspace_can_not_even_be_seen(context: Context, tmp_path: Path) -> None:
    """What reads a PDF is shut in as the build was."""
    outside = tmp_path / "b.pdf"
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.write(outside)
    with pytest.raises(ExportBroken, match=r"No such file|Permission denied"):
        look(context, "pdf", outside, "the PDF")


@pytest.mark.parametrize("large", ["manifest.xml", "article.xml"])
def test_a_document_of_one_endless_word_is_not_parsed(context: Context, large: str) -> None:
    path = context.workspace / "a.zip"
    meca(path, {"manifest.xml": b"<manifest/>", large: b"<m a='" + bytes(64 << 20)})
    with pytest.raises(ExportBroken, match=f"its {large} is .*larger than 67 MB"):
        look(context, "meca", path, "the MECA")


@pytest.mark.parametrize("kind", ["page", "pdf"])
def test_a_parser_that_never_comes_back_is_ended_by_its_alarm(
    context: Context, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A pipe to which nobody writes is read for ever. The whole program has its minute still."""
    monkeypatch.setattr(inspection, "_seconds", lambda export, limits: 1)
    path = context.workspace / "pipe"
    os.mkfifo(path)
    with pytest.raises(ExportBroken, match=r"it was made but could not be read within 1 s\."):
        look(context, kind, path, "it")
    assert process_tree.strays().get(context.build_id) is None


def test_what_is_read_after_one_that_hangs_is_not_told_broken(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "_seconds", lambda export, limits: 1)
    page, path = context.workspace / "index.json", context.workspace / "pipe"
    page.write_text("{}")
    os.mkfifo(path)
    with pytest.raises(ExportBroken, match="the pipe was made but could not be read within"):
        inspect(context, [Asked("page", page, "the first"), Asked("page", path, "the pipe"), Asked("page", page, "the last")])


def test_a_parser_that_takes_all_memory_is_told(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Python, which the kernel gives no more."""
    monkeypatch.setattr(inspection, "READER_MEMORY_BYTES", 150 << 20)
    path = context.workspace / "index.json"
    path.write_text("[" + "[]," * 4_000_000)
    with pytest.raises(ExportBroken, match=r"the page was made but is not valid JSON \(it is too large\)"):
        look(context, "page", path, "the page")


def test_a_parser_that_takes_the_build_s_memory_is_ended(context: Context) -> None:
    """Where the build may have less than the reader might: it is of the build."""
    path = context.workspace / "index.json"
    path.write_text("[" + "[]," * 8_000_000)
    small = replace(context, limits=replace(context.limits, ceilings=Ceilings(memory=150_000_000)))
    with pytest.raises(ExportBroken, match=r"the page was made but is not valid JSON \(used more than the 150 MB of memory"):
        look(small, "page", path, "the page")
    assert process_tree.strays().get(context.build_id) is None
    path.write_text("{}")
    look(small, "page", path, "the page")


def test_a_reader_that_is_killed_is_no_export_that_is_whole(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel kills it where the machine has no memory left."""
    tools = context.workspace / "tools"
    tools.mkdir()
    (tools / "read_exports.py").write_text("import os\nos.kill(os.getpid(), 9)")
    monkeypatch.setattr(own_tools, "TOOLS", tools)
    path = context.workspace / "index.json"
    path.write_text("{}")
    with pytest.raises(ExportBroken, match=r"the page was made but is not valid JSON \(no reason given\)"):
        look(context, "page", path, "the page")


def test_a_reader_that_ends_for_the_service_s_own_fault_is_told_as_that(context: Context) -> None:
    path = context.workspace / "pipe"
    os.mkfifo(path)
    full = replace(context, limits=replace(context.limits, ceilings=Ceilings(free=1 << 60)))
    with pytest.raises(
        DiskFull, match="while the page was read, the build had to end, because the service's disk is nearly full"
    ):
        look(full, "page", path, "the page")


def test_a_page_is_read(context: Context) -> None:
    path = context.workspace / "index.json"
    path.write_text('{"kind": "Article"}')
    look(context, "page", path, "the page")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "holds no page"),
        ("{", "is not valid JSON"),
        ("[" * 200_000, "is not valid JSON"),
        ("[" + "[]," * 50_000_000, "is not valid JSON"),
    ],
    ids=["list", "cut", "deep", "wide"],
)
def test_what_is_no_page_is_told(context: Context, content: str, why: str) -> None:
    path = context.workspace / "index.json"
    path.write_text(content)
    with pytest.raises(ExportBroken, match=f"the page was made but {why}"):
        look(context, "page", path, "the page")
