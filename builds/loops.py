"""Runs one of the service's loops until the process is told to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable


def run_until_told_to_end(loop: Callable[[threading.Event], None]) -> None:
    """Call ``loop`` with an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: stop.set())
    loop(stop)
