"""How long a process waits for a lock of the database. A web process gives up early: its clients wait, and it has few threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, connections

# A client gets its answer within 2 s, and only the first statement that waits gives up.
WEB_SECONDS = 1.5
_one_writer = threading.Lock()


@contextmanager
def one_writer() -> Iterator[None]:
    """Let the threads of this process write to SQLite one after the other. Enclose a whole transaction.

    They would anyway, but a thread that waits for SQLite's lock sleeps for up to 0.1 s between its tries, and can be overtaken each time.
    A thread that has waited for long here goes on and waits there.
    """
    has_lock = connection.vendor == "sqlite" and not connection.in_atomic_block and _one_writer.acquire(timeout=WEB_SECONDS)
    try:
        yield
    finally:
        if has_lock:
            _one_writer.release()


def limit_waiting(seconds: float = WEB_SECONDS) -> None:
    """Let this process wait at most ``seconds`` for a lock or a connection. Call this before it opens a connection."""
    settings = connections["default"].settings_dict
    options = {**settings["OPTIONS"]}
    if settings["ENGINE"] == "django.db.backends.sqlite3":
        options["timeout"] = seconds
    elif settings["ENGINE"] == "django.db.backends.postgresql":
        more = f"-c lock_timeout={seconds * 1000:.0f}"
        options["options"] = f"{options.get('options', '')} {more}".strip()
        options.setdefault("connect_timeout", 2)  # the least that libpq knows
    connections.settings["default"]["OPTIONS"] = options
    settings["OPTIONS"] = options  # the thread that calls this may have a connection already
    connections["default"].close()
