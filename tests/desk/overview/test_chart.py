"""The geometry of the charts."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from builds.desk.overview import chart
from builds.desk.overview.counts import Day, Outcomes


@pytest.mark.parametrize(
    ("highest", "step"), [(0, 1), (4, 1), (5, 2), (9, 5), (20, 5), (21, 10), (90, 50), (4000, 1000), (4001, 2000)]
)
def test_lines_are_at_round_numbers(highest: int, step: int) -> None:
    assert chart.choose_step(highest) == step


def test_bars_are_stacked_and_fill_the_chart() -> None:
    day = Day(date(2026, 1, 31), Outcomes(succeeded=3, failed=1, problems=1))
    drawn = chart.draw_stacked([day], "sound", "problems", "failed", "cancelled")
    low, middle, high = drawn.bars
    assert (low.kind, low.y + low.height, middle.y + middle.height) == ("sound", drawn.base, low.y)
    assert (middle.words, high.y + high.height) == ("31 Jan 2026: 1 succeeded, with problems", middle.y)
    assert (high.y, high.words) == (chart.TOP, "31 Jan 2026: 1 failed")
    assert [line.words for line in drawn.lines] == ["0", "1", "2", "3", "4"]


def test_days_are_labelled_backwards_from_the_newest() -> None:
    days = [Day(date(2026, 1, 1) + timedelta(days=index), Outcomes(queued=1)) for index in range(30)]
    assert [label.words for label in chart.draw_stacked(days, "unfinished").days] == [
        "5 Jan",
        "10 Jan",
        "15 Jan",
        "20 Jan",
        "25 Jan",
        "30 Jan",
    ]
