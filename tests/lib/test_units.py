"""Sizes and durations as text."""

from __future__ import annotations

import pytest

from builds.lib import units


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (62_249, "62.2 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (1_500_000_000, "1.5 GB"),
        (4_000_000_000_000, "4 TB"),
    ],
)
def test_a_size_in_words(count: int, words: str) -> None:
    assert units.size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (0, "0 s"),
        (0.004, "<0.1 s"),
        (0.05, "0.1 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert units.duration(seconds) == words
