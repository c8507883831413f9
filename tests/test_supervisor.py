"""The supervisor with small real programs, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

SECONDS = 30
# Writes its name and pid when it starts, and what it is told; ends at the ``ends``th signal (0: never).
CHILD = """
import os, signal, sys, time
name, ends, told = sys.argv[1], int(sys.argv[2]), []
def say(text):
    os.write(descriptor, f"{name} {text}\\n".encode())
descriptor = os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def hear(number, frame):
    told.append(number)
    say(signal.Signals(number).name)
    if len(told) == ends:
        say("ended")
        os._exit(0)
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, hear)
say(f"started {os.getpid()}")
while True:
    time.sleep(60)
"""
PARENT = """
import logging, signal, sys
from builds.supervisor import Program, Supervisor
logging.basicConfig(level="INFO")
child, notes = sys.argv[1:]
def program(name, ends_at=1, **options):
    return Program(name, [sys.executable, "-c", child, name, str(ends_at), notes], **options)
Supervisor({programs}).run()
"""


class Supervised:
    def __init__(self, folder: Path, programs: str) -> None:
        self.notes = folder / "notes"
        self.log = folder / "log"
        with self.log.open("wb") as log:
            code = textwrap.dedent(PARENT).replace("{programs}", programs)
            self.process = subprocess.Popen([sys.executable, "-c", code, CHILD, str(self.notes)], stderr=log)

    def lines(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    def said(self, text: str) -> int:
        return sum(line.startswith(text) for line in self.lines())

    def pids(self, name: str = "") -> list[int]:
        return [int(line.split()[2]) for line in self.lines() if line.startswith(name) and line.split()[1] == "started"]

    def wait(self, holds: Callable[[], object]) -> None:
        until = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < until, f"{self.lines()}\n{self.log.read_text()}"
            time.sleep(0.02)

    def told(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Any]:
    made: list[Supervised] = []

    def start(programs: str, count: int) -> Supervised:
        made.append(Supervised(tmp_path, programs))
        made[-1].wait(lambda: len(made[-1].pids()) >= count)
        return made[-1]

    yield start
    for supervised in made:
        supervised.process.kill()
        supervised.process.wait()
        for pid in supervised.pids():
            with suppress(psutil.Error):
                if CHILD in psutil.Process(pid).cmdline():
                    psutil.Process(pid).kill()


def test_what_dies_is_started_again_after_a_pause(supervise: Any) -> None:
    running = supervise('[program("a"), program("b")]', 2)
    psutil.Process(running.pids("a")[0]).kill()
    running.wait(lambda: len(running.pids("a")) == 2)
    psutil.Process(running.pids("a")[1]).kill()
    running.wait(lambda: len(running.pids("a")) == 3)
    log = running.log.read_text()
    assert "a ended (signal 9)" in log
    assert "started again in 1.0 s" in log
    assert "started again in 2.0 s" in log
    assert len(running.pids("b")) == 1
    running.told()


def test_what_is_not_to_be_restarted_is_not(supervise: Any) -> None:
    running = supervise('[program("once", restart=False), program("other")]', 2)
    psutil.Process(running.pids("once")[0]).kill()
    psutil.Process(running.pids("other")[0]).kill()
    running.wait(lambda: len(running.pids("other")) == 2)
    assert len(running.pids("once")) == 1
    running.told()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_programs_end_in_their_order(supervise: Any, number: signal.Signals) -> None:
    running = supervise('[program("last", ends=3), program("middle", ends=2), program("first", ends=1)]', 3)
    assert running.told(number) == 0
    ends = [line for line in running.lines() if line.split()[1] != "started"]
    assert ends == [f"{name} {word}" for name in ("first", "middle", "last") for word in ("SIGTERM", "ended")]


def test_what_goes_on_is_urged_and_what_still_goes_on_is_killed(supervise: Any) -> None:
    running = supervise(
        '[program("slow", 2, grace=0.3, urge=signal.SIGUSR1, urged=20), program("deaf", 0, grace=0.3, urge=signal.SIGUSR1, urged=0.3)]',
        2,
    )
    assert running.told() == 0
    assert [line for line in running.lines() if line.startswith("slow")][1:] == ["slow SIGTERM", "slow SIGUSR1", "slow ended"]
    assert [line for line in running.lines() if line.startswith("deaf")][1:] == ["deaf SIGTERM", "deaf SIGUSR1"]
    assert not psutil.pid_exists(running.pids("deaf")[0])
    assert "deaf did not end when it was told to; killed" in running.log.read_text()


def test_a_long_grace_of_one_does_not_lengthen_anothers(supervise: Any) -> None:
    running = supervise('[program("short", 2, grace=0.3, urge=signal.SIGUSR1, urged=60), program("long", 2, grace=600)]', 2)
    running.process.terminate()
    running.wait(lambda: running.said("short ended"))
    assert running.process.poll() is None, "the other one still has its grace"
    psutil.Process(running.pids("long")[0]).send_signal(signal.SIGUSR1)
    assert running.process.wait(SECONDS) == 0


def test_told_again_the_grace_is_cut_short_but_not_what_follows_it(supervise: Any) -> None:
    running = supervise('[program("worker", 2, grace=1, urge=signal.SIGUSR1, urged=600), program("web", 2, grace=600)]', 2)
    running.process.terminate()
    running.wait(lambda: running.said("worker SIGTERM") and running.said("web SIGTERM"))
    running.process.terminate()
    running.wait(lambda: not psutil.pid_exists(running.pids("web")[0]) or running.process.poll() is not None)
    running.wait(lambda: running.said("worker ended"))
    assert running.process.wait(SECONDS) == 0
    assert "worker did not end" not in running.log.read_text()


def test_programs_end_when_their_supervisor_is_killed(supervise: Any) -> None:
    running = supervise('[program("a"), program("b", ends=2)]', 2)
    running.process.kill()
    running.wait(lambda: running.said("a ended") and running.said("b ended"))


def test_a_program_is_given_its_stdin_and_no_more(supervise: Any, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    code = f"import sys, pathlib; pathlib.Path({str(heard)!r}).write_text(sys.stdin.read())"
    running = supervise(f'[program("a"), Program("b", [sys.executable, "-c", {code!r}], stdin="port 0\\n", restart=False)]', 1)
    running.wait(lambda: heard.exists() and heard.read_text() == "port 0\n")
    running.told()


def test_hup_renews_one_after_the_other_and_not_what_stays(supervise: Any) -> None:
    running = supervise('[program("a"), program("b"), program("store", renew=False), program("once", restart=False)]', 4)
    running.process.send_signal(signal.SIGHUP)
    running.wait(lambda: len(running.pids("a")) == len(running.pids("b")) == 2)
    renewed = [line.rstrip("0123456789 ") for line in running.lines() if line[0] in "ab"][2:]
    assert renewed == [f"{name} {word}" for name in "ab" for word in ("SIGTERM", "ended", "started")]
    assert (len(running.pids("store")), len(running.pids("once"))) == (1, 1)
    assert "started again" not in running.log.read_text()
    assert running.told() == 0


def test_what_does_not_end_to_be_renewed_is_urged(supervise: Any) -> None:
    running = supervise('[program("slow", 2, grace=0.3, urge=signal.SIGUSR1, urged=600), program("next")]', 2)
    running.process.send_signal(signal.SIGHUP)
    running.wait(lambda: len(running.pids("next")) == 2)
    assert [line for line in running.lines() if "SIG" in line] == ["slow SIGTERM", "slow SIGUSR1", "next SIGTERM"]
    assert running.told() == 0
