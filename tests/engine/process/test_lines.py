"""From bytes to log lines, and what must not be in them."""

from __future__ import annotations

import random

import pytest

from builds.engine.process.lines import LineSplitter
from builds.lib.redact import Redactor


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
def test_output_becomes_these_lines(chunks: tuple[bytes, ...], expected: list[str]) -> None:
    assert lines(*chunks) == expected


def test_an_endless_line_comes_in_pieces() -> None:
    splitter = LineSplitter(1000)
    got = [line for _ in range(100) for line in splitter.feed(b"x" * 10_000)]
    assert len(got) > 900
    assert max(map(len, got)) <= 1002
    assert sum(line.count("x") for line in [*got, *splitter.flush()]) == 1_000_000


@pytest.mark.parametrize("start", [b"\x1b[", b"\x1b]", b"\x1b[1 ", b"\x1b "])
def test_an_escape_sequence_that_never_ends_is_not_kept(start: bytes) -> None:
    """What is kept is read again with what comes next, so it would take quadratic time."""
    letter = b"\x20" if start.endswith(b" ") else b"0"
    splitter = LineSplitter(1000)
    got = [line for data in (start, *[letter * 10_000] * 20) for line in splitter.feed(data)]
    assert len(got) > 180


PIECES = (
    b"\x1b[31m",
    b"\x1b[0m",
    b"\x1b[",
    b"\x1b",
    b"m",
    b"\xc2",
    b"\x85",
    b"\x80",
    b"\x07",
    b"\xe2\x9c\x93",
    b"\xff",
    b"a",
    b"\n",
    b"\r",
)


def test_what_is_read_faster_becomes_the_same_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(1)
    written = [[b"".join(chance.choices(PIECES[:2] * 4 + PIECES, k=chance.randrange(9))) for _ in range(20)] for _ in range(1000)]
    written.append([b"".join(b"\x1b[%dm" % number for number in range(40)) + b"\xc3\xa9"])
    faster = [lines(*chunks) for chunks in written]
    monkeypatch.setattr("builds.engine.process.lines._is_clean", lambda data: False)
    assert [lines(*chunks) for chunks in written] == faster


@pytest.mark.parametrize("form", ["a-service-secret/+", "a-service-secret%2F%2B", "YS1zZXJ2aWNlLXNlY3JldC8r"])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_secret_is_masked_at_a_cut_and_across_several_writes(form: str, chunk: int, end: str) -> None:
    redact = Redactor(["a-service-secret/+"]).redact
    for before in range(85, 102):
        data = ("x" * before + form + "y" * 5000 + end).encode()
        splitter = LineSplitter(100, redact=redact)
        pieces = [line for at in range(0, len(data), chunk) for line in splitter.feed(data[at : at + chunk])]
        shown = "".join(redact(line).replace("…", "") for line in [*pieces, *splitter.flush()])
        assert shown == "x" * before + "***" + "y" * 5000
