"""Wakes a process that waits, from any process of the same machine and user, through a named pipe.

Ringing is only a hint that saves waiting: it may be lost, and it may come without a reason. The listener looks for its work itself, at
each ring and now and then without one.
"""

from __future__ import annotations

import os
import select
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

READ_BYTES = 4096


def ring(path: Path) -> None:
    """Wake whoever listens at ``path``. Neither waits nor fails: nobody may listen, or a listener may not have looked for a long time."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.write(descriptor, b"\0")
        finally:
            os.close(descriptor)


class Doorbell:
    """Listens at ``path`` during the block. Of several listeners, at least one wakes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Without the pipe, such as on a file system that has none, :meth:`wait` waits for its whole time."""
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._path.exists() and not self._path.is_fifo():
                self._path.unlink()
            with suppress(FileExistsError):  # another listener's
                os.mkfifo(self._path, 0o600)
            # For reading and writing: a pipe that nobody has open for writing always counts as ready.
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def wait(self, seconds: float) -> None:
        """Return at the next ring, or after ``seconds``. Rings since the last wait count."""
        waiting = [self._descriptor] if self._descriptor is not None else []
        if select.select(waiting, [], [], seconds)[0]:
            with suppress(BlockingIOError):  # another listener was first
                os.read(waiting[0], READ_BYTES)
