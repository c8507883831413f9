"""Due times under a wall clock that steps back.

When a build may start and when a status update is tried again are stored as wall-clock times. After the clock has stepped back by an
hour, each of them is an hour further away. A step forward only makes them come early.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db.models import QuerySet

from builds import lifecycle
from builds.models import Build, OutboxHold, State, StatusUpdate, clock
from builds.service import outbox

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Due:
    """A due time in a row. ``longest``: no longer wait is ever set there. ``release`` ends the wait, if the time is still the same."""

    row: object
    at: datetime
    longest: timedelta
    release: Callable[[], object]


class DueWatch:
    """Ends waits by this process's monotonic clock.

    It remembers how far away each due time was when it first saw it. A wait that lasts longer than that by its own clock is over. If a
    time was set before this process began, it assumes no more than the longest wait that is ever set.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends: dict[object, tuple[datetime, float]] = {}

    def release_overdue(self) -> None:
        """End every wait that is over by the monotonic clock, but not by the wall clock."""
        now, wall, before = self._clock(), clock.now(), self._ends
        self._ends = {}
        for due in _due_times(wall):
            at, end = before.get(due.row, (None, 0.0))
            if at != due.at:
                end = now + min(due.at - wall, due.longest).total_seconds()
            self._ends[due.row] = (due.at, end)
            if now >= end and due.at > wall:
                due.release()
                logger.warning("ended a wait that lasted too long: the clock has stepped back", extra={"row": due.row})


def _due_times(wall: datetime) -> Iterator[Due]:
    """All due times, also those that have come: a step back may move them into the future."""
    for build in Build.objects.filter(state=State.QUEUED, not_before__isnull=False).only("pk", "not_before", "created_at"):
        if build.not_before:
            longest = max(build.not_before - build.created_at, timedelta())
            yield Due(f"build {build.pk}", build.not_before, longest, partial(lifecycle.start_waiting, build))
    updates = StatusUpdate.objects.heads()
    yield from _of_rows(updates, "next_try_at", wall, outbox.PAUSES.longest)
    yield from _of_rows(updates.filter(sending_until__isnull=False), "sending_until", wall, outbox.RESERVATION)
    yield from _of_rows(OutboxHold.objects.all(), "next_try_at", wall, outbox.PAUSES.longest)


def _of_rows(rows: QuerySet[Any], field: str, wall: datetime, longest: timedelta) -> Iterator[Due]:
    model = rows.model
    for pk, at in rows.values_list("pk", field):
        same = model.objects.filter(**{"pk": pk, field: at})
        yield Due(f"{field} of {model._meta.verbose_name} {pk}", at, longest, partial(same.update, **{field: wall}))
