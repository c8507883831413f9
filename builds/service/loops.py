"""The loops of the service's processes: until when they run, and what happens after an error."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db import Error, connection
from redis import RedisError

from builds.errors import BuildError
from builds.service.start import prepare

logger = logging.getLogger(__name__)

# What a step meets while the database, the queue store or a disk is away. Anything else is a bug, and its traceback is logged.
AWAY = (RedisError, Error, OSError, BuildError)
# The least wait after an error, so that a short period does not fill the log.
ERROR_SECONDS = 2.0


@dataclass(frozen=True)
class Pauses:
    """The waits between tries: ``first``, then twice as long after each try, up to ``longest``."""

    first: timedelta
    longest: timedelta

    def after(self, tries: int) -> timedelta:
        """How long to wait after this many tries."""
        return min(self.first * (1 << min(tries - 1, 10)), self.longest)


def run_until_signal(loop: Callable[[threading.Event], None]) -> None:
    """Call ``loop`` with an event that SIGTERM and SIGINT set."""
    prepare()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: stop.set())
    loop(stop)


def repeat(
    step: Callable[[], None], stop: threading.Event, every_seconds: float, *, wait: Callable[[float], object] | None = None
) -> None:
    """Call ``step`` again and again until ``stop`` is set. No error ends the loop.

    ``wait`` waits between two rounds, for at most as many seconds as it is given. By default nothing but ``stop`` ends a wait.
    """
    while not stop.is_set():
        if attempt(step):
            (wait or stop.wait)(every_seconds)
        else:
            stop.wait(max(every_seconds, ERROR_SECONDS))


def attempt(step: Callable[[], None]) -> bool:
    """Call ``step`` and return whether it succeeded. An error is logged and goes no further: the next round tries again."""
    try:
        step()
    except AWAY as error:
        logger.warning("%s: %s", step.__name__, error)
    except Exception:
        logger.exception("%s failed", step.__name__)
    else:
        return True
    connection.close()
    return False
