"""Exports that attack what reads them: with the real programs, in this machine's sandbox where it has one."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from pypdf import PdfWriter

from builds.errors import ExportBroken
from builds.inspection import XML_BYTES, inspect_meca, inspect_page_content, inspect_pdf
from builds.mending import mend
from builds.sandbox import Policy, choose
from builds.stages import Context, Limits
from tests.stages.context import make_context
from tests.test_sandbox import MODES

SMALL = Limits(unpacked_bytes=1_000_000, entries=10)
BROKEN = "<manifest>\x01</manifest>"


def meca(path: Path, entries: dict[str, bytes | str]) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path.read_bytes()


def test_a_broken_document_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    meca(path, {"manifest.xml": BROKEN, "b": bytes(900_000)})
    assert mend(path, SMALL) == ["manifest.xml"]
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
def test_a_bomb_is_not_unpacked_to_mend_it(tmp_path: Path, entries: dict[str, bytes | str], why: str) -> None:
    path = tmp_path / "a.zip"
    written = meca(path, entries)
    assert mend(path, SMALL) == []
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (written, [path])
    with pytest.raises(ExportBroken, match=why):
        inspect_meca(path, "the MECA", SMALL, check=lambda: None, warn=lambda text: None)


@pytest.fixture(params=MODES or ["none"])
def context(request: pytest.FixtureRequest, tmp_path: Path) -> Context:
    workspace = tmp_path / "workspace"
    sandbox = choose(request.param, Policy()).sandbox(workspace, "a build") if MODES else None
    return make_context(tmp_path, sandbox=sandbox)


def test_a_pdf_is_counted(context: Context) -> None:
    path = context.workspace / "a.pdf"
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.write(path)
    inspect_pdf(context, path, "the PDF")


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7\n", b"no PDF at all"])
def test_what_is_no_pdf_is_told(context: Context, content: bytes) -> None:
    path = context.workspace / "a.pdf"
    path.write_bytes(content)
    with pytest.raises(ExportBroken, match=r"the PDF was made but can't be opened as a PDF \(.+\)"):
        inspect_pdf(context, path, "the PDF")


@pytest.mark.skipif(not MODES, reason="neither bubblewrap nor Landlock can shut anything in here")
def test_a_pdf_outside_of_the_workspace_can_not_even_be_seen(context: Context, tmp_path: Path) -> None:
    """What reads a PDF is shut in as the build was."""
    outside = tmp_path / "b.pdf"
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.write(outside)
    with pytest.raises(ExportBroken, match=r"No such file|Permission denied"):
        inspect_pdf(context, outside, "the PDF")


@pytest.mark.parametrize("large", ["manifest.xml", "article.xml"])
def test_a_document_of_one_endless_word_is_not_parsed(tmp_path: Path, large: str) -> None:
    path = tmp_path / "a.zip"
    meca(path, {"manifest.xml": b"<manifest/>", large: b"<m a='" + bytes(XML_BYTES)})
    with pytest.raises(ExportBroken, match=f"its {large} is .*larger than 67 MB"):
        inspect_meca(path, "the MECA", Limits(), check=lambda: None, warn=lambda text: None)


def test_a_page_is_read(context: Context) -> None:
    path = context.workspace / "index.json"
    path.write_text('{"kind": "Article"}')
    inspect_page_content(context, path, "the page")


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
        inspect_page_content(context, path, "the page")
