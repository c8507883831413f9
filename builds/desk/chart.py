"""Where the bars of a chart stand: numbers for the SVG that a template draws. Without styles or scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from builds.desk.figures import Day

WIDTH = 720
HEIGHT = 170
LEFT = 44
RIGHT = 20
TOP = 10
BOTTOM = 24
GAP = 0.22
LABELS = 6


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
    """Stacked bars, one for each day, with lines at round numbers and some of the days named."""

    bars: list[Bar]
    lines: list[Label]
    days: list[Label]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    base: int = HEIGHT - BOTTOM


def stacked(days: Sequence[Day], *kinds: str) -> Chart:
    highest = max((sum(getattr(day, kind) for kind in kinds) for day in days), default=0)
    step = round_step(highest)
    top = max(step, -(-highest // step) * step)
    scale = (HEIGHT - TOP - BOTTOM) / top
    slot = (WIDTH - LEFT - RIGHT) / max(len(days), 1)
    bars = [bar for index, day in enumerate(days) for bar in _stack(day, kinds, LEFT + index * slot, slot, scale)]
    lines = [Label(round(HEIGHT - BOTTOM - value * scale, 1), f"{value:,}") for value in range(0, top + 1, step)]
    every = max(1, -(-len(days) // LABELS))
    named = [
        Label(round(LEFT + (index + 0.5) * slot, 1), f"{day.date:%-d %b}")
        for index, day in enumerate(days)
        if (len(days) - 1 - index) % every == 0
    ]
    return Chart(bars, lines, named)


def _stack(day: Day, kinds: Sequence[str], x: float, slot: float, scale: float) -> list[Bar]:
    bars, y = [], float(HEIGHT - BOTTOM)
    for kind in kinds:
        count = getattr(day, kind)
        height = count * scale
        y -= height
        if count:
            words = f"{day.date:%-d %b %Y}: {count:,} {kind}"
            bars.append(Bar(round(x + slot * GAP / 2, 1), round(y, 1), round(slot * (1 - GAP), 1), round(height, 1), kind, words))
    return bars


def round_step(highest: int) -> int:
    """A round number that goes into ``highest`` four times at most: 1, 2, 5, 10, 20, 50 …"""
    step = 1
    while highest > 4 * step:
        digit = int(str(step)[0])
        step = step * 5 // 2 if digit == 2 else step * 2
    return step
