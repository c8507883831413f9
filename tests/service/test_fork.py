"""Programs that are forked from a supervisor in its own process. What they are is compared with what an exec would make of them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.forked import is_forked

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SECONDS = 60
# A supervisor with a lock, a listening socket, a descriptor that belongs to no object, and what it has bound and handles.
PARENT = """
import django, fcntl, os, signal, socket, sys, threading
django.setup()
from builds.engine.process import tree
from builds.lib import log_context, release
from builds.service import fork
from builds.service.supervisor import Program, Supervisor

def run(may_fork, with_socket):
    with open(sys.argv[1] + "/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        listening = socket.create_server(("127.0.0.1", 0))
        os.pipe()
        signal.signal(signal.SIGUSR1, lambda number, frame: None)
        signal.set_wakeup_fd(signal_pipe[1])
        tree.adopt_orphans()
        fork.freeze()
        code = f"exec(open({sys.argv[1]!r}+'/code').read())"
        argv = [sys.executable, str(release.ROOT / "manage.py"), "shell", "--no-imports", "-c", code]
        files = (listening.fileno(),) if with_socket else ()
        return Supervisor([Program("a", lambda: argv, may_fork=may_fork, files=files)]).run()

signal_pipe = os.pipe()
os.set_blocking(signal_pipe[1], False)
{before}
command = run(sys.argv[2] == "fork", "a socket" in open(sys.argv[1] + "/code").read())
if command:
    command.run()
"""
STATE = """
import ctypes, gc, json, os, random, signal, sys
from builds.lib import log_context
folder = {folder!r}
def files():
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            yield number, os.readlink(f"/proc/self/fd/{number}").partition(":[")[0]
        except OSError:
            pass
def prctl(option):
    found = ctypes.c_int()
    ctypes.CDLL(None).prctl(option, ctypes.byref(found), 0, 0, 0)
    return found.value
state = {
    "files": sorted(files()),
    "session": os.getsid(0) == os.getpid(),
    "parent": os.getppid(),
    "handlers": {number.name: str(signal.getsignal(number)).partition(" at ")[0] for number in signal.Signals},
    "wakeup": signal.set_wakeup_fd(-1),
    "blocked": [number.name for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
    "dies with parent": prctl(2),
    "subreaper": prctl(37),
    "argv": sys.argv,
    "fields": log_context.fields(),
    "folder": os.getcwd(),
    "umask": os.umask(0),
    "variables": dict(os.environ),
    "random": random.random(),
    "pid": os.getpid(),
}
with open(folder + "/state", "a") as file:
    file.write(json.dumps(state) + chr(10))
signal.pause()
"""
DEAF = """
import os, signal
signal.signal(signal.SIGTERM, lambda number, frame: open({folder!r} + "/heard", "w").close())
open({folder!r} + "/deaf", "w").write(str(os.getpid()))
while True:
    signal.pause()
"""
# The application was loaded through another name of its folder.
LINKED = "release.__file__ = '/current/builds/lib/release.py'"


class Supervised:
    def __init__(self, folder: Path, way: str, code: str, before: str = "") -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "code").write_text(code.replace("{folder!r}", repr(str(folder))))
        self.log = folder / "log"
        variables = {"PATH": os.environ["PATH"], "SECRET_KEY": "x" * 50, "DATA_DIR": str(folder / "data")}
        # The first and the last are what manage.py sets in a process that it starts.
        variables |= {"DJANGO_SETTINGS_MODULE": "jobsite.settings", "LOG_FORMAT": "json", "PYTHONTZPATH": "/usr/share/zoneinfo"}
        with self.log.open("wb") as log:
            command = [sys.executable, "-c", PARENT.replace("{before}", before), str(folder), way]
            self.process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=log, stderr=log)

    def wait(self, holds: Callable[[], object]) -> None:
        until = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < until, self.log.read_text()
            assert self.process.poll() in (None, -signal.SIGKILL), self.log.read_text()
            time.sleep(0.05)

    def states(self, count: int) -> list[dict[str, Any]]:
        path = self.folder / "state"
        self.wait(lambda: path.exists() and path.read_text().count("\n") >= count)
        return [json.loads(line) for line in path.read_text().splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    made: list[Supervised] = []

    def start(way: str, code: str, before: str = "") -> Supervised:
        made.append(Supervised(tmp_path / way, way, code, before))
        return made[-1]

    yield start
    for supervised in made:
        with suppress(psutil.Error):
            for child in psutil.Process(supervised.process.pid).children():
                child.kill()
        supervised.process.kill()
        supervised.process.wait()


@pytest.mark.parametrize("files", ["", "# a socket"], ids=["no files", "a socket"])
def test_a_forked_program_is_what_an_executed_one_would_be(supervise: Callable[..., Supervised], files: str) -> None:
    states = {}
    for way in ("exec", "fork"):
        supervised = supervise(way, STATE + files)
        [state] = supervised.states(1)
        assert is_forked(state["pid"]) == (way == "fork")
        assert state.pop("parent") == supervised.process.pid
        state["command line"] = " ".join(psutil.Process(state["pid"]).cmdline()).rstrip()
        del state["pid"], state["random"]
        states[way] = json.loads(json.dumps(state).replace(f"/{way}", "/way"))
    assert states["fork"] == states["exec"]
    assert [number for number, _name in states["fork"]["files"]][:3] == [0, 1, 2]
    assert (len(states["fork"]["files"]) - 3, states["fork"]["dies with parent"]) == (bool(files), signal.SIGTERM)


def test_a_forked_program_that_dies_is_forked_again_with_other_random_numbers(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("fork", STATE)
    psutil.Process(supervised.states(1)[0]["pid"]).kill()
    first, second = supervised.states(2)
    assert first["random"] != second["random"]
    assert is_forked(second["pid"])
    [died] = supervised.events("program_died")
    assert died["signal"] == "SIGKILL"
    supervised.process.terminate()
    assert supervised.process.wait(SECONDS) == 0
    assert [event["signal"] for event in supervised.events("program_stopped")] == ["SIGTERM"]


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        (
            "from django.core.management import CommandError; raise CommandError('no such thing')",
            1,
            "CommandError: no such thing",
        ),
        ("import threading; threading.Timer(1, print, ('the thread has ended',)).start()", 0, ""),
    ],
    ids=["exit", "error", "thread"],
)
def test_a_forked_program_ends_as_an_executed_one(
    supervise: Callable[..., Supervised], code: str, exit_code: int, said: str
) -> None:
    for way in ("exec", "fork"):
        supervised = supervise(way, code)
        supervised.wait(lambda: supervised.events("program_died"))  # noqa: B023 - called at once
        assert supervised.events("program_died")[0]["exitCode"] == exit_code
        assert [line["message"] for line in supervised.events("program_output")][:1] == ([said] if said else [])
        assert ("the thread has ended" in supervised.log.read_text()) == ("thread" in code)


def test_the_lock_of_a_killed_supervisor_is_free_while_its_program_still_ends(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("fork", DEAF)
    supervised.wait(lambda: (supervised.folder / "deaf").exists() and (supervised.folder / "deaf").read_text())
    pid = int((supervised.folder / "deaf").read_text())
    supervised.process.kill()
    supervised.process.wait()
    supervised.wait(lambda: (supervised.folder / "heard").exists())
    try:
        with (supervised.folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert psutil.pid_exists(pid)
    finally:
        psutil.Process(pid).kill()


@pytest.mark.parametrize(
    "before",
    [
        "threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "release.AT_START = b''",
        LINKED,
        "from jobsite import env; env.READ['SECRET_KEY'] = env.Read('the secret before', '', True, '/etc/hostname')",
    ],
    ids=["threads", "another release", "another folder", "another secret"],
)
def test_a_program_is_executed_where_a_fork_would_differ(supervise: Callable[..., Supervised], before: str) -> None:
    supervised = supervise("fork", STATE, before)
    assert not is_forked(supervised.states(1)[0]["pid"])


def in_child(folder: Path, step: str) -> subprocess.CompletedProcess[str]:
    code = f"from builds.service import fork; import os, sys; fork.in_child(lambda: {step}); print(os.getpid(), 'colorsys' in sys.modules)"
    variables = {
        "PATH": os.environ["PATH"],
        "SECRET_KEY": "x",
        "DATA_DIR": str(folder),
        "DJANGO_SETTINGS_MODULE": "jobsite.settings",
    }
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=variables)


def test_a_step_in_a_child_leaves_nothing_behind(tmp_path: Path) -> None:
    done = in_child(tmp_path, "print(os.getpid(), bool(__import__('colorsys')))")
    (child, was_loaded), (parent, is_loaded) = (line.split() for line in done.stdout.splitlines())
    assert (done.returncode, was_loaded, is_loaded, done.stderr) == (0, "True", "False", "")
    assert child != parent


def test_a_step_that_fails_in_a_child_ends_this_process_with_its_words_and_its_code(tmp_path: Path) -> None:
    done = in_child(tmp_path, "sys.exit('no room')")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "no room\n")
    assert in_child(tmp_path, "os.kill(os.getpid(), 9)").returncode == 1
