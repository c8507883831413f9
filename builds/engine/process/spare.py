"""A sandbox for the next program of our own, made while the service does something else.

Making a sandbox takes the kernel longer than our own program needs to read a short manuscript. Nothing of a manuscript may run while a
spare sandbox waits: the processes of both carry the same marker.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Self

from builds.engine.process.command import Command
from builds.engine.process.start import Started, Starting
from builds.errors import ProcessesLeft

logger = logging.getLogger(__name__)


class Spare:
    """At most one sandbox. Only the thread that makes it may take it or close it. At the end of a ``with`` block it is closed."""

    def __init__(self) -> None:
        self._command: Command | None = None
        self._made: Future[Started] = Future()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """An error that has ended the block is not replaced by one of closing."""
        try:
            self.close()
        except Exception:
            if error is None:
                raise
            logger.exception("a sandbox that was made ahead could not be ended")

    def make(self, command: Command) -> None:
        """Begin to make the sandbox that ``command`` will join, whatever its program and arguments are. Raises nothing.

        Nothing is made for a command that does not join one, or if one is there already.
        """
        if self._command or not command.joins:
            return
        try:
            starting = Starting(command)
        except Exception as error:  # not fatal: the command that needs a sandbox makes its own, and reports its own failure
            _log(error)
            return
        self._command, self._made = command, Future()
        try:
            threading.Thread(target=_finish, args=(starting, self._made), name="spare sandbox", daemon=True).start()
        except (RuntimeError, MemoryError):  # no more threads can be started
            _finish(starting, self._made)

    def take(self, command: Command) -> Started | None:
        """The sandbox, for ``command`` to join it. None if there is none any more, or none like the one that ``command`` would make.

        Raises:
            ProcessesLeft: some processes of one that is of no use could not be ended.
        """
        made = self._command
        if made is None:
            return None
        started = _result(self._made)
        fits = command.joins and replace(made, argv=command.argv, fork=command.fork) == command
        if started is None or not fits or started.process.poll() is not None:
            self.close()
            return None
        self._command = None
        return started.joined_by(command.fork)

    def close(self) -> None:
        """End the sandbox if it was not taken.

        Raises:
            ProcessesLeft: some of its processes could not be ended.
        """
        made, self._command = self._command, None
        if made and (started := _result(self._made)):
            started.end(made.marker)


def _finish(starting: Starting, made: Future[Started]) -> None:
    try:
        made.set_result(starting.finish())
    except BaseException as error:
        made.set_exception(error)


def _result(made: Future[Started]) -> Started | None:
    """The sandbox, as soon as it is there. None if it could not be made: nothing of it is left then.

    Raises:
        ProcessesLeft: something of it is left.
    """
    try:
        return made.result()
    except ProcessesLeft:
        raise
    except Exception as error:
        _log(error)
        return None


def _log(error: Exception) -> None:
    logger.info("no sandbox could be made ahead: %s", str(error) or type(error).__name__)
