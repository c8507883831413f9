"""Keeps the service's programs running: starts them, starts again what dies, renews them one by one, and ends all when it is told to.

Every program runs in a session of its own, so that Ctrl-C in a terminal reaches this one only, and ends when this process ends,
however it ends.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.1
TEND_SECONDS = 2.0
LONGEST_PAUSE = 30.0
# A program that has run so long was well: its next death is its first.
WELL_SECONDS = 60.0


@dataclass
class Program:
    """A program to keep running. Those with the lowest ``ends`` are ended first, with ``grace`` seconds to do so.

    ``urge`` is what it is told after that, with ``urged`` more seconds; then it is killed. ``stdin`` is all that it can read there;
    ``files`` are open descriptors that it gets. ``renew`` is whether SIGHUP replaces it by a new process.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    restart: bool = True
    ends: int = 1
    grace: float = 10.0
    urge: signal.Signals | None = None
    urged: float = 0.0
    stdin: str = ""
    files: tuple[int, ...] = ()
    renew: bool = True

    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    deaths: int = 0
    told_at: float = 0.0
    is_urged: bool = False

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.is_running:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)


class Supervisor:
    """Runs programs until SIGTERM or SIGINT; a second one cuts the grace short. SIGHUP renews them: each in its turn is told to end
    and started anew, so that what is installed now runs, and never two are away at once.

    ``tend`` is called every few seconds, and once when all has ended, with the programs that run.
    """

    def __init__(self, programs: Sequence[Program], *, tend: Callable[[Sequence[Program]], None] = lambda running: None) -> None:
        self._programs = list(programs)
        self._tend, self._tended_at = tend, 0.0
        self._told = 0
        self._to_renew: list[Program] = []

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_renew)
        try:
            while not self._told:
                self._renew_next()
                for program in self._programs:
                    self._keep(program)
                if time.monotonic() - self._tended_at > TEND_SECONDS:
                    self._tended_at = time.monotonic()
                    self._tend([program for program in self._programs if program.is_running])
                time.sleep(POLL_SECONDS)
        finally:
            self._end_all()
            self._tend([])

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._told += 1

    def _on_renew(self, number: int, frame: FrameType | None) -> None:
        waiting = [
            program for program in self._programs if program.renew and program.restart and program not in self._to_renew[1:]
        ]
        self._to_renew += waiting

    def _renew_next(self) -> None:
        """Tell the next one to end; once it has, start it anew and go on to the one after it."""
        if not self._to_renew:
            return
        program = self._to_renew[0]
        if not program.told_at:
            program.told_at, program.is_urged = time.monotonic(), False
            program.signal(signal.SIGTERM)
        elif program.is_running:
            self._press(program, time.monotonic() - program.told_at)
        else:
            logger.warning("%s is renewed", program.name)
            self._start(program)
            self._to_renew.pop(0)

    def _keep(self, program: Program) -> None:
        if program.told_at:
            return  # its end is meant
        if program.process is None:
            if time.monotonic() >= program.start_at:
                self._start(program)
        elif program.process.poll() is not None:
            self._died(program, program.process.returncode)

    @staticmethod
    def _start(program: Program) -> None:
        program.started_at, program.told_at, program.is_urged = time.monotonic(), 0.0, False
        program.process = subprocess.Popen(
            list(program.argv),
            env={**os.environ, **program.env},
            stdin=subprocess.PIPE if program.stdin else subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=program.files,
            preexec_fn=_end_with_parent(os.getpid()),
        )
        if program.stdin and program.process.stdin:
            with suppress(BrokenPipeError):
                program.process.stdin.write(program.stdin.encode())
                program.process.stdin.close()

    @staticmethod
    def _died(program: Program, code: int) -> None:
        program.process = None
        if not program.restart:
            program.start_at = float("inf")
            return
        lived = time.monotonic() - program.started_at
        program.deaths = 0 if lived > WELL_SECONDS else program.deaths + 1
        pause = min(0.5 * 2 ** min(program.deaths, 10), LONGEST_PAUSE)
        program.start_at = time.monotonic() + pause
        logger.error("%s ended (%s) after %.1f s; started again in %.1f s", program.name, _how(code), lived, pause)

    def _end_all(self) -> None:
        for turn in sorted({program.ends for program in self._programs}):
            self._end([program for program in self._programs if program.ends == turn and program.is_running])

    def _end(self, programs: list[Program]) -> None:
        """End the programs of one turn together; each is urged and killed at its own time, or, told again, without grace."""
        for program in programs:
            program.is_urged = False
            program.signal(signal.SIGTERM)
        told, started_at = max(self._told, 1), time.monotonic()
        cut_at = float("inf")
        while any(program.is_running for program in programs):
            now = time.monotonic()
            if self._told > told:
                cut_at = min(cut_at, now)
            for program in programs:
                self._press(program, max(now - started_at, program.grace + now - cut_at))
            time.sleep(POLL_SECONDS)

    @staticmethod
    def _press(program: Program, waited: float) -> None:
        if not program.is_running or waited < program.grace:
            return
        if program.urge and not program.is_urged:
            program.is_urged = True
            program.signal(program.urge)
        elif waited >= program.grace + program.urged:
            logger.error("%s did not end when it was told to; killed", program.name)
            program.signal(signal.SIGKILL)


def _end_with_parent(parent: int) -> Callable[[], None]:
    """What a child does before its program begins: it asks to be told to end when its parent has ended."""

    def ask() -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return ask


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
