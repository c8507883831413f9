"""The overview's figures: what was submitted in a period and what became of it, each beside the period before and with its list.

Each figure is one query that reads an index or a limited number of newest rows, so the page stays fast on a record of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Generic, TypeVar

from builds.desk.overview import counts, times
from builds.desk.overview.counts import Day, FailedBy, Outcomes
from builds.desk.overview.period import Counted, Period
from builds.desk.overview.sentences import find_sentence
from builds.desk.submissions.codes import NO_SUBJECT
from builds.desk.submissions.filters import FAULTS, NEEDS_ME
from builds.errors import DeliveryTimedOut, DesciServerDown, DesciServerJobFailed, DesciServerRefused, SecretRefused
from builds.models import State
from builds.staff.failures import fitting_actions

Row = TypeVar("Row")
# How many journal fields, causes and problems are shown at first, and at most on request.
SHOWN = 10
MAX_SHOWN = 500
FIELDS, CAUSES, PROBLEMS = "fields", "causes", "problems"
# The exports of these failures are kept.
NOT_DELIVERED = {
    error.code for error in (DeliveryTimedOut, DesciServerDown, DesciServerJobFailed, DesciServerRefused, SecretRefused)
}
# The counts of Outcomes, each with the filters of the list that shows it.
LISTS = {
    "all": {},
    "succeeded": {"state": State.SUCCEEDED.value},
    "problems": {"problems": "yes"},
    "failed": {"state": State.FAILED.value},
    "cancelled": {"state": State.CANCELLED.value},
    "queued": {"state": State.QUEUED.value},
    "running": {"state": State.RUNNING.value},
}


@dataclass(frozen=True)
class Results:
    """What became of the submissions of both periods, altogether or of the journal field ``name``. ``counted`` has the keys of LISTS."""

    name: str
    now: Outcomes
    before: Outcomes
    counted: dict[str, Counted]

    @property
    def shown(self) -> list[Counted]:
        """What the table of journal fields shows."""
        return [self.counted[key] for key in ("all", "succeeded", "problems", "failed")]

    @property
    def rate_change(self) -> str:
        """As :attr:`Counted.change`, for the share of successes. Empty if there is nothing to compare."""
        now, before = self.now.success_percent, self.before.success_percent
        if now is None or before is None:
            return ""
        points = round(round(now, 1) - round(before, 1), 1)  # of the numbers that are shown
        if not points:
            return "unchanged"
        unit = "point" if abs(points) == 1 else "points"
        return f"{abs(points):.1f} {unit} {'higher' if points > 0 else 'lower'}"


@dataclass(frozen=True)
class DayRow:
    """A day with the counts of LISTS, in that order, each with its list."""

    date: date
    cells: list[tuple[int, str]]


@dataclass(frozen=True)
class Code:
    """A cause or a problem, its meaning, and the submissions that have it."""

    code: str
    sentence: str
    counted: Counted


@dataclass(frozen=True)
class Cause(Code):
    """``still`` submissions still fail by it; ``on_the_desk`` of these are not put away. ``remedy`` may help them all at once."""

    still: int
    still_link: str
    on_the_desk: int
    desk_link: str
    remedy: str


@dataclass(frozen=True)
class Responsible:
    """The causes for which one party is responsible."""

    words: str
    causes: list[Cause] = field(default_factory=list)


@dataclass(frozen=True)
class Top(Generic[Row]):
    """The most frequent ones, and how many there are in all."""

    shown: Sequence[Row]
    count: int

    @property
    def left_out(self) -> int:
        return self.count - len(self.shown)


@dataclass(frozen=True)
class Figures:
    period: Period
    all: Results
    days: list[Day]
    day_rows: list[DayRow]
    attempts: list[Day]
    fields: Top[Results]
    causes: Top[Cause]
    responsible: list[Responsible]
    problems: Top[Code]
    durations: times.Durations


def read(days: int, in_full: str = "") -> Figures:
    """The figures of the last ``days`` days, including today. ``in_full`` is FIELDS, CAUSES or PROBLEMS: not only the first are shown."""
    period = Period.until_today(days)
    by_day, before = counts.by_day(period)
    failed_by = counts.by_cause(period)
    causes = Top([_describe_cause(period, cause) for cause in _first(failed_by, in_full == CAUSES)], len(failed_by))
    return Figures(
        period=period,
        all=_compare(period, "", counts.add_up(day.outcomes for day in by_day), before),
        days=by_day,
        day_rows=[_link_day(day) for day in by_day],
        attempts=counts.attempts_by_day(period),
        fields=_list_fields(period, in_full=in_full == FIELDS),
        causes=causes,
        responsible=_group(causes.shown, failed_by),
        problems=_list_problems(period, in_full=in_full == PROBLEMS),
        durations=times.measure(period),
    )


def _first(rows: Sequence[Row], in_full: bool) -> Sequence[Row]:
    return rows[: MAX_SHOWN if in_full else SHOWN]


def _compare(period: Period, name: str, now: Outcomes, before: Outcomes, **filters: str) -> Results:
    counted = {key: Counted.over(period, getattr(now, key), getattr(before, key), **of, **filters) for key, of in LISTS.items()}
    return Results(name, now, before, counted)


def _link_day(day: Day) -> DayRow:
    only = Period(day.date, day.date)
    return DayRow(day.date, [(getattr(day.outcomes, key), only.link(**of)) for key, of in LISTS.items()])


def _list_fields(period: Period, *, in_full: bool) -> Top[Results]:
    """The journal fields, those with the most submissions first."""
    found = sorted(counts.by_subject(period).items(), key=lambda item: (-item[1][0].all, -item[1][1].all, item[0]))
    shown = [_compare(period, name, *of, subject=name or NO_SUBJECT) for name, of in _first(found, in_full)]
    return Top(shown, len(found))


def _describe_cause(period: Period, cause: FailedBy) -> Cause:
    fitting = fitting_actions(cause.fault, is_made=cause.code in NOT_DELIVERED)
    still = {"state": State.FAILED.value, "cause": cause.code}
    return Cause(
        code=cause.code,
        sentence=find_sentence(cause.code),
        counted=Counted.over(period, cause.times.now, cause.times.before, cause=cause.code),
        still=cause.still,
        still_link=period.link(**still),
        on_the_desk=cause.on_the_desk,
        desk_link=period.link(view=NEEDS_ME, **still),
        remedy=next((action.label.split()[0] for action in fitting), ""),
    )


def _group(causes: Sequence[Cause], failed_by: Sequence[FailedBy]) -> list[Responsible]:
    """The causes by who is responsible, those with the most frequent cause first."""
    groups: dict[str, Responsible] = {}
    for cause, found in zip(causes, failed_by, strict=False):
        words = FAULTS.get(found.fault, found.fault)
        groups.setdefault(words, Responsible(words)).causes.append(cause)
    return list(groups.values())


def _list_problems(period: Period, *, in_full: bool) -> Top[Code]:
    found = list(counts.by_problem(period).items())
    shown = [
        Code(code, find_sentence(code), Counted.over(period, of.now, of.before, problems="yes", finding=code))
        for code, of in _first(found, in_full)
    ]
    return Top(shown, len(found))
