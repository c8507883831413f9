"""Outlasting a database that can't be asked for a while: locked, full, or being restarted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

T = TypeVar("T")

# So long a database that answers no writes is waited for.
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.5
DATABASE_AWAY = (OperationalError, InterfaceError)


def patiently(act: Callable[[], T]) -> T:
    """Call ``act``, one transaction or read, until the database lets it, and return what it returns.

    Raises:
        OperationalError, InterfaceError: the database did not for a minute.
    """
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return act()
        except DATABASE_AWAY:
            # A connection that was cut stays useless until it is closed.
            connection.close_if_unusable_or_obsolete()
            if time.monotonic() > give_up_at:
                raise
            time.sleep(PAUSE_SECONDS)
