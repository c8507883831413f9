"""Outlasting a database that can't be asked for a while: locked, full, or being restarted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, InternalError, OperationalError, connection

from builds.errors import DiskFull

T = TypeVar("T")

# So long a database that answers no writes is waited for.
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.5
# PostgreSQL's disk_full (its manual, appendix A).
DISK_FULL_SQLSTATE = "53100"
# The last is what PostgreSQL answers while it can only be read (25006, read_only_sql_transaction).
DATABASE_AWAY = (OperationalError, InterfaceError, InternalError)


def is_full(error: Exception) -> bool:
    """Whether the database says that it has no room to write."""
    cause = error.__cause__
    return getattr(cause, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(cause, "sqlstate", "") == DISK_FULL_SQLSTATE


def patiently(act: Callable[[], T], *, even_full: bool = False) -> T:
    """Call ``act``, one transaction or read, until the database lets it, and return what it returns.

    Raises:
        DiskFull: the database has no room, and will not get any from waiting as long as the build goes on. With ``even_full``, for
            who has made room, it is waited for all the same.
        OperationalError, InterfaceError, InternalError: the database did not let it for a minute.
    """
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return act()
        except DATABASE_AWAY as error:
            if is_full(error) and not even_full:
                raise DiskFull from error
            # A connection that was cut stays useless until it is closed.
            connection.close_if_unusable_or_obsolete()
            if time.monotonic() > give_up_at:
                raise
            time.sleep(PAUSE_SECONDS)
