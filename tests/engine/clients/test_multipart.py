"""The multipart body, byte for byte."""

from __future__ import annotations

import io
from functools import partial

import pytest

from builds.engine.clients.multipart import FilePart, Multipart, WrongSize, content_type


def part(name: str, data: bytes) -> FilePart:
    return FilePart(name, len(data), partial(io.BytesIO, data))


def whole(body: Multipart, block: int = -1) -> bytes:
    return b"".join(iter(lambda: body.read(block), b""))


def test_files_come_first_then_the_fields_and_nothing_else() -> None:
    body = Multipart([part("a.pdf", b"PDF"), part("/e/x.meca/.hidden", b"")], {"uuid": "n.", "contextPath": "root"})
    boundary = body.content_type.removeprefix("multipart/form-data; boundary=")
    expected = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.pdf"\r\nContent-Type: application/pdf\r\n\r\nPDF\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="/e/x.meca/.hidden"\r\n'
        f"Content-Type: application/octet-stream\r\n\r\n\r\n"
        f'--{boundary}\r\nContent-Disposition: form-data; name="uuid"\r\n\r\nn.\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="contextPath"\r\n\r\nroot\r\n--{boundary}--\r\n'
    ).encode()
    assert len(body) == len(expected)
    assert whole(body) == expected
    assert body.sent == len(expected)


@pytest.mark.parametrize("block", [1, 7, 8192, -1])
def test_the_body_can_be_read_in_blocks_of_any_size(block: int) -> None:
    body = Multipart([part("a", b"x" * 200_000)], {"uuid": "n"})
    data = whole(body, block if block != 1 else 1000)
    assert (len(data), data.count(b"x")) == (len(body), 200_000)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ('a"b.md', "a%22b.md"),
        ("a\r\nb.md", "a%0D%0Ab.md"),
        ("ü €.md", "ü €.md"),
        ("100%.md", "100%.md"),
        ("a\\b;c.md", "a\\b;c.md"),
        ("a%22b.md", "a%22b.md"),
    ],
)
def test_filenames_are_percent_encoded_as_the_receiver_expects(name: str, written: str) -> None:
    data = whole(Multipart([part(name, b"")], {}))
    assert f'filename="{written}"\r\n'.encode() in data


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("a.pdf", "application/pdf"),
        ("a.XML", "application/xml"),
        ("a.md", "text/markdown"),
        ("a.yml", "text/yaml"),
        ("a.yaml", "text/yaml"),
        ("a.png", "image/png"),
        ("a.jpg", "image/jpeg"),
        ("a.svg", "image/svg+xml"),
        ("a.json", "application/json"),
        ("a.csv", "text/csv"),
        ("a.txt", "text/plain"),
        ("a.zip", "application/zip"),
        ("a.bib", "application/octet-stream"),
        ("LICENSE", "application/octet-stream"),
        (".yml", "application/octet-stream"),
    ],
)
def test_the_content_type_follows_from_the_file_extension(name: str, type_: str) -> None:
    assert content_type(name) == type_


@pytest.mark.parametrize("announced", [1, 5])
def test_a_file_of_another_size_than_announced_raises_wrong_size(announced: int) -> None:
    body = Multipart([FilePart("a", announced, partial(io.BytesIO, b"abc"))], {})
    with pytest.raises(WrongSize, match="a"):
        whole(body)


def test_the_check_can_stop_the_reading() -> None:
    def refuse() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        Multipart([part("a", b"x")], {}, check=refuse).read(10)
