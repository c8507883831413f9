"""The list of refs is read while it arrives, within limits."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from builds.engine.clients import git_refs
from builds.engine.clients.git_refs import Listing, Resolved
from builds.engine.manuscript.url import ManuscriptUrl

BEGINNING = b"001e# service=git-upload-pack\n0000"
MAIN, TAG, PEELED, OTHER = "a1" * 20, "b2" * 20, "c3" * 20, "a1" * 19 + "a2"


def packet(text: bytes) -> bytes:
    return b"%04x" % (len(text) + 4) + text


def line(commit: str, name: str, rest: str = "\n") -> bytes:
    return packet(f"{commit} {name}{rest}".encode())


# A commit that no ref stands for.
GONE = "f" * 40

LIST = (
    BEGINNING
    + line(MAIN, "HEAD", "\0 agent=git/2 symref=HEAD:refs/heads/main\n")
    + line(MAIN, "refs/heads/main")
    + line(OTHER, "refs/heads/main/next")
    + line(TAG, "refs/tags/v1")
    + line(PEELED, "refs/tags/v1^{}")
    + b"0000"
)


def resolved(tail: str, data: bytes, size: int = 1 << 20) -> Resolved | None:
    listing = Listing(ManuscriptUrl.parse(f"https://github.com/o/r/blob/{tail}"))
    for at in range(0, len(data), size):
        listing.add(data[at : at + size])
    return listing.resolve()


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("tail", "found"),
    [
        ("main/a/myst.yml", Resolved("main", "a/myst.yml", MAIN, is_tip=True)),
        ("main/next/myst.yml", Resolved("main/next", "myst.yml", OTHER, is_tip=True)),
        ("v1/myst.yml", Resolved("v1", "myst.yml", PEELED, is_tip=True)),
        ("refs/tags/v1/myst.yml", Resolved("v1", "myst.yml", PEELED, is_tip=True)),
        ("HEAD/myst.yml", Resolved("HEAD", "myst.yml", MAIN, is_tip=True)),
        (f"{PEELED[:7].upper()}/myst.yml", Resolved(PEELED[:7], "myst.yml", PEELED, is_tip=True)),
        (f"{MAIN[:7]}/myst.yml", Resolved(MAIN[:7], "myst.yml", "")),
        (f"{MAIN}/myst.yml", Resolved(MAIN, "myst.yml", MAIN, is_tip=True)),
        (f"{GONE}/myst.yml", Resolved(GONE, "myst.yml", GONE)),
        ("none/myst.yml", None),
    ],
)
def test_an_address_is_resolved_however_the_list_arrives(tail: str, found: Resolved | None, size: int) -> None:
    assert resolved(tail, LIST, size) == found


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>", b"0000", BEGINNING[4:], b"-001", BEGINNING + b"+0x1 x", BEGINNING + b"\xb2\xb3\xb9\xb2"],
    ids=["nothing", "a page", "no service", "no length", "negative", "signed", "other digits"],
)
def test_another_answer_is_not_a_list(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a ref advertisement"):
        resolved("main/myst.yml", data)


def endless(unit: bytes, size: int = 64_000) -> Iterator[bytes]:
    """``unit`` again and again, in pieces of about ``size`` bytes."""
    piece = unit * (size // len(unit) + 1)
    yield BEGINNING
    while True:
        yield piece


@pytest.mark.parametrize(
    "unit",
    [b"0000", b"0005x", line(MAIN, "r"), line("f" * 40, "refs/heads/" + "x" * 60_000), b"fff0" + b"x" * (0xFFF0 - 4)],
    ids=["empty lines", "short lines", "short refs", "long refs", "long lines"],
)
def test_an_endless_list_ends_at_its_limit_and_takes_little_memory(monkeypatch: pytest.MonkeyPatch, unit: bytes) -> None:
    monkeypatch.setattr(git_refs, "MAX_LINES", 50_000)
    listing = Listing(ManuscriptUrl.parse(f"https://github.com/o/r/blob/{'f' * 7}/myst.yml"))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too long"):
            for piece in endless(unit):
                listing.add(piece)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_only_what_the_address_may_mean_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_refs, "MAX_LINES", 20_002)
    pulls = b"".join(line(f"{number:040x}", f"refs/pull/{number}/head") for number in range(20_000))
    listing = Listing(ManuscriptUrl.parse("https://github.com/o/r/blob/0000/myst.yml"))
    tracemalloc.start()
    try:
        listing.add(BEGINNING)
        for at in range(0, len(pulls), 64_000):
            listing.add(pulls[at : at + 64_000])
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()
    assert listing.resolve() == Resolved("0000", "myst.yml", ""), "many commits begin like that"
    with pytest.raises(ValueError, match="too long"):
        listing.add(b"0000")
