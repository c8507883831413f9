"""A period of whole days, and the addresses of the lists of what was submitted in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import urlencode

from django.urls import reverse

from builds.models import clock


@dataclass(frozen=True)
class Period:
    """The days from ``first`` to ``last`` inclusive, in UTC."""

    first: date
    last: date

    @classmethod
    def until_today(cls, days: int) -> Period:
        today = clock.now().astimezone(UTC).date()
        return cls(today - timedelta(days=days - 1), today)

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def before(self) -> Period:
        """The period of the same length just before this one."""
        length = timedelta(days=self.days)
        return Period(self.first - length, self.last - length)

    @property
    def start(self) -> datetime:
        return datetime.combine(self.first, time(), UTC)

    @property
    def end(self) -> datetime:
        """The moment after the last day."""
        return datetime.combine(self.last, time(), UTC) + timedelta(days=1)

    def dates(self) -> list[date]:
        return [self.first + timedelta(days=number) for number in range(self.days)]

    def link(self, **filters: str) -> str:
        """The list of the submissions that were submitted in this period and match ``filters``."""
        days = {"start": f"{self.first:%Y-%m-%d}", "end": f"{self.last:%Y-%m-%d}"}
        return f"{reverse('desk:submissions')}?{urlencode({**filters, **days})}"


@dataclass(frozen=True)
class Counted:
    """A number of submissions and the list that shows exactly these, and the same for the period before."""

    now: int
    before: int
    link: str
    link_before: str

    @classmethod
    def over(cls, period: Period, now: int, before: int, **filters: str) -> Counted:
        return cls(now, before, period.link(**filters), period.before.link(**filters))

    @property
    def change(self) -> str:
        """The difference to the period before in words: ``3 more``, ``2 fewer`` or ``unchanged``."""
        if self.now == self.before:
            return "unchanged"
        return f"{self.now - self.before:,} more" if self.now > self.before else f"{self.before - self.now:,} fewer"
