"""How long things take: from submission to delivery, waiting for a worker, and each stage.

Measured on a limited number of the newest attempts of a period, so that the page stays fast on a record of any size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from builds.desk.overview.period import Period
from builds.lib.units import duration
from builds.models import Build, Stage, StageName, State

# The page says so if there are more.
MAX_MEASURED = 1_000
DELIVERY, WAIT = "from submission to delivery", "waiting for a worker"


@dataclass(frozen=True)
class Spread:
    """How long something took, in seconds: the median and the 95th percentile."""

    name: str
    count: int
    median: float
    p95: float
    median_before: float | None = None
    """The median of the period before; None if nothing was measured in it."""

    @property
    def change(self) -> str:
        """The difference to the median before in words: ``3 s longer``, ``2 s shorter`` or ``unchanged``. Empty without one."""
        if self.median_before is None:
            return ""
        difference = self.median - self.median_before
        if duration(self.median) == duration(self.median_before):
            return "unchanged"
        return f"{duration(abs(difference))} {'longer' if difference > 0 else 'shorter'}"


@dataclass(frozen=True)
class Durations:
    spreads: list[Spread]
    is_sample: bool
    """There are more attempts than were measured."""

    @property
    def delivery(self) -> Spread | None:
        return next((spread for spread in self.spreads if spread.name == DELIVERY), None)


def measure(period: Period) -> Durations:
    """Each duration of the period, with the median of the period before. Leaves out what was not measured."""
    now, is_sample = _measure(period)
    before, _ = _measure(period.before)
    spreads = [spread for name, values in now.items() if (spread := measure_spread(name, values, before[name]))]
    return Durations(spreads, is_sample)


def measure_spread(name: str, seconds: Iterable[float], before: Iterable[float] = ()) -> Spread | None:
    """Median and 95th percentile, each a value that occurred. None if there are no values."""
    values, earlier = (sorted(max(value, 0.0) for value in of) for of in (seconds, before))
    if not values:
        return None
    median_before = _find_percentile(earlier, 50) if earlier else None
    return Spread(name, len(values), _find_percentile(values, 50), _find_percentile(values, 95), median_before)


def _find_percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that ``percent`` per cent of all values do not exceed."""
    return values[-(-len(values) * percent // 100) - 1]


def _measure(period: Period) -> tuple[dict[str, list[float]], bool]:
    """The seconds of everything that is measured, by name, and whether there are more attempts."""
    newest = _newest(period)
    seconds: dict[str, list[float]] = {DELIVERY: [], WAIT: [], **{name.value: [] for name in StageName}}
    rows = list(_with_times(newest))
    for row in rows:
        seconds[WAIT].append(_seconds(max(row["created_at"], row["not_before"] or row["created_at"]), row["started_at"]))
        if row["state"] == State.SUCCEEDED and not row["is_again"]:
            seconds[DELIVERY].append(_seconds(row["submission__created_at"], row["finished_at"]))
    # The stages are those of the same attempts: the table of stages has no index of times.
    stages = Stage.objects.filter(build__in=newest.values("pk"), finished_at__isnull=False).exclude(state=Stage.State.CANCELLED)
    for name, began, finished in stages.order_by().values_list("name", "started_at", "finished_at"):
        seconds[name].append(_seconds(began, finished))
    return seconds, len(rows) == MAX_MEASURED


def _newest(period: Period) -> QuerySet[Build]:
    """The newest attempts that ended in the period, of those that started."""
    ended = Build.objects.filter(finished_at__gte=period.start, finished_at__lt=period.end, started_at__isnull=False)
    return ended.order_by("-finished_at")[:MAX_MEASURED]


def _with_times(builds: QuerySet[Build]) -> Iterable[dict[str, Any]]:
    earlier = Build.objects.filter(submission=OuterRef("submission"), number__lt=OuterRef("number"), state=State.SUCCEEDED)
    fields = ("created_at", "not_before", "started_at", "finished_at", "state", "submission__created_at")
    rows: Iterable[dict[str, Any]] = builds.annotate(is_again=Exists(earlier)).values(*fields, "is_again")
    return rows


def _seconds(start: datetime, end: datetime | None) -> float:
    return ((end or start) - start) / timedelta(seconds=1)
