"""Downloads and previews: untrusted files, none of which may ever run."""

from __future__ import annotations

import html
import io
import re
import struct
import zipfile
from typing import Any

import pytest
from django.test import Client

from builds.desk.exports import bundle
from builds.models import Build
from tests.support import made
from tests.support.kept import folder_of, path_of

ENTRY = "content/"


def address(build: Build, position: int, rest: str = "") -> str:
    return f"/submissions/{build.submission_id}/attempts/1/exports/{position}/{rest}"


def content(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


@pytest.mark.parametrize(("position", "name"), [(1, "paper.pdf"), (2, "paper.meca.zip"), (3, "index.json")])
def test_a_download_is_never_shown_by_the_browser(viewer: Client, position: int, name: str) -> None:
    build = made.succeeded()
    answer = viewer.get(address(build, position))
    assert content(answer) == path_of(build.artifacts.get(position=position)).read_bytes()
    assert answer["Content-Disposition"] == f'attachment; filename="{name}"'
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]


def test_a_pdf_and_an_image_are_shown_by_the_browser(viewer: Client) -> None:
    build = made.succeeded()
    assert f'<iframe class="pdf" src="{address(build, 1, "raw/")}"' in viewer.get(address(build, 1, "preview/")).text
    pdf = viewer.get(address(build, 1, "raw/"))
    assert (pdf["Content-Type"], pdf["X-Frame-Options"], content(pdf)) == ("application/pdf", "SAMEORIGIN", b"%PDF-1.7 content")
    page = viewer.get(address(build, 2, "preview/?entry=content/figure.png")).text
    source = re.findall(r'<img src="([^"]*raw[^"]*)"', page)
    image = viewer.get(source[0].replace("&amp;", "&"))
    assert (image["Content-Type"], "sandbox" in image["Content-Security-Policy"]) == ("image/png", True)


def test_a_bundle_is_shown_as_a_tree(viewer: Client) -> None:
    page = viewer.get(address(made.succeeded(), 2, "preview/")).text
    entries = re.findall(r"<bdi>([^<]*)</bdi>(?:/</strong>|</a>)", page)
    assert entries[1:] == [
        *("..", "..", "outside.txt", "content", "article.xml", "evil.html", "figure.png", "figure.svg"),
        "manifest.xml",
    ]


@pytest.mark.parametrize("entry", ["content/article.xml", "content/evil.html", "content/figure.svg"])
def test_untrusted_text_is_highlighted_and_escaped(viewer: Client, entry: str) -> None:
    answer = viewer.get(address(made.succeeded(), 2, f"preview/?entry={entry}"))
    assert made.SCRIPT not in answer.text
    assert "style=" not in answer.text
    assert "alert(1)" in re.sub(r"<[^>]*>", "", answer.text)
    assert viewer.get(address(Build.objects.get(), 2, f"raw/?entry={entry}")).status_code == 404


def test_json_is_highlighted(viewer: Client) -> None:
    page = viewer.get(address(made.succeeded(), 3, "preview/")).text
    assert '<span class="c-nt">"kind"</span>' in page
    assert "&lt;script&gt;" in page


def shown_text(client: Client, build: Build, written: str) -> list[str]:
    path_of(build.artifacts.get(position=3)).write_text(written)
    page = client.get(address(build, 3, "preview/")).text
    shown = re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)[0]
    assert ("Formatted for reading" in page) == (html.unescape(re.sub(r"<[^>]*>", "", shown)).strip() != written.strip())
    return html.unescape(re.sub(r"<[^>]*>", "", shown)).strip().split("\n")


def test_single_line_json_is_formatted(viewer: Client) -> None:
    build = made.succeeded()
    one_line = '{"kind":"Article","parts":[1,{"x":"a, \\u202e\\n{b"}],"none":[]}\n'
    assert shown_text(viewer, build, one_line) == [
        "{",
        '  "kind": "Article",',
        '  "parts": [',
        "    1,",
        "    {",
        '      "x": "a, \\u202e\\n{b"',
        "    }",
        "  ],",
        '  "none": []',
        "}",
    ]
    assert shown_text(viewer, build, '{\n "a": [1,2]\n}') == ["{", ' "a": [1,2]', "}"]


def test_json_that_would_grow_too_much_is_not_formatted(viewer: Client) -> None:
    nested = "[" * 100_000
    assert shown_text(viewer, made.succeeded(), nested) == [nested]


def test_a_pdf_by_name_only_is_shown_as_text(viewer: Client) -> None:
    build = made.succeeded()
    path_of(build.artifacts.get(position=1)).write_text(made.SCRIPT)
    page = viewer.get(address(build, 1, "preview/")).text
    assert ("<iframe" in page, made.SCRIPT in page, "&lt;script&gt;" in page) == (False, False, True)


def test_a_long_file_is_cut_and_says_so(viewer: Client) -> None:
    build = made.succeeded()
    path_of(build.artifacts.get(position=3)).write_text('["' + "x" * 1_000_000)
    answer = viewer.get(address(build, 3, "preview/"))
    assert "Only the beginning is shown." in answer.text
    assert len(answer.text) < 500_000


def test_a_damaged_bundle_says_so(viewer: Client) -> None:
    build = made.succeeded()
    path = path_of(build.artifacts.get(position=2))
    path.write_bytes(path.read_bytes()[:200])
    assert "This bundle cannot be opened" in viewer.get(address(build, 2, "preview/")).text
    assert viewer.get(address(build, 2, "preview/?entry=manifest.xml")).status_code == 404


@pytest.mark.parametrize("rest", ["preview/?entry=nothing", "preview/?entry=%00", "raw/?entry=manifest.xml", "raw/"])
def test_a_missing_entry_is_not_found(viewer: Client, rest: str) -> None:
    assert viewer.get(address(made.succeeded(), 2, rest)).status_code == 404


@pytest.mark.parametrize("rest", ["", "raw/", "preview/"])
def test_a_removed_or_foreign_file_is_not_found(viewer: Client, rest: str) -> None:
    build = made.succeeded()
    (folder_of(build) / "1-typst.pdf").unlink()
    (folder_of(build) / "1-typst.pdf").symlink_to("/etc/passwd")
    assert viewer.get(address(build, 1, rest)).status_code == 404
    build.artifacts.filter(position=3).update(file="../../../etc/passwd")
    assert viewer.get(address(build, 3, rest)).status_code == 404
    assert viewer.get(address(build, 9, rest)).status_code == 404


def zipped(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return data.getvalue()


def kept(data: bytes) -> Build:
    """An attempt with ``data`` as its MECA bundle."""
    build = made.succeeded()
    path_of(build.artifacts.get(position=2)).write_bytes(data)
    return build


def test_endless_folders_do_not_all_get_rows(viewer: Client) -> None:
    build = kept(zipped(*((f"{number}/" + "d/" * 30_000 + "f", b"x") for number in range(3))))
    page = viewer.get(address(build, 2, "preview/")).text
    assert page.count('<li class="depth-') == 3 * (bundle.MAX_FOLDERS + 1)


def test_endless_names_are_left_out(viewer: Client) -> None:
    build = kept(zipped(*((f"{number:02}" + "n" * 60_000, b"x") for number in range(20))))
    page = viewer.get(address(build, 2, "preview/")).text
    assert "And 12 more files" in page
    assert len(page) < 3 * bundle.MAX_NAME_CHARACTERS


def test_a_bundle_with_more_entries_than_it_claims_is_not_read(viewer: Client) -> None:
    """Zip readers read the whole directory, whatever number the end record claims."""
    data = zipped(*((str(number), b"") for number in range(3)))
    at = data.index(b"PK\x01\x02")
    listed = data[at : at + 47] * (bundle.MAX_ENTRIES + 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 3, 3, len(listed), at, 0)
    build = kept(data[:at] + listed + end)
    assert "it lists more than 20,000 files" in viewer.get(address(build, 2, "preview/")).text
    assert viewer.get(address(build, 2, "raw/?entry=0")).status_code == 404


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("what", ["preview", "raw"])
def test_entries_with_other_compression_methods_are_not_opened(viewer: Client, method: int, what: str) -> None:
    build = kept(zipped(("figure.png", b"\x89PNG\r\n\x1a\n"), method=method))
    assert "figure.png" in viewer.get(address(build, 2, "preview/")).text
    assert viewer.get(address(build, 2, f"{what}/?entry=figure.png")).status_code == 404


@pytest.mark.parametrize(
    ("name", "text"), [("a.xml", ("&" * 19_000 + "\n") * 10), ("a.md", " \n" * 50_000), ("a.yml", ("&" * 19_000 + "\n") * 10)]
)
@pytest.mark.slow
def test_text_that_takes_too_long_to_highlight_is_shown_plain(viewer: Client, name: str, text: str) -> None:
    """The kernel limits the CPU time, so nobody has to wait."""
    page = viewer.get(address(kept(zipped((name, text.encode()))), 2, f"preview/?entry={name}")).text
    shown = re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)[0]
    assert "<span" not in shown
    assert html.unescape(shown).strip() == text.strip()
