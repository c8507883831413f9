"""Retrying database calls while the database is unavailable: locked, full, read-only or restarting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, InternalError, OperationalError, connection

from builds.errors import DiskFull

T = TypeVar("T")

# How long to wait for a database that rejects writes.
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.5
# PostgreSQL's disk_full (its manual, appendix A).
DISK_FULL_SQLSTATE = "53100"
LOCK_NOT_AVAILABLE_SQLSTATE = "55P03"
# PostgreSQL raises InternalError while it is read-only (25006, read_only_sql_transaction).
DATABASE_AWAY = (OperationalError, InterfaceError, InternalError)


def is_full(error: Exception) -> bool:
    """Whether the database has no disk space left."""
    cause = error.__cause__
    return getattr(cause, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(cause, "sqlstate", "") == DISK_FULL_SQLSTATE


def is_locked(error: Exception) -> bool:
    """Whether another connection holds a lock of the database for longer than this one waits."""
    cause = error.__cause__
    name, state = getattr(cause, "sqlite_errorname", ""), getattr(cause, "sqlstate", "")
    return name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or state == LOCK_NOT_AVAILABLE_SQLSTATE


def retry_while_away(call: Callable[[], T], *, even_full: bool = False) -> T:
    """Call ``call``, which is one transaction or one read, until the database is available. Returns its result.

    With ``even_full``, a full disk is waited for too. That makes sense only once the build has removed its files.

    Raises:
        DiskFull: the disk is full, and ``even_full`` is not set.
        OperationalError, InterfaceError, InternalError: the database was unavailable for a minute.
    """
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except DATABASE_AWAY as error:
            if is_full(error) and not even_full:
                raise DiskFull from error
            # A broken connection stays unusable until it is closed.
            connection.close_if_unusable_or_obsolete()
            if time.monotonic() > give_up_at:
                raise
            time.sleep(PAUSE_SECONDS)
