"""The geometry of a bar chart. A template draws it as SVG without styles or scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from builds.desk.overview.counts import Day

WIDTH = 720
HEIGHT = 170
LEFT = 44
RIGHT = 20
TOP = 10
BOTTOM = 24
GAP = 0.22
LABELS = 6
WORDS = {"sound": "succeeded", "problems": "succeeded, with problems", "unfinished": "queued or running"}


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    kind: str
    words: str


@dataclass(frozen=True)
class Label:
    at: float
    words: str


@dataclass(frozen=True)
class Chart:
    """One stacked bar per day, with lines at round numbers and labels for some of the days."""

    bars: list[Bar]
    lines: list[Label]
    days: list[Label]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    base: int = HEIGHT - BOTTOM


def draw_stacked(days: Sequence[Day], *kinds: str) -> Chart:
    """The chart of ``days``. ``kinds`` are attributes of their outcomes, from the bottom up."""
    highest = max((sum(getattr(day.outcomes, kind) for kind in kinds) for day in days), default=0)
    step = choose_step(highest)
    top = max(step, -(-highest // step) * step)
    scale = (HEIGHT - TOP - BOTTOM) / top
    slot = (WIDTH - LEFT - RIGHT) / max(len(days), 1)
    bars = [bar for index, day in enumerate(days) for bar in _stack_day(day, kinds, LEFT + index * slot, slot, scale)]
    lines = [Label(round(HEIGHT - BOTTOM - value * scale, 1), f"{value:,}") for value in range(0, top + 1, step)]
    every = max(1, -(-len(days) // LABELS))
    named = [
        Label(round(LEFT + (index + 0.5) * slot, 1), f"{day.date:%-d %b}")
        for index, day in enumerate(days)
        if (len(days) - 1 - index) % every == 0
    ]
    return Chart(bars, lines, named)


def _stack_day(day: Day, kinds: Sequence[str], x: float, slot: float, scale: float) -> list[Bar]:
    bars, y = [], float(HEIGHT - BOTTOM)
    for kind in kinds:
        count = getattr(day.outcomes, kind)
        height = count * scale
        y -= height
        if count:
            words = f"{day.date:%-d %b %Y}: {count:,} {WORDS.get(kind, kind)}"
            bars.append(Bar(round(x + slot * GAP / 2, 1), round(y, 1), round(slot * (1 - GAP), 1), round(height, 1), kind, words))
    return bars


def choose_step(highest: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 … that fits into ``highest`` at most four times."""
    step = 1
    while highest > 4 * step:
        digit = int(str(step)[0])
        step = step * 5 // 2 if digit == 2 else step * 2
    return step
