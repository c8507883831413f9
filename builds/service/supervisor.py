"""Keeps the service's programs running: starts them, restarts those that die, renews them one by one, and stops them all at the end.

Every program runs in its own process session, so that Ctrl-C in a terminal reaches only this process. Every program ends when this
process ends, even if this process is killed.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType

from builds.lib.process_end import process_end
from builds.service import fork
from builds.service.program_output import ProgramOutput

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
TEND_SECONDS = 2.0
MAX_PAUSE_SECONDS = 30.0
# After running this long a program counts as healthy: its next death is its first.
HEALTHY_SECONDS = 60.0


@dataclass
class Program:
    """A program to keep running.

    Programs with the lowest ``stop_order`` are stopped first. Each gets SIGTERM and ``grace`` seconds; then, if it has one, its
    ``second_signal`` and ``second_grace`` seconds; then SIGKILL. ``stdin`` is its whole standard input. ``files`` are open file
    descriptors that it inherits. ``renew`` is whether SIGHUP replaces it with a new process. ``argv`` may be a function, which is
    asked at each start: after an upgrade, the program may be in another folder. ``logs_lines``: its standard output already consists of
    log lines, or is for people; otherwise each line of it is logged. Its standard error always is. ``may_fork``: it is a command of
    ``manage.py``, and is forked from this process where that is the same (:mod:`builds.service.fork`).
    """

    name: str
    argv: Sequence[str] | Callable[[], Sequence[str]]
    env: Mapping[str, str] = field(default_factory=dict)
    restart: bool = True
    stop_order: int = 1
    grace: float = 10.0
    second_signal: signal.Signals | None = None
    second_grace: float = 0.0
    stdin: str = ""
    files: tuple[int, ...] = ()
    renew: bool = True
    logs_lines: bool = True
    may_fork: bool = False

    started_argv: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | fork.Forked | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    deaths: int = 0
    stopping_since: float = 0.0
    second_sent: bool = False

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.is_running:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)


class Supervisor:
    """Runs programs until SIGTERM or SIGINT; a second such signal cuts the grace short.

    SIGHUP renews the programs, so that the newly installed release runs. They are stopped and started again one after the other, so
    that never two are down at once.

    ``tend`` is called with the running programs every few seconds, and once more when all have ended.
    """

    def __init__(self, programs: Sequence[Program], *, tend: Callable[[Sequence[Program]], None] = lambda running: None) -> None:
        self._programs = list(programs)
        self._tend, self._tended_at = tend, 0.0
        self._stop_signals = 0
        self._to_renew: list[Program] = []
        self._output = ProgramOutput()

    def run(self) -> fork.NextCommand | None:
        """Run the programs until asked to stop. In a forked program, return at once with what it has to run."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_renew)
        try:
            self._supervise()
        except fork.InChild as child:
            self._output.close()
            return child.command
        except BaseException:
            self._end()
            raise
        self._end()
        return None

    def _supervise(self) -> None:
        while not self._stop_signals:
            self._renew_next()
            for program in self._programs:
                self._keep_running(program)
            if time.monotonic() - self._tended_at > TEND_SECONDS:
                self._tended_at = time.monotonic()
                self._tend([program for program in self._programs if program.is_running])
            self._output.read(POLL_SECONDS)

    def _end(self) -> None:
        self._stop_all()
        self._tend([])
        self._output.read(0)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop_signals += 1

    def _on_renew(self, number: int, frame: FrameType | None) -> None:
        waiting = [
            program for program in self._programs if program.renew and program.restart and program not in self._to_renew[1:]
        ]
        self._to_renew += waiting

    def _renew_next(self) -> None:
        """Stop the next program. Once it has ended, start it again and continue with the one after it."""
        if not self._to_renew:
            return
        program = self._to_renew[0]
        if not program.stopping_since:
            program.stopping_since, program.second_sent = time.monotonic(), False
            program.signal(signal.SIGTERM)
        elif program.is_running:
            self._escalate(program, time.monotonic() - program.stopping_since)
        else:
            _log_stop(program)
            self._start(program)
            self._to_renew.pop(0)

    def _keep_running(self, program: Program) -> None:
        if program.stopping_since:
            return  # it is being stopped on purpose
        if program.process is None:
            if time.monotonic() >= program.start_at:
                self._start(program)
        elif (code := program.process.poll()) is not None:
            self._schedule_restart(program, code)

    def _start(self, program: Program) -> None:
        program.started_at, program.stopping_since, program.second_sent = time.monotonic(), 0.0, False
        program.started_argv = list(program.argv() if callable(program.argv) else program.argv)
        program.process = _fork(program) or _execute(program)
        for pipe, level in ((program.process.stdout, logging.INFO), (program.process.stderr, logging.WARNING)):
            if pipe:
                self._output.watch(program.name, pipe, level)
        _log(logging.INFO, "program_started", program, pid=program.process.pid)
        if program.stdin and program.process.stdin:
            with suppress(BrokenPipeError):
                program.process.stdin.write(program.stdin.encode())
                program.process.stdin.close()

    @staticmethod
    def _schedule_restart(program: Program, code: int) -> None:
        program.process = None
        if not program.restart:
            program.start_at = float("inf")
            return
        lived = time.monotonic() - program.started_at
        program.deaths = 0 if lived > HEALTHY_SECONDS else program.deaths + 1
        pause = min(0.5 * 2 ** min(program.deaths, 10), MAX_PAUSE_SECONDS)
        program.start_at = time.monotonic() + pause
        _log(logging.ERROR, "program_died", program, **process_end(code), duration=round(lived, 1), restartIn=pause)

    def _stop_all(self) -> None:
        for order in sorted({program.stop_order for program in self._programs}):
            self._stop([program for program in self._programs if program.stop_order == order and program.is_running])

    def _stop(self, programs: list[Program]) -> None:
        """Stop these programs together. Each is killed after its own grace, or at once after a second stop signal."""
        for program in programs:
            program.second_sent = False
            program.signal(signal.SIGTERM)
        signals, started_at = max(self._stop_signals, 1), time.monotonic()
        cut_at = float("inf")
        while any(program.is_running for program in programs):
            now = time.monotonic()
            if self._stop_signals > signals:
                cut_at = min(cut_at, now)
            for program in programs:
                self._escalate(program, max(now - started_at, program.grace + now - cut_at))
            self._output.read(POLL_SECONDS)
        for program in programs:
            _log_stop(program)

    @staticmethod
    def _escalate(program: Program, waited: float) -> None:
        if not program.is_running or waited < program.grace:
            return
        if program.second_signal and not program.second_sent:
            program.second_sent = True
            program.signal(program.second_signal)
        elif waited >= program.grace + program.second_grace:
            _log(logging.ERROR, "program_killed", program, duration=round(waited, 1))
            program.signal(signal.SIGKILL)


def _fork(program: Program) -> fork.Forked | None:
    if program.may_fork and fork.is_possible(program.started_argv):
        return fork.fork(program.started_argv, program.files)
    return None


def _execute(program: Program) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    return subprocess.Popen(
        program.started_argv,
        env={**os.environ, **program.env},
        stdin=subprocess.PIPE if program.stdin else subprocess.DEVNULL,
        stdout=None if program.logs_lines else subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        pass_fds=program.files,
        preexec_fn=lambda: fork.die_with_parent(parent),
    )


def _log_stop(program: Program) -> None:
    """Log that a program has ended on request."""
    if program.process and program.process.returncode is not None:
        _log(logging.INFO, "program_stopped", program, **process_end(program.process.returncode))


def _log(level: int, event: str, program: Program, **fields: object) -> None:
    logger.log(level, event, extra={"event": event, "program": program.name, **fields})
