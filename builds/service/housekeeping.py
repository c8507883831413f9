"""Removes what the settings no longer keep, a little in each round of the reconciler, so that nobody waits for it.

Any number of processes may do so at once: a row that is gone is no error.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from builds.record import retention

# After everything was removed, this long passes before the next look.
PAUSE_SECONDS = 3600.0


class Housekeeping:
    """``step`` removes one group of each part. When nothing is left to remove, it does nothing for an hour."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sweeps = [retention.Sweep(part) for part in retention.PARTS]
        self._logs = retention.LogsOverSize()
        self._next_at = clock()
        self._left: list[Callable[[], bool]] = []
        """The parts that may have more to remove."""

    def step(self) -> None:
        if self._clock() < self._next_at:
            return
        self._left = [step for step in self._left or self._steps() if step()]
        if not self._left:
            self._next_at = self._clock() + PAUSE_SECONDS

    def _steps(self) -> list[Callable[[], bool]]:
        expired = [partial(retention.remove_group, rows) for rows in retention.expired().values()]
        return [*(sweep.step for sweep in self._sweeps), self._logs.step, *expired]
