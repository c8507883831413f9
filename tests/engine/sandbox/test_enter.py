"""The last step before a build's program, without the sandbox around it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from builds.engine.sandbox import landlock
from builds.engine.sandbox.sandbox import with_plan
from builds.engine.tools import TOOLS

needs_landlock = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")

OF_NOBODY = 1_912_345_678
"""A user without any other process."""
TRY = """
import os, socket, sys
own, other = sys.argv[1:3]
for name, work in {
    "read": lambda: os.listdir(other),
    "write own": lambda: open(f"{own}/new", "w"),
    "device": lambda: open("/dev/null", "w"),
    "write other": lambda: open(f"{other}/new", "w"),
    "tcp": lambda: socket.create_connection(("127.0.0.1", 9), 1),
}.items():
    try:
        work()
        print(name, "allowed")
    except OSError as error:
        print(name, type(error).__name__)
"""


def enter(argv: list[str], **plan: Any) -> tuple[subprocess.CompletedProcess[str], bytes]:
    """Run the command through enter.py. Returns how it ended, and what enter.py reported."""
    reading, writing = os.pipe()
    signals = [int(signal.SIGPIPE), int(signal.SIGXFSZ)]
    whole = {"ready": writing, "limits": {}, "nice": 0, "uid": None, "cwd": "/", "signals": signals, **plan}
    ended = subprocess.run(with_plan(TOOLS / "enter.py", whole, argv), pass_fds=[writing], env={}, capture_output=True, text=True)
    os.close(writing)
    with os.fdopen(reading, "rb") as report:
        return ended, report.read()


def test_a_program_starts_with_limits_without_new_rights_and_with_ordinary_signals() -> None:
    # Python ignores two signals itself, so another program looks.
    ended, report = enter(["/bin/cat", "/proc/self/status", "/proc/self/limits"], limits={"FSIZE": 12_345})
    lines = dict(line.split(":", 1) for line in ended.stdout.splitlines() if ":" in line)
    assert report == b"R"
    assert lines["NoNewPrivs"].strip() == "1"
    # Whatever started the tests may ignore others.
    ignored = int(lines["SigIgn"], 16)
    assert [number for number in (signal.SIGPIPE, signal.SIGXFSZ) if ignored >> (number - 1) & 1] == []
    assert [line.split()[3:5] for line in ended.stdout.splitlines() if line.startswith("Max file size")] == [["12345", "12345"]]


@needs_landlock
@pytest.mark.parametrize("no_tcp", [False, True])
def test_landlock_s_rules_hold_for_the_program(tmp_path: Path, no_tcp: bool) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    rules = landlock.rules(read=["/"], write=[str(own), "/no/such/path"], devices=["/dev/null"], no_tcp=no_tcp)
    ended, report = enter([sys.executable, "-c", TRY, str(own), str(other)], landlock=rules)
    tcp = "PermissionError" if no_tcp else "ConnectionRefusedError"
    assert report == b"R"
    assert ended.stdout.splitlines() == [
        *("read allowed", "write own allowed", "device allowed", "write other PermissionError"),
        f"tcp {tcp}",
    ]


@needs_landlock
@pytest.mark.parametrize(("part", "value"), [("handled", [1 << 60, 0, 0]), ("paths", [("/", 1 << 60, 1 << 60)])])
def test_nothing_starts_if_landlock_refuses_the_rules(part: str, value: Any) -> None:
    rules = landlock.rules(read=["/"], write=[], devices=[], no_tcp=False)
    assert rules is not None
    ended, report = enter(["/bin/echo", "started"], landlock={**rules, part: value})
    assert (ended.stdout, report) == ("", b"E%d" % errno.EINVAL)
    assert ended.returncode != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have a user with no other processes")
@pytest.mark.parametrize("processes", [1, 2])
def test_nothing_starts_if_there_is_no_process_left_for_the_relay(processes: int) -> None:
    """The relay needs two, one after the other."""
    ended, report = enter(
        ["/bin/echo", "started"], uid=OF_NOBODY, limits={"NPROC": processes}, relay={"port": 0, "socket": "/none"}
    )
    assert (ended.stdout, report) == ("", b"E%d" % errno.EAGAIN)
    assert ended.returncode != 0


def test_a_program_that_does_not_exist_is_reported_with_the_error() -> None:
    assert enter(["/no/such/program"])[1] == b"R2"
