"""The keeper, with real programs and the real kernel."""

from __future__ import annotations

import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from builds.engine.process.ceilings import Ceilings
from builds.engine.process.command import Completed
from builds.engine.sandbox.probe import choose
from builds.engine.sandbox.proxy import proxied
from builds.engine.sandbox.sandbox import Policy, Sandbox
from tests.engine.sandbox.test_sandbox import WORKING_KINDS, start
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif("landlock" not in WORKING_KINDS, reason="Landlock alone does not work here")

# Every way to set a file's mode or times, on the build's own files.
OWN = """
import os, subprocess
def show(*names):
    print(*(f"{os.lstat(name).st_mode & 0o7777:o} {min(os.lstat(name).st_mtime_ns, 10**12)}" for name in names))
for name in "abcef": open(name, "w").close()
os.mkdir("d"); os.symlink("a", "link"); here = os.open("d", os.O_RDONLY)
os.chmod("a", 0o640); os.chmod(os.path.abspath("b"), 0o604); os.chmod("link", 0o600); os.fchmod(os.open("c", os.O_RDONLY), 0o700)
os.chmod("../e", 0o444, dir_fd=here); os.chmod(f"/proc/self/fd/{os.open('f', os.O_RDONLY)}", 0o111)
show("a", "b", "c", "e", "f")
os.utime("a", ns=(5, 7)); os.utime(os.open("b", os.O_RDONLY), ns=(5, 8)); os.utime("link", ns=(5, 9), follow_symlinks=False)
show("a", "b", "link")
subprocess.run("cp -p a copy; chmod -R u=rwx,go= d; touch -d @3 d; tar cf t a b; rm a b; tar xf t; chmod +x a", shell=True, check=True)
show("copy", "d", "a", "b")
for act in (lambda: os.chmod("none", 0), lambda: os.chmod("", 0), lambda: os.chmod("a/b", 0), lambda: os.chmod("n" * 5000, 0)):
    try:
        act()
    except OSError as error:
        print(error.strerror)
"""
# Every way to name a file that the build can read but that is not its own.
OTHERS = """
import os, sys
path = sys.argv[1]
folder, name = os.path.split(path)
os.symlink(path, "link"); os.symlink(folder, "folder"); os.mkdir("kept")
at, opened, reached = os.open(folder, os.O_PATH), os.open(path, os.O_RDONLY), os.open(path, os.O_PATH)
ways = [path, os.path.relpath(path), "link", f"folder/{name}", f"kept/../folder/{name}", f"/proc/self/cwd/folder/{name}",
        f"/proc/self/fd/{at}/{name}", f"/proc/thread-self/root{path}", opened, f"/proc/self/fd/{reached}"]
acts = [(lambda way=way: os.chmod(way, 0o666)) for way in ways]
acts += [(lambda way=way: os.utime(way, (1, 1))) for way in ways if way != opened]
acts += [lambda: os.chmod(name, 0o666, dir_fd=at), lambda: os.utime(name, (1, 1), dir_fd=at), lambda: os.chmod("..", 0o777)]
for act in acts:
    try:
        act()
        print("done")
    except OSError as error:
        print(error.strerror)
"""
CONNECT = """
import socket, sys
port, other = map(int, sys.argv[1:])
for address in (("127.0.0.1", port), ("127.0.0.2", port), ("127.0.0.1", other)):
    for seconds in (None, 5):
        with socket.socket() as s:
            s.settimeout(seconds)
            try:
                s.connect(address)
                s.sendall(b"ask")
                print(s.recv(9))
            except OSError as error:
                print(error.strerror)
try:
    print(socket.socket(socket.AF_INET6).connect(("::1", port)))
except OSError as error:
    print(error.strerror)
"""
# A worker that is killed while a program runs in its sandbox that can't be found by its session, environment or parent.
PARENT = """
import sys
from pathlib import Path
from builds.engine.sandbox.sandbox import Policy
from builds.engine.sandbox.probe import choose
from tests.engine.sandbox.test_sandbox import start
workspace = Path(sys.argv[1])
sandbox = choose("landlock", Policy()).sandbox(workspace, "a build")
start(sandbox, ["/bin/sh", "-c", "(setsid env -i sleep 7654321 &); touch begun; exec env -i sleep 7654321"])
"""

Run = Callable[..., tuple[Completed, list[str]]]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = tmp_path / "workspace"
    path.mkdir()
    return path


@pytest.fixture
def sandbox(workspace: Path) -> Sandbox:
    made = choose("landlock", Policy()).sandbox(workspace, "a build", policy=Policy(readable=(workspace.parent / "readable",)))
    assert made is not None
    return made


def run_code(sandbox: Sandbox, code: str, *arguments: str) -> list[str]:
    (sandbox.workspace / "code").write_text(code)
    return start(sandbox, [sys.executable, "-I", "code", *arguments])[1]


def test_modes_and_times_of_the_build_s_own_files_change_as_without_a_sandbox(sandbox: Sandbox, workspace: Path) -> None:
    inside = run_code(sandbox, OWN)
    (workspace.parent / "free").mkdir()
    free = subprocess.run(
        [sys.executable, "-I", "-c", OWN],
        cwd=workspace.parent / "free",
        env={"PATH": "/usr/bin:/bin"},
        umask=0o077,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert inside == free.stdout.splitlines()
    assert inside[-4:] == ["No such file or directory", "No such file or directory", "Not a directory", "File name too long"]


def test_modes_and_times_of_other_files_do_not_change(sandbox: Sandbox, workspace: Path) -> None:
    readable = workspace.parent / "readable"
    readable.mkdir()
    (readable / "file").touch(mode=0o600)
    watched = (readable / "file", readable, workspace.parent)
    before = [path.stat() for path in watched]
    lines = run_code(sandbox, OTHERS, str(readable / "file"))
    assert (set(lines), len(lines)) == ({"Operation not permitted"}, 22)
    assert [path.stat() for path in watched] == before


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -KILL $$", 137), ("kill -TERM $$", 143)])
def test_the_exit_code_is_reported(sandbox: Sandbox, script: str, code: int) -> None:
    completed, _lines = start(sandbox, ["/bin/sh", "-c", script])
    assert (completed.exit_code, completed.signal, completed.left_behind) == (code, None, 0)


def test_a_build_that_starts_too_many_processes_is_ended(sandbox: Sandbox) -> None:
    bomb = "for i in $(seq 300); do (setsid sleep 60 &) ; done; sleep 60"
    limited = replace(sandbox, limits={"NPROC": 50})
    completed, _lines = start(limited, ["/bin/sh", "-c", bomb], ceilings=Ceilings(processes=50))
    assert completed.hit is not None
    assert completed.hit.text == "started more than its limit of 50 processes and threads."


def test_a_signal_does_not_interrupt_the_start_of_a_process(sandbox: Sandbox) -> None:
    """A shell gets a signal at each child's end, while it starts the next one."""
    script = "i=0; while [ $i -lt 300 ]; do /bin/true | /bin/true & chmod 600 code; i=$((i+1)); done; wait; echo end"
    (sandbox.workspace / "code").touch()
    assert start(sandbox, ["/bin/sh", "-c", script])[1] == ["end"]


def test_the_memory_of_orphaned_processes_is_measured_too(sandbox: Sandbox) -> None:
    hog = f"(setsid env -i {sys.executable} -I -c 'import time; a = bytearray(400_000_000); time.sleep(30)' &)"
    completed, _lines = start(sandbox, ["/bin/sh", "-c", f"{hog}; sleep 30"], ceilings=Ceilings(memory=300_000_000))
    assert completed.hit is not None
    assert completed.hit.text == "used more than its memory limit of 300 MB."


def test_only_the_proxy_can_be_reached(sandbox: Sandbox, tmp_path: Path) -> None:
    """Nor can the same port of another address, which Landlock would allow: it only knows port numbers."""
    reaching, listening = sandbox.with_proxy(tmp_path)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answers, bind_and_activate=False) as proxy:
        proxy.socket.close()
        proxy.socket = listening
        proxy.server_activate()
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        with socket.create_server(("127.0.0.2", reaching.port)), socket.create_server(("127.0.0.1", 0)) as other:
            (reaching.workspace / "code").write_text(CONNECT)
            ports = (str(reaching.port), str(other.getsockname()[1]))
            completed, lines = start(reaching, [sys.executable, "-I", "code", *ports])
        proxy.shutdown()
    assert lines == ["b'answer'"] * 2 + ["Permission denied"] * 5
    assert completed.left_behind == 0


def test_no_other_program_can_take_the_port_of_the_proxy(sandbox: Sandbox) -> None:
    """A build would fail if it could not listen there, or reach somebody else's server."""
    with (
        proxied(sandbox, []) as proxy,
        socket.socket() as other,
        pytest.raises(OSError, match="in use"),
    ):
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", proxy.sandbox.port))


class Answers(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.request.recv(9)
        self.wfile.write(b"answer")


def test_nothing_of_the_build_is_left_when_the_worker_dies(workspace: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(workspace)], cwd=Path(__file__).parents[4])
    try:
        wait_until(lambda: (workspace / "begun").exists() and len(sleepers()) == 2)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_until(lambda: not sleepers())


def sleepers() -> list[int]:
    return [each.pid for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", "7654321"]]
