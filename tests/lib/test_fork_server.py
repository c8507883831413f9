"""The fork server: programs run as its forks, with what they were given and nothing else, and end with whoever asked for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from builds.engine.tools import TOOLS
from builds.lib import fork_server
from builds.lib.fork_server import Forked, ForkServer, Gone, memory_file
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fork server is used on Linux only")

PROGRAM = TOOLS / "fork_server.py"
SECONDS = 60.0
ASK_AND_DIE = """
import os, sys
from pathlib import Path
from builds.lib.fork_server import ForkServer, memory_file
server = ForkServer(Path(sys.argv[1]))
hung, writing = os.pipe()
with memory_file() as answer:
    running = server.start("read_text", ["pick", "[]"], files=(hung, answer.fileno(), 2))
    print(server.pid, flush=True)
    if sys.argv[2] == "asked":
        os.read(os.pipe()[0], 1)
"""


def runs(pid: int) -> bool:
    """Not if it has ended and waits to be reaped: these tests may have made their process one that adopts orphans."""
    with suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture
def server() -> Iterator[ForkServer]:
    running = ForkServer(PROGRAM)
    try:
        yield running
    finally:
        running.close()


def pick(server: ForkServer, document: bytes, *arguments: str) -> tuple[int | None, bytes]:
    """The exit code and the output of a program that reads a document."""
    with memory_file(document) as given, memory_file() as answer:
        with server.start("read_text", ["pick", *arguments], files=(given.fileno(), answer.fileno(), 2)) as running:
            ended = running.wait(SECONDS)
        answer.seek(0)
        return ended.code if ended else None, answer.read()


@contextmanager
def hung(server: ForkServer) -> Iterator[Forked]:
    """A program that waits for its input for ever."""
    reading, writing = os.pipe()
    try:
        with memory_file() as answer, server.start("read_text", ["pick", "[]"], files=(reading, answer.fileno(), 2)) as running:
            yield running
    finally:
        os.close(writing)
        os.close(reading)


def test_programs_run_one_after_the_other_and_at_once(server: ForkServer) -> None:
    assert pick(server, b'{"a": [1, 2]}', '[["a"]]') == (0, b"[[1, 2]]")
    assert pick(server, b"{", '[["a"]]')[0] == 1
    with hung(server), hung(server) as other:
        assert pick(server, b"[7]", "[[0]]") == (0, b"[7]")
        assert other.wait(0) is None


def test_the_processor_time_is_reported(server: ForkServer) -> None:
    with memory_file(b"[" + b"1," * 300_000 + b"1]") as given, memory_file() as answer:
        files = (given.fileno(), answer.fileno(), 2)
        with server.start("read_text", ["pick", "[[0]]"], files=files) as running:
            ended = running.wait(SECONDS)
    assert ended
    assert ended.seconds > 0


def test_a_limit_of_one_fork_does_not_hold_for_the_next(server: ForkServer) -> None:
    for _ in range(2):
        assert pick(server, b'"x"', "[[]]") == (0, b'["x"]')
    assert psutil.Process(server.pid).rlimit(psutil.RLIMIT_AS) == psutil.Process().rlimit(psutil.RLIMIT_AS)


def test_a_fork_has_no_descriptor_but_its_own(server: ForkServer) -> None:
    with hung(server):
        wait_until(lambda: bool(psutil.Process(server.pid).children()))
        [fork] = psutil.Process(server.pid).children()
        wait_until(lambda: sorted(path.name for path in Path(f"/proc/{fork.pid}/fd").iterdir()) == ["0", "1", "2"])
        assert psutil.Process(server.pid).environ() == {"PATH": os.defpath}


def test_a_program_that_is_given_up_is_killed(server: ForkServer) -> None:
    with hung(server) as running:
        assert running.wait(0.5) is None
    wait_until(lambda: not psutil.Process(server.pid).children())
    assert pick(server, b"1", "[[]]") == (0, b"[1]")


@pytest.mark.parametrize("moment", ["asked", "ended"])
def test_it_ends_with_its_starter_and_its_programs_with_it(moment: str) -> None:
    starter = subprocess.Popen([sys.executable, "-c", ASK_AND_DIE, str(PROGRAM), moment], stdout=subprocess.PIPE, text=True)
    assert starter.stdout
    pid = int(starter.stdout.readline())
    below = [pid]
    if moment == "asked":
        below += [child.pid for child in psutil.Process(pid).children()]
        starter.kill()
    starter.wait(SECONDS)
    starter.stdout.close()
    wait_until(lambda: not any(map(runs, below)))


def test_who_asks_a_server_that_has_ended_is_told(server: ForkServer) -> None:
    assert server.is_there
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_there)
    with pytest.raises(Gone):
        pick(server, b"1", "[[]]")


def test_who_waits_for_a_server_that_ends_is_told(server: ForkServer) -> None:
    with hung(server) as running:
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(Gone):
            running.wait(SECONDS)


def test_a_process_keeps_one_server_and_replaces_one_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_server, "_of_this_process", None)
    assert fork_server.current() is None
    first = fork_server.keep_running(PROGRAM)
    assert (fork_server.keep_running(PROGRAM), fork_server.current()) == (first, first)
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: not first.is_running)
    assert fork_server.current() is None
    second = fork_server.keep_running(PROGRAM)
    try:
        assert pick(second, b"1", "[[]]") == (0, b"[1]")
    finally:
        second.close()


def test_a_server_that_can_not_be_started_again_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_server, "_of_this_process", None)
    os.kill(fork_server.keep_running(PROGRAM).pid, signal.SIGKILL)
    wait_until(lambda: fork_server.current() is None)
    with monkeypatch.context() as patched:
        patched.setattr(os, "memfd_create", _refuse)
        with pytest.raises(OSError, match="refused"):
            fork_server.keep_running(PROGRAM)
    assert fork_server.current() is None


def _refuse(*arguments: object) -> int:
    raise OSError("refused")


def test_its_program_is_a_copy_that_can_not_be_written(server: ForkServer) -> None:
    assert pick(server, b"1", "[[]]") == (0, b"[1]")
    path = Path(f"/proc/{server.pid}/exe")
    assert path.readlink().name.startswith("memfd:python")
    assert path.read_bytes() == Path(sys.executable).read_bytes()
    with pytest.raises(OSError, match=r"busy|not permitted"):
        path.open("wb")


def test_a_hang_up_after_the_end_does_not_end_the_server(server: ForkServer) -> None:
    """Both may be seen at once."""
    for _ in range(3):
        with hung(server), memory_file(b"1") as given, memory_file() as answer:
            files = (given.fileno(), answer.fileno(), 2)
            with server.start("read_text", ["pick", "[[]]"], files=files) as running:
                running.wait(SECONDS)
                os.kill(server.pid, signal.SIGSTOP)
        os.kill(server.pid, signal.SIGCONT)
    assert pick(server, b"1", "[[]]") == (0, b"[1]")


def test_it_ends_when_nobody_asks_for_long(tmp_path: Path) -> None:
    program = tmp_path / "fork_server.py"
    for path in TOOLS.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text().replace("IDLE_SECONDS = 300", "IDLE_SECONDS = 0.1"))
    server = ForkServer(program)
    try:
        wait_until(lambda: not server.is_running)
    finally:
        server.close()
