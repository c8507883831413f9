"""The overview's figures: submissions and results per day, durations, and causes of failure.

Each figure is one query that reads an index or a limited number of newest rows, so the page stays fast on a record of any size.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import CharField, Count, QuerySet
from django.db.models.functions import Cast, Substr

from builds.engine.findings import Group, Severity
from builds.engine.kinds import all_kinds
from builds.errors import BuildError
from builds.models import Build, Finding, Stage, StageName, State, Submission, clock

# Durations are measured on at most this many of the newest builds. The page says so if there are more.
MAX_BUILDS_MEASURED = 2_000
MAX_STAGES_MEASURED = MAX_BUILDS_MEASURED * len(StageName)


@dataclass(frozen=True)
class Day:
    """The counts of one day, in UTC."""

    date: date
    accepted: int
    succeeded: int
    failed: int
    cancelled: int
    problems: int
    """How many of the successes have problems."""

    @property
    def sound(self) -> int:
        return max(self.succeeded - self.problems, 0)


@dataclass(frozen=True)
class Spread:
    """How long something took, in seconds: the median and the 95th percentile."""

    name: str
    count: int
    median: float
    p95: float


@dataclass(frozen=True)
class Causes:
    """The causes of one fault, as (code, sentence, count), most frequent first."""

    fault: str
    count: int
    codes: list[tuple[str, str, int]]


@dataclass(frozen=True)
class Figures:
    days: list[Day]
    waited: Spread | None
    stages: list[Spread]
    causes: list[Causes]
    problems: list[tuple[str, str, int]]
    """What was wrong in successful attempts, as (code, sentence, number of attempts), most frequent first."""
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
    def with_problems(self) -> int:
        return self.total("problems")

    @property
    def success_percent(self) -> float | None:
        """The share of successful builds, not counting cancelled ones."""
        ended = self.succeeded + self.failed
        return 100 * self.succeeded / ended if ended else None


def read(days: int) -> Figures:
    """The figures of the last ``days`` days, including today."""
    today = clock.now().astimezone(UTC).date()
    dates = [today - timedelta(days=back) for back in reversed(range(days))]
    start = datetime.combine(dates[0], time(), UTC)
    waits, ended = _measure_waits(start), _count_ended(start)
    return Figures(
        days=_count_days(dates, start, ended),
        waited=measure_spread("waiting for a worker", waits),
        stages=_measure_stages(start),
        causes=_count_causes(ended),
        problems=_count_problems(start),
        is_sample=len(waits) == MAX_BUILDS_MEASURED,
    )


# --- per day


def _count_days(dates: Sequence[date], start: datetime, ended: Counter[tuple[str, ...]]) -> list[Day]:
    accepted = _count_per_day(Submission.objects.filter(created_at__gte=start), "created_at")
    with_problems = _count_per_day(_succeeded_with_problems(start), "finished_at")
    by_state: Counter[tuple[str, str]] = Counter()
    for (day, state, *_), count in ended.items():
        by_state[day, state] += count
    return [
        Day(
            day,
            accepted=accepted[(str(day),)],
            succeeded=by_state[str(day), State.SUCCEEDED.value],
            failed=by_state[str(day), State.FAILED.value],
            cancelled=by_state[str(day), State.CANCELLED.value],
            problems=with_problems[(str(day),)],
        )
        for day in dates
    ]


def _count_ended(start: datetime) -> Counter[tuple[str, ...]]:
    """How many builds ended on each day, by state, fault and cause.

    The query does not filter by state: with such a filter SQLite would use the index on the state, which does not contain the end.
    """
    return _count_per_day(Build.objects.filter(finished_at__gte=start), "finished_at", "state", "fault", "cause_code")


def _count_per_day(rows: QuerySet[Any, Any], moment: str, *fields: str) -> Counter[tuple[str, ...]]:
    """The number of rows per day and per value of ``fields``.

    The day is a substring of the timestamp, which the database computes. For a real date SQLite would call Python for each row.
    """
    day = Substr(Cast(moment, CharField()), 1, 10)
    grouped = rows.order_by().values(*fields, day=day).annotate(count=Count("*"))
    return Counter({(row["day"], *(row[field] for field in fields)): row["count"] for row in grouped})


# --- times


def _measure_waits(start: datetime) -> list[float]:
    """Seconds between the moment a build could have started and its start."""
    rows = Build.objects.filter(finished_at__gte=start, started_at__isnull=False).order_by("-finished_at")
    times = rows.values_list("created_at", "not_before", "started_at")[:MAX_BUILDS_MEASURED]
    return [(started - max(created, not_before or created)).total_seconds() for created, not_before, started in times]  # type: ignore[operator]  # not null, by the filter


def _measure_stages(start: datetime) -> list[Spread]:
    ended = Stage.objects.filter(started_at__gte=start, finished_at__isnull=False).exclude(state=Stage.State.CANCELLED)
    times = ended.order_by("-id").values_list("name", "started_at", "finished_at")[:MAX_STAGES_MEASURED]
    seconds: dict[str, list[float]] = {name.value: [] for name in StageName}
    for name, began, finished in times:
        seconds[name].append((finished - began).total_seconds())  # type: ignore[operator]  # not null, by the filter
    return [found for name, values in seconds.items() if (found := measure_spread(name, values))]


def measure_spread(name: str, seconds: Iterable[float]) -> Spread | None:
    """Median and 95th percentile, each a value that occurred. None if there are no values."""
    values = sorted(max(value, 0.0) for value in seconds)
    if not values:
        return None
    return Spread(name, len(values), _find_percentile(values, 50), _find_percentile(values, 95))


def _find_percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that ``percent`` per cent of all values do not exceed."""
    return values[-(-len(values) * percent // 100) - 1]


# --- causes


def _count_causes(ended: Counter[tuple[str, ...]]) -> list[Causes]:
    counts: Counter[tuple[str, str]] = Counter()
    for (_, state, fault, code), count in ended.items():
        if state == State.FAILED:
            counts[fault, code] += count
    by_fault: dict[str, list[tuple[str, str, int]]] = {}
    for (fault, code), count in counts.most_common():
        by_fault.setdefault(fault, []).append((code, find_sentence(code), count))
    causes = [Causes(fault, sum(count for *_, count in codes), codes) for fault, codes in by_fault.items()]
    return sorted(causes, key=lambda cause: -cause.count)


def _succeeded_with_problems(start: datetime) -> QuerySet[Build]:
    """Builds that ended since ``start``. The words of the index build_with_problems, so that it is used."""
    return Build.objects.filter(finished_at__gte=start, state=State.SUCCEEDED, problems__gt=0)


def _count_problems(start: datetime) -> list[tuple[str, str, int]]:
    """How many successful builds have each code among their problems."""
    found = Finding.objects.filter(build__in=_succeeded_with_problems(start), severity=Severity.BROKEN, group=Group.BUILD)
    counted = found.order_by().values_list("code").annotate(count=Count("build", distinct=True)).order_by("-count", "code")
    return [(code, find_sentence(code), count) for code, count in counted]


def _all_errors(error: type[BuildError] = BuildError) -> Iterable[type[BuildError]]:
    yield error
    for kind in error.__subclasses__():
        yield from _all_errors(kind)


def find_sentence(code: str) -> str:
    """What the code of a cause or a finding means, in one sentence. Empty if the code is unknown."""
    kind = all_kinds().get(code)
    return SENTENCES.get(code) or (_without_words(kind.text) if kind else "")


def _without_words(text: str) -> str:
    """The text of a kind with an ellipsis for each word that a finding fills in, and without those at its end."""
    return re.sub(r"[\s:.]*…\.?$", ".", PLACE.sub("…", text))


# A place for a word in the text of a kind, or several beside each other.
PLACE = re.compile(r"'?(?:\{\w+(?:![a-z])?\})+'?")
SENTENCES = {error.code: (error.__doc__ or "").strip().splitlines()[0] for error in reversed(list(_all_errors()))}
