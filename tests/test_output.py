"""From bytes to lines, and what must not be in them."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from builds.output import LineSplitter, Redactor


def lines(*chunks: bytes, limit: int = 100) -> list[str]:
    splitter = LineSplitter(limit)
    return [line for chunk in chunks for line in splitter.feed(chunk)] + list(splitter.flush())


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((b"one\ntwo\n",), ["one", "two"]),
        ((b"one\r\ntwo\r\n",), ["one", "two"]),
        ((b"one\r", b"\ntwo"), ["one", "two"]),
        ((b"no end",), ["no end"]),
        ((b"\n\n",), ["", ""]),
        ((b"10 %\r20 %\r100 %\n",), ["100 %"]),
        ((b"10 %\r", b"20 %\r", b"30 %"), ["30 %"]),
        ((b"na\xc3", b"\xafve\n"), ["naïve"]),
        ((b"bad \xff\xfe byte\n",), ["bad \ufffd\ufffd byte"]),
        ((b"nul\x00 bell\x07 back\x08\n",), ["nul bell back"]),
        ((b"\x1b[31mred\x1b[0m\n",), ["\x1b[31mred\x1b[0m"]),
        ((b"\x1b[3", b"1mred\n"), ["\x1b[31mred"]),
        ((b"\x1b[2J\x1b[1;1Hclean\n",), ["clean"]),
        ((b"\x1b]0;title\x07shown\n",), ["shown"]),
        ((b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n",), ["link"]),
        ((b"\x1b]unfinished\nnext\n",), ["]unfinished", "next"]),
        ((b"a" * 250 + b"\n",), ["a" * 100 + "…", "…" + "a" * 99 + "…", "…" + "a" * 51]),
    ],
)
def test_lines(chunks: tuple[bytes, ...], expected: list[str]) -> None:
    assert lines(*chunks) == expected


def test_a_line_without_end_is_never_held_whole() -> None:
    splitter = LineSplitter(1000)
    got = [line for _ in range(100) for line in splitter.feed(b"x" * 10_000)]
    assert len(got) > 900
    assert max(map(len, got)) <= 1002
    assert sum(line.count("x") for line in [*got, *splitter.flush()]) == 1_000_000


SECRET = "s3cr3t/with+odd=chars"


@pytest.mark.parametrize("before", ["", "x", "xx", "xxx"])
def test_a_secret_is_masked_in_all_its_forms(before: str) -> None:
    redactor = Redactor([SECRET, "abc"])
    encoded = base64.b64encode(f"{before}{SECRET}{before}".encode()).decode()
    raw = f"{before}{SECRET}{before}".encode()
    urlsafe = base64.urlsafe_b64encode(raw).decode()
    every = "".join(f"%{byte:02x}" for byte in SECRET.encode())
    addresses = (quote(SECRET, safe=""), quote(SECRET, safe="").replace("%2F", "%2f"), quote(SECRET), every, every.upper())
    for text in (SECRET, *addresses, encoded, encoded.rstrip("="), urlsafe, raw.hex(), raw.hex().upper()):
        masked = redactor.redact(f"token is {text}!")
        assert not any(piece in masked for piece in (SECRET, text, text[8:-8])), masked
        assert "***" in masked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://localhost:8888/?token=abcdef123", "http://localhost:8888/?token=***"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("https://user:pass@host/x", "https://user:***@host/x"),
        ("https://host:8080/x", "https://host:8080/x"),
        ("ghp_" + "a" * 36, "***"),
        ("the word token= alone", "the word token= alone"),
        ("abc is too short to be a secret", "abc is too short to be a secret"),
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str, expected: str) -> None:
    assert Redactor(["abc"]).redact(text) == expected


@pytest.mark.parametrize("form", ["a-secret-of-ours/+", "a-secret-of-ours%2F%2B", "YS1zZWNyZXQtb2Ytb3Vycy8r"])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_secret_at_a_cut_and_over_several_writes_is_masked(form: str, chunk: int, end: str) -> None:
    redact = Redactor(["a-secret-of-ours/+"]).redact
    for before in range(85, 102):
        data = ("x" * before + form + "y" * 5000 + end).encode()
        splitter = LineSplitter(100, redact=redact)
        pieces = [line for at in range(0, len(data), chunk) for line in splitter.feed(data[at : at + chunk])]
        shown = "".join(redact(line).replace("…", "") for line in [*pieces, *splitter.flush()])
        assert shown == "x" * before + "***" + "y" * 5000
