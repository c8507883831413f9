"""The supervisor in its own process, with small real programs."""

from __future__ import annotations

import json
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

pytestmark = pytest.mark.slow

SECONDS = 30
# Writes its name and pid when it starts, and each signal that it gets. Ends at signal number ``ends`` (0: never).
CHILD = """
import os, signal, sys, time
name, ends, signals = sys.argv[1], int(sys.argv[2]), []
def say(text):
    os.write(descriptor, f"{name} {text}\\n".encode())
descriptor = os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def hear(number, frame):
    signals.append(number)
    say(signal.Signals(number).name)
    if len(signals) == ends:
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
from pythonjsonlogger.json import JsonFormatter
from builds.service.supervisor import Program, Supervisor
handler = logging.StreamHandler()
handler.setFormatter(JsonFormatter(["message", "levelname"]))
logging.basicConfig(level="INFO", handlers=[handler])
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

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of one event, in order."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line.get("event") == name]

    def wait(self, holds: Callable[[], object]) -> None:
        until = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < until, f"{self.lines()}\n{self.log.read_text()}"
            time.sleep(0.02)

    def send(self, number: signal.Signals = signal.SIGTERM) -> int:
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


def test_a_program_that_dies_is_restarted_after_a_pause(supervise: Any) -> None:
    running = supervise('[program("a"), program("b")]', 2)
    psutil.Process(running.pids("a")[0]).kill()
    running.wait(lambda: len(running.pids("a")) == 2)
    psutil.Process(running.pids("a")[1]).kill()
    running.wait(lambda: len(running.pids("a")) == 3)
    died = running.events("program_died")
    assert [(event["program"], event["signal"], event["restartIn"]) for event in died] == [
        ("a", "SIGKILL", 1),
        ("a", "SIGKILL", 2),
    ]
    assert [event["program"] for event in running.events("program_started")] == ["a", "b", "a", "a"]
    assert len(running.pids("b")) == 1
    running.send()


def test_each_line_that_a_program_writes_itself_is_logged(supervise: Any) -> None:
    """Also what it leaves without an end of line, and what it writes while all programs stop."""
    code = (
        "import os, signal, time; signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'last'), os._exit(0)));"
        r"os.write(1, b'one\ntwo\x1b[2K\n'); os.write(2, b'wrong\n'); time.sleep(60)"
    )
    own = f'Program("store", [sys.executable, "-c", {code!r}], logs_lines=False)'
    running = supervise(f'[{own}, program("a")]', 1)
    running.wait(lambda: len(running.events("program_output")) == 3)
    running.send()
    said = [(event["program"], event["levelname"], event["message"]) for event in running.events("program_output")]
    assert sorted(said[:3]) == [("store", "INFO", "one"), ("store", "INFO", "two"), ("store", "WARNING", "wrong")]
    assert said[3:] == [("store", "INFO", "last")]


def test_a_program_without_restart_is_not_restarted(supervise: Any) -> None:
    running = supervise('[program("once", restart=False), program("other")]', 2)
    psutil.Process(running.pids("once")[0]).kill()
    psutil.Process(running.pids("other")[0]).kill()
    running.wait(lambda: len(running.pids("other")) == 2)
    assert len(running.pids("once")) == 1
    running.send()


def test_a_program_whose_command_is_a_function_is_asked_at_each_start(supervise: Any, tmp_path: Path) -> None:
    command = 'lambda: [sys.executable, "-c", child, "run" + str(len(open(notes).readlines())), "1", notes]'
    (tmp_path / "notes").touch()
    running = supervise(f'[Program("moves", {command})]', 1)
    psutil.Process(running.pids("run0")[0]).kill()
    running.wait(lambda: running.pids("run1"))
    running.send()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_programs_stop_in_their_order(supervise: Any, number: signal.Signals) -> None:
    running = supervise('[program("last", stop_order=3), program("middle", stop_order=2), program("first", stop_order=1)]', 3)
    assert running.send(number) == 0
    ends = [line for line in running.lines() if line.split()[1] != "started"]
    assert ends == [f"{name} {word}" for name in ("first", "middle", "last") for word in ("SIGTERM", "ended")]


def test_a_program_gets_its_second_signal_and_is_then_killed(supervise: Any) -> None:
    running = supervise(
        '[program("slow", 2, grace=0.3, second_signal=signal.SIGUSR1, second_grace=20),'
        ' program("deaf", 0, grace=0.3, second_signal=signal.SIGUSR1, second_grace=0.3)]',
        2,
    )
    assert running.send() == 0
    assert [line for line in running.lines() if line.startswith("slow")][1:] == ["slow SIGTERM", "slow SIGUSR1", "slow ended"]
    assert [line for line in running.lines() if line.startswith("deaf")][1:] == ["deaf SIGTERM", "deaf SIGUSR1"]
    assert not psutil.pid_exists(running.pids("deaf")[0])
    assert {event["program"] for event in running.events("program_killed")} == {"deaf"}
    stopped = {event["program"]: event.get("signal", event.get("exitCode")) for event in running.events("program_stopped")}
    assert stopped == {"slow": 0, "deaf": "SIGKILL"}


def test_a_long_grace_does_not_lengthen_another_programs(supervise: Any) -> None:
    running = supervise(
        '[program("short", 2, grace=0.3, second_signal=signal.SIGUSR1, second_grace=60), program("long", 2, grace=600)]', 2
    )
    running.process.terminate()
    running.wait(lambda: running.said("short ended"))
    assert running.process.poll() is None, "the other one still has its grace"
    psutil.Process(running.pids("long")[0]).send_signal(signal.SIGUSR1)
    assert running.process.wait(SECONDS) == 0


def test_a_second_stop_signal_cuts_only_the_first_grace_short(supervise: Any) -> None:
    running = supervise(
        '[program("worker", 2, grace=1, second_signal=signal.SIGUSR1, second_grace=600), program("web", 2, grace=600)]', 2
    )
    running.process.terminate()
    running.wait(lambda: running.said("worker SIGTERM") and running.said("web SIGTERM"))
    running.process.terminate()
    running.wait(lambda: not psutil.pid_exists(running.pids("web")[0]) or running.process.poll() is not None)
    running.wait(lambda: running.said("worker ended"))
    assert running.process.wait(SECONDS) == 0
    assert "worker did not end" not in running.log.read_text()


def test_programs_end_when_their_supervisor_is_killed(supervise: Any) -> None:
    running = supervise('[program("a"), program("b", stop_order=2)]', 2)
    running.process.kill()
    running.wait(lambda: running.said("a ended") and running.said("b ended"))


def test_a_program_gets_its_stdin_and_no_more(supervise: Any, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    code = f"import sys, pathlib; pathlib.Path({str(heard)!r}).write_text(sys.stdin.read())"
    running = supervise(f'[program("a"), Program("b", [sys.executable, "-c", {code!r}], stdin="port 0\\n", restart=False)]', 1)
    running.wait(lambda: heard.exists() and heard.read_text() == "port 0\n")
    running.send()


def test_hup_renews_programs_one_by_one_except_those_that_stay(supervise: Any) -> None:
    running = supervise('[program("a"), program("b"), program("store", renew=False), program("once", restart=False)]', 4)
    running.process.send_signal(signal.SIGHUP)
    running.wait(lambda: len(running.pids("a")) == len(running.pids("b")) == 2)
    renewed = [line.rstrip("0123456789 ") for line in running.lines() if line[0] in "ab"][2:]
    assert renewed == [f"{name} {word}" for name in "ab" for word in ("SIGTERM", "ended", "started")]
    assert (len(running.pids("store")), len(running.pids("once"))) == (1, 1)
    assert "started again" not in running.log.read_text()
    assert running.send() == 0


def test_a_program_that_does_not_stop_for_renewal_gets_its_second_signal(supervise: Any) -> None:
    running = supervise('[program("slow", 2, grace=0.3, second_signal=signal.SIGUSR1, second_grace=600), program("next")]', 2)
    running.process.send_signal(signal.SIGHUP)
    running.wait(lambda: len(running.pids("next")) == 2)
    assert [line for line in running.lines() if "SIG" in line] == ["slow SIGTERM", "slow SIGUSR1", "next SIGTERM"]
    assert running.send() == 0
