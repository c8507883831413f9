"""Counts what was submitted: by day, by journal field, by cause and by problem.

Every query counts both periods at once, from an index that covers it. It counts the same way as the list filters, so that the list behind
a number shows exactly what was counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db.models import Case, CharField, Count, F, IntegerField, Max, Q, QuerySet, Value, When
from django.db.models.functions import Cast, Coalesce, Substr

from builds.desk.overview.period import Period
from builds.desk.submissions.filters import SLACK
from builds.engine.findings import Group, Severity
from builds.models import Build, Finding, State, Submission

NO_ID = 2**63 - 1


@dataclass(frozen=True)
class Outcomes:
    """How many submissions, or attempts, are in each state."""

    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    problems: int = 0
    """How many of the successes have problems."""

    @classmethod
    def of(cls, states: Mapping[str, int], problems: int = 0) -> Outcomes:
        return cls(**{state.value: states.get(state.value, 0) for state in State}, problems=problems)

    @property
    def all(self) -> int:
        return self.queued + self.running + self.succeeded + self.failed + self.cancelled

    @property
    def sound(self) -> int:
        return max(self.succeeded - self.problems, 0)

    @property
    def unfinished(self) -> int:
        return self.queued + self.running

    @property
    def success_percent(self) -> float | None:
        """The share of successes among successes and failures."""
        ended = self.succeeded + self.failed
        return 100 * self.succeeded / ended if ended else None


@dataclass(frozen=True)
class Day:
    date: date
    outcomes: Outcomes


@dataclass(frozen=True)
class Times:
    """How often something was counted in the period and in the one before."""

    now: int = 0
    before: int = 0


@dataclass(frozen=True)
class FailedBy:
    """A cause: the submissions that had an attempt fail by it, and those that still fail by it."""

    code: str
    fault: str
    times: Times
    still: int
    on_the_desk: int
    """How many of those that still fail nobody has put away."""


def add_up(outcomes: Iterable[Outcomes]) -> Outcomes:
    """The sum of all of them."""
    names = [*State.values, "problems"]
    found = list(outcomes)
    return Outcomes(**{name: sum(getattr(one, name) for one in found) for name in names})


def by_day(period: Period) -> tuple[list[Day], Outcomes]:
    """The submissions of each day of the period by their state now, and the sum of the period before."""
    rows = (
        _submitted(period)
        .values("state", is_damaged=_one_if(problems__gt=0), day=_day_of("created_at"))
        .annotate(count=Count("*"))
    )
    counts = _collect(((row["day"],), row["state"], row["is_damaged"], row["count"]) for row in rows)
    days = [Day(day, counts.get((str(day),), Outcomes())) for day in period.dates()]
    return days, add_up(counts.get((str(day),), Outcomes()) for day in period.before.dates())


def by_subject(period: Period) -> dict[str, tuple[Outcomes, Outcomes]]:
    """The submissions of the period and of the one before, by journal field."""
    rows = (
        _submitted(period)
        .values("subject", "state", is_damaged=_one_if(problems__gt=0), is_now=_is_now(period))
        .annotate(count=Count("*"))
    )
    counts = _collect(((row["subject"], row["is_now"]), row["state"], row["is_damaged"], row["count"]) for row in rows)
    subjects = dict.fromkeys(subject for subject, _ in counts)
    return {name: (counts.get((name, 1), Outcomes()), counts.get((name, 0), Outcomes())) for name in subjects}


def by_cause(period: Period) -> list[FailedBy]:
    """The causes of the failed attempts of what was submitted, most frequent first."""
    # Only failed attempts have a cause. With a filter of the state, SQLite would read all failures that there ever were.
    failed = _of_submitted(Build.objects.filter(~Q(cause_code="")), period).values(
        "cause_code", is_now=_is_now(period, of="submission__")
    )
    rows = list(failed.annotate(count=Count("submission", distinct=True), of=Max("fault")))
    faults = {row["cause_code"]: row["of"] for row in rows}
    times = _pair((row["cause_code"], row["is_now"], row["count"]) for row in rows)
    still, on_the_desk = _count_still_failed(period)
    found = [FailedBy(code, faults[code], count, still[code], on_the_desk[code]) for code, count in times.items()]
    return sorted(found, key=lambda cause: (-cause.times.now, -cause.times.before, cause.code))


def _count_still_failed(period: Period) -> tuple[Counter[str], Counter[str]]:
    """The failed submissions of the period by cause: all of them, and those that nobody has put away.

    Without a filter of the state, for the same reason.
    """
    rows = Submission.objects.filter(~Q(cause_code=""), created_at__gte=period.start, created_at__lt=period.end).order_by()
    still, on_the_desk = Counter[str](), Counter[str]()
    for state, code, is_away, count in rows.values_list("state", "cause_code", "put_away").annotate(count=Count("*")):
        if state == State.FAILED:
            still[code] += count
            on_the_desk[code] += 0 if is_away else count
    return still, on_the_desk


def by_problem(period: Period) -> dict[str, Times]:
    """The submissions that succeeded with each problem, most frequent first."""
    broken = Finding.objects.filter(severity=Severity.BROKEN, group=Group.BUILD, submission__problems__gt=0)
    found = _of_submitted(broken, period).values("code", is_now=_is_now(period, of="submission__"))
    rows = found.annotate(count=Count("submission", distinct=True))
    times = _pair((row["code"], row["is_now"], row["count"]) for row in rows)
    return dict(sorted(times.items(), key=lambda item: (-item[1].now, -item[1].before, item[0])))


def attempts_by_day(period: Period) -> list[Day]:
    """The attempts that ended on each day of the period. Their problems are not counted: no index has these beside the end."""
    ended = Build.objects.filter(finished_at__gte=period.start, finished_at__lt=period.end).order_by()
    states: dict[str, dict[str, int]] = {}
    for row in ended.values("state", day=_day_of("finished_at")).annotate(count=Count("*")):
        states.setdefault(row["day"], {})[row["state"]] = row["count"]
    return [Day(day, Outcomes.of(states.get(str(day), {}))) for day in period.dates()]


# --- what the queries share


def _submitted(period: Period) -> QuerySet[Submission]:
    """The submissions of both periods."""
    return Submission.objects.filter(created_at__gte=period.before.start, created_at__lt=period.end).order_by()


def _of_submitted(rows: QuerySet[Any], period: Period) -> QuerySet[Any]:
    """Only the ``rows`` of submissions of both periods. It finds them by the id of the submission, as the list does."""
    first = (
        Submission.objects.filter(created_at__gte=period.before.start).order_by("created_at").values_list("pk", flat=True).first()
    )
    least = NO_ID if first is None else first - SLACK
    # Without the index of the times: a planner that used it would look up the rows of each submission.
    at = Coalesce("submission__created_at", "submission__created_at")
    bounds = Q(submission__gte=least, submitted__gte=period.before.start, submitted__lt=period.end)
    found: QuerySet[Any] = rows.alias(submitted=at).filter(bounds).order_by()
    return found


def _is_now(period: Period, *, of: str = "") -> Case:
    """1 for what was submitted in the period, 0 for the one before."""
    return _one_if(**{f"{of}created_at__gte": period.start})


def _one_if(**condition: Any) -> Case:
    """1 if the condition is true, otherwise 0."""
    return Case(When(**condition, then=Value(1)), default=Value(0), output_field=IntegerField())


def _day_of(moment: str) -> Substr:
    """The day as a substring of the timestamp, which the database computes. For a date SQLite would call Python for each row."""
    return Substr(Cast(F(moment), CharField()), 1, 10)


def _collect(rows: Iterable[tuple[tuple[Any, ...], str, int, int]]) -> dict[tuple[Any, ...], Outcomes]:
    """The outcomes by key, from rows of key, state, whether there are problems, and count."""
    states: dict[tuple[Any, ...], Counter[str]] = {}
    problems: Counter[tuple[Any, ...]] = Counter()
    for key, state, is_damaged, count in rows:
        states.setdefault(key, Counter())[state] += count
        problems[key] += count if is_damaged else 0
    return {key: Outcomes.of(found, problems[key]) for key, found in states.items()}


def _pair(rows: Iterable[tuple[str, int, int]]) -> dict[str, Times]:
    """The counts by code, from rows of code, whether it is the present period, and count."""
    counts = {(code, is_now): count for code, is_now, count in rows}
    return {code: Times(counts.get((code, 1), 0), counts.get((code, 0), 0)) for code in dict.fromkeys(code for code, _ in counts)}
