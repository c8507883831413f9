"""Logs what programs print themselves, such as the queue store's own log or a crash of the interpreter: one log line for each line."""

from __future__ import annotations

import logging
import os
import selectors
from dataclasses import dataclass, field
from typing import IO

from builds.engine.process.lines import LineSplitter

logger = logging.getLogger(__name__)

READ_BYTES = 65536
EVENT = "program_output"


@dataclass(frozen=True)
class _Source:
    program: str
    level: int
    pipe: IO[bytes]
    lines: LineSplitter = field(default_factory=LineSplitter)


class ProgramOutput:
    """Reads the pipes of running programs. Must be called often: a program that fills its pipe waits."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def watch(self, program: str, pipe: IO[bytes], level: int) -> None:
        """Log each line of ``pipe`` at ``level`` until its writers have closed it."""
        self._selector.register(pipe, selectors.EVENT_READ, _Source(program, level, pipe))

    def read(self, seconds: float) -> None:
        """Wait up to ``seconds`` for output, and log what has come."""
        for key, _ in self._selector.select(seconds):
            source: _Source = key.data
            data = os.read(key.fd, READ_BYTES)
            self._log(source, source.lines.feed(data) if data else source.lines.flush())
            if not data:
                self._selector.unregister(source.pipe)
                source.pipe.close()

    def close(self) -> None:
        """Close all pipes. For a forked program, to which they do not belong."""
        for key in list(self._selector.get_map().values()):
            key.data.pipe.close()
        self._selector.close()

    @staticmethod
    def _log(source: _Source, lines: list[str]) -> None:
        for line in filter(str.strip, lines):
            logger.log(source.level, "%s", line, extra={"event": EVENT, "program": source.program})
