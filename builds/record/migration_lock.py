"""Lets one process at a time migrate a PostgreSQL database: two that start at once would both create the same tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

# Any number that nothing else in the database uses for an advisory lock.
KEY = 5_623_017_480
LOOK_SECONDS = 0.5


@contextmanager
def migration_lock(connection: BaseDatabaseWrapper, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock, which ends with the connection. ``on_wait`` is called once if another process holds it. No-op on other databases.

    The lock is asked for again and again. CREATE INDEX CONCURRENTLY waits until every older statement has ended, so a statement that waited
    for the lock would wait for the migration, and the migration for it.
    """
    if connection.vendor != "postgresql":
        yield
        return
    if not _ask(connection, "pg_try_advisory_lock"):
        on_wait()
        while not _ask(connection, "pg_try_advisory_lock"):
            time.sleep(LOOK_SECONDS)
    try:
        yield
    finally:
        with suppress(Error):  # a broken connection has released it
            _ask(connection, "pg_advisory_unlock")


def _ask(connection: BaseDatabaseWrapper, function: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s)", [KEY])
        return bool(cursor.fetchone()[0])
