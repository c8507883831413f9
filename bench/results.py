"""What a benchmark says: its figures beside their baselines and aims. ``python -m bench`` collects them into one table and a JSON file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

# A benchmark that ``python -m bench`` runs appends its figures to this file, one JSON object a line.
RESULTS_VARIABLE = "BENCH_RESULTS"
HEADINGS = ("figure", "ours", "baseline", "ratio", "aim", "")


@dataclass(frozen=True)
class Aim:
    """The most that a figure may be, or the least with ``at_least``: as a figure of the same unit, or as a ratio to the baseline."""

    limit: float
    of_baseline: bool = False
    at_least: bool = False

    def is_met(self, ours: float, ratio: float | None) -> bool | None:
        """None for an aim that needs a baseline, without one."""
        value = ratio if self.of_baseline else ours
        if value is None:
            return None
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}{' × baseline' if self.of_baseline else ''}"


@dataclass(frozen=True)
class Result:
    """One figure. ``baseline`` was measured in the same run; None if there is nothing to compare with."""

    figure: str
    ours: float
    unit: str
    baseline: float | None = None
    aim: Aim | None = None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.baseline if self.baseline else None

    def cells(self) -> tuple[str, ...]:
        met = self.aim.is_met(self.ours, self.ratio) if self.aim else None
        verdict = {None: "", True: "met", False: "missed"}[met]
        baseline = "" if self.baseline is None else f"{self.baseline:.4g}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return f"{self.figure} ({self.unit})", f"{self.ours:.4g}", baseline, ratio, str(self.aim or ""), verdict


def report(*results: Result) -> None:
    """Print the figures, and hand them to ``python -m bench`` if that started this benchmark."""
    print(table(results), flush=True)
    if path := os.environ.get(RESULTS_VARIABLE):
        with Path(path).open("a") as file:
            file.writelines(json.dumps(asdict(result)) + "\n" for result in results)


def table(results: Iterable[Result]) -> str:
    rows = [HEADINGS, *(result.cells() for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def read(path: Path) -> list[Result]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [Result(**{**entry, "aim": Aim(**entry["aim"]) if entry["aim"] else None}) for entry in found]


def write(results: list[Result], path: Path) -> None:
    entries = [{**asdict(result), "ratio": result.ratio, "met": result.cells()[-1]} for result in results]
    path.write_text(json.dumps({"python": sys.version.split()[0], "cores": os.cpu_count(), "results": entries}, indent=2) + "\n")
