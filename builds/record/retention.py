"""What is removed from the record when it is old. Every part has a setting: its days after the end of an attempt. 0 keeps it for ever.

Rows go in small groups, so that no transaction holds the write lock for long. A submission, its attempts, their stages and findings stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef, Q, QuerySet, Sum

from builds.models import UNFINISHED, Build, Event, FrontMatter, LogBatch, StatusUpdate, StatusUpdateTry, clock

# Rows that are removed in one transaction, and attempts whose rows are looked up at once. A row of a log has up to 64 kB.
ROWS, ATTEMPTS = 200, 200
# In front matter that was reduced. No title of a journal's field looks like it.
REDUCED = "jobsite:reduced"

Rows = QuerySet[Any]


@dataclass(frozen=True)
class Part:
    """A part of the record.

    ``rows`` gives the rows of these attempts, which all ended before the time. ``remove`` removes rows of one group.
    """

    name: str
    setting: str
    rows: Callable[[Sequence[UUID], datetime], Rows]
    remove: Callable[[Rows], object]

    @property
    def ended_before(self) -> datetime | None:
        """Attempts that ended before this time lose the part; None if it is kept for ever."""
        days = getattr(settings, self.setting)
        return clock.now() - timedelta(days=days) if days else None


def _delete(rows: Rows) -> None:
    rows.delete()


def _logs(attempts: Sequence[UUID], _before: datetime) -> Rows:
    return LogBatch.objects.filter(build__in=attempts)


def _tries(attempts: Sequence[UUID], _before: datetime) -> Rows:
    tries = StatusUpdateTry.objects.filter(status_update__build__in=attempts)
    return tries.exclude(status_update__state=StatusUpdate.State.PENDING)


def _events(attempts: Sequence[UUID], before: datetime) -> Rows:
    return Event.objects.filter(build__in=attempts, at__lt=before)


def _front_matter(attempts: Sequence[UUID], before: datetime) -> Rows:
    newer = Build.objects.filter(Q(state__in=UNFINISHED) | Q(finished_at__gte=before), submission=OuterRef("submission"))
    old = FrontMatter.objects.filter(~Exists(newer), submission__in=Build.objects.filter(pk__in=attempts).values("submission"))
    return old.exclude(document__has_key=REDUCED)


def reduce_front_matter(rows: Rows) -> None:
    """Keep of these documents what a retry needs: the declared exports."""
    for pk, exports in list(rows.values_list("pk", "document__exports")):
        FrontMatter.objects.filter(pk=pk).update(document={REDUCED: True, "exports": exports})


PARTS = (
    Part("log batches", "LOGS_KEPT_DAYS", _logs, _delete),
    Part("front matter", "FRONT_MATTER_KEPT_DAYS", _front_matter, reduce_front_matter),
    Part("tries of status updates", "TRIES_KEPT_DAYS", _tries, _delete),
    Part("events", "EVENTS_KEPT_DAYS", _events, _delete),
)


@dataclass
class Sweep:
    """Goes through the attempts in the order of their ends, and removes one part of each.

    It remembers how far it has come, so that a later sweep does not look at the same attempts again.
    """

    part: Part
    _done: tuple[datetime, UUID] | None = field(default=None)

    def step(self) -> bool:
        """Remove one group of rows. Returns whether there may be more."""
        before = self.part.ended_before
        attempts = self._next(before) if before else []
        if not attempts or before is None:
            return False
        rows = self.part.rows([pk for _end, pk in attempts], before)
        group = list(rows.values_list("pk", flat=True)[:ROWS])
        if group:
            self.part.remove(rows.model._default_manager.filter(pk__in=group))
        if len(group) < ROWS:
            self._done = attempts[-1]
        return True

    def count(self) -> int:
        """How many rows would go. It changes nothing, but goes through the attempts."""
        before, total = self.part.ended_before, 0
        while before and (attempts := self._next(before)):
            total += self.part.rows([pk for _end, pk in attempts], before).count()
            self._done = attempts[-1]
        return total

    def _next(self, before: datetime) -> list[tuple[datetime, UUID]]:
        ended = Build.objects.filter(finished_at__lt=before)
        if self._done:
            end, pk = self._done
            ended = ended.filter(Q(finished_at__gt=end) | Q(finished_at=end, pk__gt=pk), finished_at__gte=end)
        rows = ended.order_by("finished_at", "pk").values_list("finished_at", "pk")[:ATTEMPTS]
        return [(end, pk) for end, pk in rows if end]


def expired() -> dict[str, Rows]:
    """Rows that belong to no attempt: sessions that have ended, and records of old sign-ins."""
    rows: dict[str, Rows] = {"sessions": Session.objects.filter(expire_date__lt=clock.now())}
    if settings.SIGN_INS_KEPT_DAYS:
        before = clock.now() - timedelta(days=settings.SIGN_INS_KEPT_DAYS)
        for model in (AccessAttempt, AccessLog, AccessFailureLog):
            rows[str(model._meta.verbose_name_plural)] = model.objects.filter(attempt_time__lt=before)
    return rows


def remove_group(rows: Rows) -> bool:
    """Remove one group of these rows. Returns whether there may be more."""
    group = list(rows.values_list("pk", flat=True)[:ROWS])
    rows.model._default_manager.filter(pk__in=group).delete()
    return len(group) == ROWS


@dataclass
class LogsOverSize:
    """Removes the oldest lines of logs while all logs together have more than LOGS_KEPT_MAX_LINES. Unfinished attempts keep theirs."""

    _over: int | None = None

    def step(self) -> bool:
        """Remove one group of rows. Returns whether there may be more."""
        if self._over is None:
            self._over = log_lines_over()
        group = self._oldest(self._over)
        LogBatch.objects.filter(pk__in=[pk for pk, _lines in group]).delete()
        self._over -= sum(lines for _pk, lines in group)
        if self._over > 0 and group:
            return True
        self._over = None
        return False

    @staticmethod
    def _oldest(lines: int) -> list[tuple[int, int]]:
        group: list[tuple[int, int]] = []
        for row in LogBatch.objects.exclude(build__state__in=UNFINISHED).order_by("pk").values_list("pk", "line_count")[:ROWS]:
            if sum(counted for _pk, counted in group) >= lines:
                break
            group.append(row)
        return group


def log_lines_over() -> int:
    """How many lines all logs together have more than LOGS_KEPT_MAX_LINES."""
    if not settings.LOGS_KEPT_MAX_LINES:
        return 0
    lines = LogBatch.objects.aggregate(lines=Sum("line_count"))["lines"] or 0
    return max(0, lines - int(settings.LOGS_KEPT_MAX_LINES))
