"""The overview's figures: what was accepted and what became of it per day, how long it took, and why it failed.

Each figure is one query that reads an index, or the newest rows up to a number: the page stays fast on a record of any size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import CharField, Count, QuerySet
from django.db.models.functions import Cast, Substr
from django.utils import timezone

from builds.errors import BuildError
from builds.models import Build, Stage, StageName, State, Submission

# Times are taken from the newest builds of the period, so many at most; the page says so where there are more.
BUILDS_MEASURED = 2_000
STAGES_MEASURED = BUILDS_MEASURED * len(StageName)


@dataclass(frozen=True)
class Day:
    """What happened on a day, in UTC."""

    date: date
    accepted: int
    succeeded: int
    failed: int
    cancelled: int


@dataclass(frozen=True)
class Spread:
    """How long something took: half of the builds took no longer than the median, 19 of 20 no longer than ``p95``."""

    name: str
    count: int
    median: float
    p95: float


@dataclass(frozen=True)
class Causes:
    """Why builds failed: those of one fault, by code, the most frequent first."""

    fault: str
    count: int
    codes: list[tuple[str, str, int]]


@dataclass(frozen=True)
class Figures:
    days: list[Day]
    waited: Spread | None
    stages: list[Spread]
    causes: list[Causes]
    is_sample: bool

    def total(self, name: str) -> int:
        return sum(getattr(day, name) for day in self.days)

    @property
    def accepted(self) -> int:
        return self.total("accepted")

    @property
    def succeeded(self) -> int:
        return self.total("succeeded")

    @property
    def failed(self) -> int:
        return self.total("failed")

    @property
    def cancelled(self) -> int:
        return self.total("cancelled")

    @property
    def success_percent(self) -> float | None:
        """Of the builds that came to an end of their own."""
        ended = self.succeeded + self.failed
        return 100 * self.succeeded / ended if ended else None


def read(days: int) -> Figures:
    """The figures of the last ``days`` days, today's included."""
    today = timezone.now().astimezone(UTC).date()
    dates = [today - timedelta(days=back) for back in reversed(range(days))]
    start = datetime.combine(dates[0], time(), UTC)
    waits, ended = _waits(start), _ended(start)
    return Figures(
        days=_days(dates, start, ended),
        waited=spread("waiting for a worker", waits),
        stages=_stages(start),
        causes=_causes(ended),
        is_sample=len(waits) == BUILDS_MEASURED,
    )


# --- per day


def _days(dates: Sequence[date], start: datetime, ended: Counter[tuple[str, ...]]) -> list[Day]:
    accepted = _per_day(Submission.objects.filter(created_at__gte=start), "created_at")
    by_state: Counter[tuple[str, str]] = Counter()
    for (day, state, *_), count in ended.items():
        by_state[day, state] += count
    return [
        Day(
            day,
            accepted[(str(day),)],
            *(by_state[str(day), state.value] for state in (State.SUCCEEDED, State.FAILED, State.CANCELLED)),
        )
        for day in dates
    ]


def _ended(start: datetime) -> Counter[tuple[str, ...]]:
    """How many builds ended on each day, by state, fault and cause.

    Their state is not asked for: what has ended is final, and SQLite would take the index by state, which knows no end.
    """
    return _per_day(Build.objects.filter(finished_at__gte=start), "finished_at", "state", "fault", "cause_code")


def _per_day(rows: QuerySet[Any, Any], moment: str, *fields: str) -> Counter[tuple[str, ...]]:
    """How many rows of each day, and of each value of ``fields``.

    The day is the beginning of the moment as text, which the database can cut by itself; SQLite would ask Python for a date.
    """
    day = Substr(Cast(moment, CharField()), 1, 10)
    grouped = rows.order_by().values(*fields, day=day).annotate(count=Count("*"))
    return Counter({(row["day"], *(row[field] for field in fields)): row["count"] for row in grouped})


# --- times


def _waits(start: datetime) -> list[float]:
    """Seconds from when a build might have started to when it did."""
    rows = Build.objects.filter(finished_at__gte=start, started_at__isnull=False).order_by("-finished_at")
    times = rows.values_list("created_at", "not_before", "started_at")[:BUILDS_MEASURED]
    return [(started - max(created, not_before or created)).total_seconds() for created, not_before, started in times]  # type: ignore[operator]  # not null, by the filter


def _stages(start: datetime) -> list[Spread]:
    ended = Stage.objects.filter(started_at__gte=start, finished_at__isnull=False).exclude(state=Stage.State.CANCELLED)
    times = ended.order_by("-id").values_list("name", "started_at", "finished_at")[:STAGES_MEASURED]
    seconds: dict[str, list[float]] = {name.value: [] for name in StageName}
    for name, began, finished in times:
        seconds[name].append((finished - began).total_seconds())  # type: ignore[operator]  # not null, by the filter
    return [found for name, values in seconds.items() if (found := spread(name, values))]


def spread(name: str, seconds: Iterable[float]) -> Spread | None:
    """Median and 95th percentile, each a value that occurred; None where there is nothing to measure."""
    values = sorted(max(value, 0.0) for value in seconds)
    if not values:
        return None
    return Spread(name, len(values), _percentile(values, 50), _percentile(values, 95))


def _percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many per cent of all do not exceed."""
    return values[-(-len(values) * percent // 100) - 1]


# --- causes


def _causes(ended: Counter[tuple[str, ...]]) -> list[Causes]:
    counts: Counter[tuple[str, str]] = Counter()
    for (_, state, fault, code), count in ended.items():
        if state == State.FAILED:
            counts[fault, code] += count
    by_fault: dict[str, list[tuple[str, str, int]]] = {}
    for (fault, code), count in counts.most_common():
        by_fault.setdefault(fault, []).append((code, sentence_of(code), count))
    causes = [Causes(fault, sum(count for *_, count in codes), codes) for fault, codes in by_fault.items()]
    return sorted(causes, key=lambda cause: -cause.count)


def _all_errors(error: type[BuildError] = BuildError) -> Iterable[type[BuildError]]:
    yield error
    for kind in error.__subclasses__():
        yield from _all_errors(kind)


def sentence_of(code: str) -> str:
    """What a cause's code means, in a sentence; empty where only the build itself knows."""
    return SENTENCES.get(code, "")


SENTENCES = {error.code: (error.__doc__ or "").strip().splitlines()[0] for error in reversed(list(_all_errors()))}
