"""Waiting for something that another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable

# Only a hang takes this long: a busy machine must not fail a test.
SECONDS = 300


def wait_until(holds: Callable[[], object], what: Callable[[], object] = lambda: "") -> None:
    """Wait until ``holds`` returns something true. A test that waits for too long fails with what ``what`` returns."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)
