"""The time by the database's clock.

Leases, due times and signs of life are compared by several machines, and the clock of one of them may be wrong. With SQLite there is only
one machine.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

logger = logging.getLogger(__name__)

# How long this process counts on from what the database said, by its own monotonic clock.
MEASURE_SECONDS = 10.0
# A larger difference between the two clocks is reported, once per process.
MAX_DIFFERENCE = timedelta(seconds=30)


@dataclass(frozen=True)
class _Measured:
    """The database's time at a moment of this process's monotonic clock."""

    database: datetime
    at: float

    @property
    def age(self) -> float:
        return time.monotonic() - self.at


_measured: _Measured | None = None
_reported = False


def now() -> datetime:
    """The database's time. Asks the database at most every ten seconds."""
    global _measured
    if connection.vendor == "sqlite":
        return timezone.now()
    if _measured is None or _measured.age > MEASURE_SECONDS:
        _measured = _measure()
    return _measured.database + timedelta(seconds=_measured.age)


def _measure() -> _Measured:
    before = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        [database] = cursor.fetchone()
    measured = _Measured(database, (before + time.monotonic()) / 2)
    _report(database - timezone.now())
    return measured


def _report(difference: timedelta) -> None:
    global _reported
    if abs(difference) > MAX_DIFFERENCE and not _reported:
        _reported = True
        logger.warning(
            "this machine's clock is %+.0f s away from the database's: set it right. Leases and due times go by the database's clock",
            -difference.total_seconds(),
        )
