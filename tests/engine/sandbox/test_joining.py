"""A fork that joins a sandbox is as confined as a program that is started in one, and ends with it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from builds.engine.process.command import Completed
from builds.engine.process.tree import strays
from builds.engine.sandbox.joining import NAMESPACES, Fork
from builds.engine.sandbox.probe import choose
from builds.engine.sandbox.sandbox import Policy
from builds.engine.tools import TOOLS
from builds.errors import BuildStopped, SandboxLost
from builds.lib.fork_server import ForkServer, memory_file
from builds.lib.stop import Stop
from tests.lib.test_fork_server import runs
from tests.support.commands import run_in
from tests.support.sandboxed import needs_bubblewrap
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    needs_bubblewrap,
]

# What a program finds out about itself, and what it is refused. Numbers that differ from start to start are left out.
PROBE = """
import ctypes, json, os, socket, sys

def tried(call):
    try:
        call()
    except OSError as error:
        return error.strerror
    return "allowed"

def connect(family, address):
    with socket.socket(family) as client:
        client.settimeout(5)
        client.connect(address)

def asked(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    return "allowed" if libc.syscall(number, *arguments) >= 0 else os.strerror(ctypes.get_errno())

def main(hidden):
    names = ("Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters")
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(json.dumps({
        **{name: status[name].split() for name in names if name in status},
        "environment": dict(os.environ),
        "written environment": [word for word in open("/proc/self/environ").read().split("\\0") if "top-secret" in word],
        "limits": open("/proc/self/limits").read(),
        "oom": open("/proc/self/oom_score_adj").read(),
        "umask": os.umask(0o77),
        "nice": os.nice(0),
        "cwd": os.getcwd(),
        "has a session of its own": os.getsid(0) > 0,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "host": socket.gethostname(),
        "few processes": len([name for name in os.listdir("/proc") if name.isdigit()]) <= 4,
        "interfaces": [name for _number, name in socket.if_nameindex()],
        "root": sorted(os.listdir("/")),
        "etc": sorted(os.listdir("/etc")),
        "hidden": tried(lambda: open(hidden)),
        "own file": tried(lambda: open("made", "w")),
        "tmp": tried(lambda: open("/tmp/made", "w")),
        "usr": tried(lambda: open("/usr/made", "w")),
        "dev": tried(lambda: open("/dev/made", "w")),
        "proc": tried(lambda: open("/proc/sys/kernel/hostname", "w")),
        "loopback": tried(lambda: connect(socket.AF_INET, ("127.0.0.1", 9))),
        "unix": tried(lambda: connect(socket.AF_UNIX, hidden)),
        "raw": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)),
        "vsock": tried(lambda: socket.socket(40, socket.SOCK_STREAM)),
        "user namespace": asked(272, 0x10000000),
        "mount namespace": asked(272, 0x20000),
        "setns": asked(308, 3, 0),
        "mount": asked(165, 0, b"/tmp", b"tmpfs", 0, 0),
        "setuid": tried(lambda: os.setresuid(0, 0, 0)),
        "writing its program": tried(lambda: open("/proc/self/exe", "wb")) != "allowed",
        "chroot": tried(lambda: os.chroot("/tmp")),
        "signal to the first process": tried(lambda: os.kill(1, 0)),
    }), flush=True)

if __name__ == "__main__":
    main(*sys.argv[1:])
"""
WAITS = "import os, sys, time\ndef main(path):\n    print(open('/proc/self/stat').read(), flush=True)\n    time.sleep(600)\n"
CHANGES = """
import os

def main():
    for change in (lambda path: os.chmod(path, 0o700), os.utime, lambda path: os.setxattr(path, "user.x", b"x")):
        try:
            change("/proc/self/exe")
        except OSError:
            pass
    print("looked")
"""
FAILS = """
import os, signal, sys

def main(how):
    print("out")
    print("err", file=sys.stderr)
    if how == "raise":
        raise ZeroDivisionError
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(7)
"""


class World:
    """A workspace, a fork server with programs of the tests, and a file that no build may read."""

    def __init__(self, folder: Path) -> None:
        self.tools, self.workspace, self.hidden = folder / "tools", folder / "workspace", folder / "hidden"
        shutil.copytree(TOOLS, self.tools, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        for name, text in {"probe": PROBE, "waits": WAITS, "fails": FAILS}.items():
            (self.tools / f"{name}.py").write_text(text)
        for path in (self.tools, *self.tools.rglob("*.py")):
            path.chmod(0o755)
        self.workspace.mkdir()
        self.hidden.write_text("top-secret")
        os.environ["JOBSITE_TEST_SECRET"] = "top-secret"
        try:
            self.server = ForkServer(self.tools / "fork_server.py")
        finally:
            del os.environ["JOBSITE_TEST_SECRET"]

    def run(self, program: str, *arguments: str, forked: bool = True, **options: Any) -> tuple[Completed, list[tuple[str, str]]]:
        choice = choose("bubblewrap", Policy())
        policy = Policy(readable=(self.tools,))
        limits = {"FSIZE": 12_345_678, "NOFILE": 345}
        sandbox = choice.sandbox(self.workspace, "a build", policy=policy, limits=limits, nice=3)
        assert sandbox is not None
        sandbox.hand_over()
        return run_in(
            self.workspace,
            [sys.executable, "-I", str(self.tools / f"{program}.py"), *arguments],
            env={"LC_ALL": "C.UTF-8"},
            sandbox=sandbox,
            # An ordinary user has no groups here. What is tested does not depend on them.
            groups=SimpleNamespace(share_processors=True, make=lambda *arguments: None),
            fork=Fork(self.server, program, arguments) if forked else None,
            **options,
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    try:
        yield made
    finally:
        made.server.close()


def test_it_is_confined_like_a_program_that_was_started_in_the_sandbox(world: World) -> None:
    (completed, forked), (_other, started) = (world.run("probe", str(world.hidden), forked=way) for way in (True, False))
    assert (completed.exit_code, [stream for stream, _text in forked]) == (0, ["stdout"]), forked
    ours, theirs = (json.loads(lines[-1][1]) for lines in (forked, started))
    # Bubblewrap adds a variable, and as root leaves a set that would matter only if a program of the build had capabilities in its file.
    theirs["environment"].pop("PWD", None)
    assert (ours.pop("CapInh"), theirs.pop("CapInh") is not None) == (["0" * 16], True)
    assert ours == theirs
    assert (ours["CapEff"], ours["NoNewPrivs"], ours["own file"], ours["hidden"]) == (
        ["0" * 16],
        ["1"],
        "allowed",
        "No such file or directory",
    )
    assert "allowed" not in [ours[name] for name in ("hidden", "usr", "loopback", "user namespace", "setns", "mount", "setuid")]


def _below(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


@pytest.mark.parametrize(("how", "code"), [("exit", 7), ("raise", 1), ("kill", 137)])
def test_its_exit_code_and_output_are_reported(world: World, how: str, code: int) -> None:
    completed, lines = world.run("fails", how)
    assert completed.exit_code == code
    assert ("stderr", "err") in lines
    assert how == "kill" or ("stdout", "out") in lines


def test_it_ends_when_the_build_stops(world: World) -> None:
    stop, pids = Stop(), []

    def see(stream: str, text: str) -> None:
        pids.extend(_below(world.server.pid))
        stop.set("enough")

    with pytest.raises(BuildStopped):
        world.run("waits", "", stop=stop, on_line=see, grace_seconds=0)
    assert len(pids) >= 2, "it is a fork of the server: otherwise the tests here would compare one way with itself"
    wait_until(lambda: not any(map(runs, pids)))
    assert strays().get(str(world.workspace)) is None


def test_it_ends_at_its_deadline(world: World) -> None:
    completed, _lines = world.run("waits", "", deadline_seconds=3, grace_seconds=0)
    assert completed.timed_out
    wait_until(lambda: not _below(world.server.pid))


def test_if_the_server_has_just_ended_that_is_not_the_manuscripts_fault(world: World) -> None:
    world.server.close()
    with pytest.raises(SandboxLost):
        world.run("fails", "exit")


def test_a_server_that_dies_takes_the_program_with_it_and_that_is_not_the_manuscripts_fault(world: World) -> None:
    pids: list[int] = []

    def kill(stream: str, text: str) -> None:
        pids.extend(_below(world.server.pid))
        os.kill(world.server.pid, signal.SIGKILL)

    with pytest.raises(SandboxLost):
        world.run("waits", "", on_line=kill)
    wait_until(lambda: not any(map(runs, pids)))


def test_a_server_that_does_not_answer_holds_up_nothing(world: World) -> None:
    """The request lies in its socket, with a descriptor of the report in it."""
    os.kill(world.server.pid, signal.SIGSTOP)
    with pytest.raises(SandboxLost):
        world.run("fails", "exit", deadline_seconds=2, grace_seconds=0)


def test_it_can_not_change_the_program_of_the_service(world: World) -> None:
    """Its own program is the server's, and that is not seen through the sandbox's mounts."""
    (world.tools / "changes.py").write_text(CHANGES)
    before = Path(sys.executable).stat()
    _completed, lines = world.run("changes")
    assert [text for _stream, text in lines] == ["looked"]
    after = Path(sys.executable).stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_ctime_ns) == (before.st_mode, before.st_mtime_ns, before.st_ctime_ns)


def test_its_processor_time_is_counted(world: World) -> None:
    (world.tools / "burns.py").write_text("import time\ndef main():\n    while time.process_time() < 0.5: pass\n")
    completed, _lines = world.run("burns")
    assert (completed.exit_code, completed.processor_seconds >= 0.5) == (0, True)


def test_it_does_not_run_where_it_joins_nothing(world: World) -> None:
    """Not even if somebody takes the first process of the sandbox for another one, such as this."""
    code, read_code = os.pipe()[::-1]
    ready, says_ready = os.pipe()
    own = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in NAMESPACES]
    inside = {"groups": [], "namespaces": NAMESPACES, "filter": b"", "environment": {}, "plan": {}}
    with memory_file() as output:
        files = (os.open(os.devnull, os.O_RDONLY), output.fileno(), output.fileno(), says_ready, code, *own)
        with world.server.start("fails", ["exit"], files=files, inside=inside) as running:
            ended = running.wait(60)
        output.seek(0)
        assert b"NotConfined" in output.read()
    assert ended
    assert ended.code == 1
    for descriptor in (code, read_code, ready, says_ready, *own, files[0]):
        os.close(descriptor)


def test_what_an_earlier_program_was_given_is_not_in_the_memory_of_the_server(world: World) -> None:
    world.run("probe", "/a/word/that/nobody/else/has")
    world.run("fails", "exit")
    assert not _memory_has(world.server.pid, b"a/word/that/nobody/else" + b"/has")


def _memory_has(pid: int, word: bytes) -> bool:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_rest = line.split()
            first, last = (int(number, 16) for number in span.split("-"))
            if "r" in rights and "w" in rights:
                memory.seek(first)
                if word in memory.read(last - first):
                    return True
    return False
