"""The fingerprint of a failure: the same error in two manuscripts has one, and two errors have two."""

from __future__ import annotations

import time

import pytest

from builds.lib.fingerprint import LENGTH, MAX_LINE, MAX_READ, fingerprint, normalise

NORMALISED = {
    "The reference “hopper1953” is not in the bibliography.": "The reference … is not in the bibliography.",
    "The image figs/a.png can't be read, it isn't there.": "The image … can't be read, it isn't there.",
    "The file can't be read in 'my notes'.": "The file can't be read in ….",
    "`myst build` ended with exit code 1.": "… ended with exit code ….",
    "The build used more than 2.5 GB.": "The build used more than … GB.",
    "Commit 3f2a9c0de of lab/paper has no myst.yml.": "Commit … of … has no ….",
    "The repository has a.yml, docs/b.yml and c.yml.": "The repository has ….",
    "GitHub (github.com) did not answer, see e.g. its status.": "GitHub (github.com) did not answer, see e.g. its status.",
    "https://pypi.org/simple/numpy/ could not be fetched.": "https://pypi.org could not be fetched.",
    "The archive host refuses to send lab/paper (it answered 403).": "The archive host refuses to send … (it answered 403).",
    "desci-server rejected the files (413 too large: 8123 bytes).": "desci-server rejected the files (413 too large: … bytes).",
    'desci-server rejected the files (400 {"error":"The node 17 is not one of this user"}).': (
        'desci-server rejected the files (400 {…:"The node … is not one of this user"}).'
    ),
}


@pytest.mark.parametrize(("line", "normalised"), NORMALISED.items())
def test_names_and_numbers_are_taken_out(line: str, normalised: str) -> None:
    assert normalise(line) == normalised


def test_what_was_normalised_stays_as_it_is() -> None:
    assert [normalise(line) for line in NORMALISED.values()] == list(NORMALISED.values())


def test_code_stage_and_line_each_make_another_fingerprint() -> None:
    found = {
        fingerprint(*parts) for parts in (("a", "b", "c"), ("x", "b", "c"), ("a", "x", "c"), ("a", "b", "x"), ("ab", "", "c"))
    }
    assert len(found) == 5
    assert {len(made) for made in found} == {LENGTH}


@pytest.mark.parametrize("piece", ["'", "a/", "a.", "1.", "…,", "a'", "-1", "https://", "a-", ".,", "(", "e.g."])
def test_no_line_takes_long(piece: str) -> None:
    """Much longer than MAX_READ, so that reading all of it would take minutes where the time grows with its square."""
    begun = time.process_time()
    assert len(normalise(piece * 1_000_000)) <= MAX_LINE
    assert time.process_time() - begun < 5
    assert normalise("x " * MAX_READ) == normalise("x " * 10 * MAX_READ)


def test_a_line_that_no_encoding_has_has_a_fingerprint() -> None:
    assert fingerprint("code", "stage", normalise("half a \ud800 sign"))
