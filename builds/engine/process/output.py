"""How much output the commands of a build may write."""

from __future__ import annotations

import time

# What a line costs in the log's table beside its text. Without it, a build that writes empty lines could fill the database.
LINE_BYTES = 32
# How long a build may write faster than its rate.
BURST_SECONDS = 10


class OutputAllowance:
    """How many bytes a build's commands may still write: in total, and per second (0 is no limit).

    A command that writes too fast is throttled by not reading its pipe. A command that has written too much has to be ended.
    """

    def __init__(self, max_bytes: int, max_bytes_per_second: int = 0) -> None:
        self.left = max_bytes
        self.was_slowed = False
        self._rate = max_bytes_per_second
        self._burst_left = float(max_bytes_per_second * BURST_SECONDS)
        self._filled_at = time.monotonic()

    def take(self, data: bytes) -> None:
        """Count ``data`` as written."""
        size = len(data) + LINE_BYTES * data.count(b"\n")
        self.left -= size
        self._burst_left -= size

    @property
    def is_used_up(self) -> bool:
        return self.left <= 0

    def must_wait(self) -> bool:
        """Whether nothing should be read at the moment."""
        if not self._rate:
            return False
        now = time.monotonic()
        earned = (now - self._filled_at) * self._rate
        self._burst_left = min(self._burst_left + earned, self._rate * BURST_SECONDS)
        self._filled_at = now
        self.was_slowed = self.was_slowed or self._burst_left <= 0
        return self._burst_left <= 0
