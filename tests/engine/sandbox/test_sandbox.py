"""Real programs in the real sandbox of this machine."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builds.engine.process import disk
from builds.engine.process.ceilings import Ceilings
from builds.engine.process.command import Completed
from builds.engine.process.tree import strays
from builds.engine.sandbox import probe
from builds.engine.sandbox.bubblewrap import Bubblewrap
from builds.engine.sandbox.probe import Choice, choose
from builds.engine.sandbox.sandbox import Policy, Sandbox
from builds.errors import ProcessesFull, SandboxLost, SandboxUnavailable, ToolMissing
from tests.support.commands import run_in

POLICY = Policy()
KINDS = [str(sandbox_type.kind) for sandbox_type in probe.KINDS]
WORKING_KINDS = [kind for kind in KINDS if choose(kind, POLICY).allowed]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not WORKING_KINDS, reason="no sandbox works on this machine")]

Run = Callable[..., tuple[Completed, list[str]]]
UNMEASURED = "moved its folders so fast that their size could not be measured."


@pytest.fixture(params=WORKING_KINDS or ["none"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs a shell script in a sandbox whose workspace is ``tmp_path/workspace``."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()

    def run_script(script: str, *, ceilings: Ceilings | None = None, **changes: Any) -> tuple[Completed, list[str]]:
        limits = (ceilings or Ceilings()).per_process
        sandbox = choose(request.param, POLICY).sandbox(workspace, "a build", limits=limits)
        assert sandbox is not None
        return start(sandbox, ["/bin/sh", "-c", script], ceilings=ceilings or Ceilings(), **changes)

    return run_script


def start(sandbox: Sandbox, argv: list[str], **changes: Any) -> tuple[Completed, list[str]]:
    sandbox.hand_over()
    options = {"env": {"PATH": "/usr/local/bin:/usr/bin:/bin"}, "sandbox": sandbox, **changes}
    completed, lines = run_in(sandbox.workspace, argv, **options)
    return completed, [text for _stream, text in lines]


def test_it_can_not_connect_to_the_sockets_of_other_programs(run: Run, tmp_path: Path) -> None:
    """A database's or Docker's, for example: everyone who may write to such a socket can send requests."""
    ask = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1]); print('REACHED', s.recv(9))"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        (tmp_path / "s").chmod(0o777)
        listening.listen()
        completed, lines = run(f'{sys.executable} -I -c "{ask}" {tmp_path / "s"}')
    assert (completed.exit_code, [line for line in lines if line.startswith("REACHED")]) == (1, [])
    assert any(word in lines[-1] for word in ("FileNotFoundError", "Address family not supported"))


def test_its_processor_time_is_counted(run: Run) -> None:
    completed, _lines = run(f"{sys.executable} -Ic 'import time\nwhile time.process_time() < 0.5: pass'")
    assert (completed.exit_code, completed.processor_seconds >= 0.5) == (0, True)


def test_it_writes_to_its_workspace_and_its_exit_code_is_reported(run: Run, tmp_path: Path) -> None:
    completed, lines = run("pwd; echo made > made; exit 3")
    assert (completed.exit_code, lines) == (3, [str(tmp_path / "workspace")])
    assert (tmp_path / "workspace" / "made").read_text() == "made\n"


def test_it_runs_as_an_ordinary_user_without_capabilities(run: Run) -> None:
    _completed, lines = run("id -u; grep -E 'Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs' /proc/self/status | cut -f2")
    assert lines[0] != "0"
    assert lines[1:] in ([*["0" * 16] * 4, "1"], ["grep: /proc/self/status: Permission denied"])


def test_it_can_not_read_secrets_code_or_other_builds(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERNAL_SERVICE_SECRET", "top-secret")
    (tmp_path / "neighbour").write_text("top-secret")
    script = f"cat {tmp_path}/neighbour {__file__} /etc/shadow /root/.profile; cat /proc/*/environ; env; cat /proc/{os.getpid()}/environ"
    _completed, lines = run(script)
    assert "top-secret" not in "\n".join(lines)
    assert "INTERNAL" not in "\n".join(lines)
    assert str([line for line in lines if "the real sandbox" in line.lower()]) == "[]"


def test_it_can_write_nowhere_else(run: Run, tmp_path: Path) -> None:
    """Except to its own /tmp."""
    places = [*map(Path, ("/", "/usr", "/etc", "/dev")), tmp_path, Path(sys.prefix), Path.home()]
    _completed, lines = run(f"for at in {' '.join(map(str, places))}; do echo x > $at/jobsite-test && echo $at; done")
    assert [line for line in lines if "jobsite-test" not in line and not line.startswith("/tmp/")] == []
    assert [place for place in places if (place / "jobsite-test").exists()] == []


def test_its_folders_for_temporary_files_are_private(tmp_path: Path) -> None:
    """Python processes share locks through /dev/shm."""
    chosen = choose("bubblewrap", POLICY)
    if not chosen.allowed:
        pytest.skip("bubblewrap does not work here")
    sandbox = chosen.sandbox(tmp_path, "a build", policy=Policy(tmp_bytes=1 << 20))
    assert sandbox is not None
    script = "for at in /tmp /dev/shm; do echo x > $at/x && cat $at/x; head -c 2000000 /dev/zero > $at/y || wc -c < $at/y; done"
    _completed, lines = start(sandbox, ["/bin/sh", "-c", script])
    assert [line for line in lines if "No space left" not in line] == ["x", str((1 << 20) - 4096)] * 2
    assert not Path("/tmp/x").exists()


@pytest.mark.parametrize("protocol", [socket.IPPROTO_TCP, 262], ids=["TCP", "MPTCP"])
def test_it_can_not_connect_to_this_machine(run: Run, tmp_path: Path, protocol: int) -> None:
    connect = f"socket.socket(socket.AF_INET, socket.SOCK_STREAM, {protocol}).connect(('127.0.0.1', int(sys.argv[1])))"
    code = f"import socket, sys\ntry: {connect}; print('reached')\nexcept OSError: print('no')"
    (tmp_path / "workspace" / "reach.py").write_text(code)
    with socket.create_server(("127.0.0.1", 0)) as server:
        _completed, lines = run(f"{sys.executable} -I reach.py {server.getsockname()[1]}")
    assert lines == ["no"]


def test_it_can_not_signal_other_processes(run: Run) -> None:
    completed, lines = run(f"kill -TERM {os.getpid()}; kill -KILL {os.getppid()}; echo end")
    assert (completed.exit_code, lines[-1]) == (0, "end")


def test_a_fork_bomb_is_limited(run: Run) -> None:
    completed, lines = run("for i in $(seq 300); do sleep 60 & done; echo all", ceilings=Ceilings(processes=50))
    assert "all" not in lines
    assert completed.hit is not None or "ork" in str(lines)


def test_the_memory_of_many_processes_is_limited_and_the_limit_is_named(run: Run) -> None:
    hog = f"{sys.executable} -I -c 'import time; a = bytearray(60_000_000); time.sleep(30)' &"
    completed, _lines = run(f"{hog * 8} sleep 30", ceilings=Ceilings(memory=300_000_000))
    assert completed.hit is not None
    assert completed.hit.text == "used more than its memory limit of 300 MB."


HIDING = """
import ctypes, os, socket, threading, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
size, file = 50_000_000, os.open("big", os.O_RDWR | os.O_CREAT)
os.unlink("big")
"""
MAP = "os.truncate(file, size); place = libc.mmap(None, size, 3, 1, file, 0); os.close(file)"
FILL = "libc.memset(ctypes.c_void_p(place), 1, size); time.sleep(30)"
IN_A_THREAD = """
def write():
    libc.unshare(0x400)  # CLONE_FILES
    ready.set()
    time.sleep(0.5)
    os.write(file, bytes(size))
    time.sleep(30)
ready = threading.Event()
threading.Thread(target=write).start()
ready.wait()
os.close(file)
"""
# Small, so that a measurement of the moment in which it is still open does not exceed the limit.
SENT = "a, b = socket.socketpair(); os.write(file, bytes(1000)); socket.send_fds(a, [b'x'], [file]); os.close(file)"


def hiding(code: str) -> str:
    """A shell script that runs ``code``."""
    return f"cat > hide.py <<'END'\n{HIDING}\n{code}\nEND\n{sys.executable} -I hide.py"


WHAT_HIDES = {
    "without a name": "exec 3> big; rm big; head -c 50000000 /dev/zero >&3; sleep 30",
    "in a closed folder": "mkdir d; chmod 300 d; head -c 50000000 /dev/zero > d/big; sleep 30",
    "mapped": hiding(f"{MAP}\n{FILL}"),
    "open in a thread": hiding(IN_A_THREAD),
    "mapped by a thread that is left": hiding(
        f"{MAP}\ndef fill():\n    time.sleep(0.5)\n    {FILL}\nthreading.Thread(target=fill).start()\nlibc.pthread_exit(None)"
    ),
}


@pytest.mark.parametrize("script", WHAT_HIDES.values(), ids=WHAT_HIDES)
def test_hidden_files_are_counted_too(run: Run, script: str) -> None:
    completed, lines = run(script, ceilings=Ceilings(workspace=10_000_000))
    assert completed.hit is not None, lines
    assert completed.hit.text == "used more than its disk limit of 10 MB."


@pytest.mark.parametrize(("lost", "is_hit"), [(50_000_000, True), (5_000_000, False)])
def test_what_can_not_be_measured_is_taken_from_the_disk_s_loss(
    run: Run, monkeypatch: pytest.MonkeyPatch, lost: int, is_hit: bool
) -> None:
    """For example a file that was sent through a socket and not received: no process has it open."""
    free = chain([100_000_000], repeat(100_000_000 - lost))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=next(free)))
    # One that exceeds its limit is ended, however late it is measured.
    completed, _lines = run(hiding(f"{SENT}; time.sleep({60 if is_hit else 3})"), ceilings=Ceilings(workspace=10_000_000))
    assert (completed.hit is not None) is is_hit


def test_the_disk_limit_is_named(run: Run) -> None:
    completed, _lines = run("head -c 50000000 /dev/zero > big; sleep 30", ceilings=Ceilings(workspace=10_000_000))
    assert completed.hit is not None
    assert completed.hit.text == "used more than its disk limit of 10 MB."


@pytest.mark.parametrize(
    ("fails", "text"),
    [("mkdir once 2> /dev/null", "used more than its disk limit of 10 MB."), ("true", UNMEASURED)],
    ids=["once", "always"],
)
def test_a_failed_measurement_is_repeated_but_not_for_ever(
    run: Run, monkeypatch: pytest.MonkeyPatch, fails: str, text: str
) -> None:
    """du reports nothing if a folder is moved while it runs."""
    monkeypatch.setattr(disk, "MEASURE", f'cd "$1"; if {fails}; then echo room; echo files; exit; fi; {disk.MEASURE}')
    monkeypatch.setattr(disk, "MEASURE_SECONDS", 0.01)
    monkeypatch.setattr(disk, "MEASURE_SHARE", 1)
    completed, _lines = run("head -c 50000000 /dev/zero > big; sleep 30", ceilings=Ceilings(workspace=10_000_000))
    assert completed.hit is not None
    assert completed.hit.text == text


def test_the_limit_on_files_is_named(run: Run) -> None:
    completed, _lines = run("mkdir f; cd f; seq 3000 | xargs touch; sleep 30", ceilings=Ceilings(files=1000))
    assert completed.hit is not None
    assert completed.hit.text == "made more than its limit of 1000 files."


def test_a_file_can_not_exceed_its_limit(run: Run, tmp_path: Path) -> None:
    completed, _lines = run("head -c 5000000 /dev/zero > big", ceilings=Ceilings(file=1_000_000))
    assert completed.exit_code == 128 + 25
    assert (tmp_path / "workspace" / "big").stat().st_size == 1_000_000


def test_it_gets_time_to_end_and_then_nothing_is_left(run: Run, tmp_path: Path) -> None:
    script = "trap 'echo asked; exit 7' TERM; echo started; setsid sleep 61 & while :; do sleep 0.05; done"
    completed, lines = run(script, deadline_seconds=3, grace_seconds=10)
    # The shell may also report that its sleep was ended.
    assert (completed.timed_out, [line for line in lines if line in ("started", "asked")]) == (True, ["started", "asked"])
    assert strays().get(str(tmp_path / "workspace")) is None


def test_a_build_that_ignores_the_request_to_end_is_killed(run: Run, tmp_path: Path) -> None:
    started = time.monotonic()
    completed, _lines = run("trap '' TERM HUP INT; while :; do sleep 0.05; done", deadline_seconds=1)
    assert completed.timed_out
    assert time.monotonic() - started < 25
    assert strays().get(str(tmp_path / "workspace")) is None


def test_a_missing_program_is_reported_as_without_a_sandbox(tmp_path: Path) -> None:
    sandbox = choose("require", POLICY).sandbox(tmp_path, "a build")
    assert sandbox is not None
    with pytest.raises(ToolMissing, match=r"no-such-program.*No such file"):
        start(sandbox, ["no-such-program"])


def test_a_sandbox_that_can_not_be_made_is_not_a_failed_command(tmp_path: Path) -> None:
    sandbox = Bubblewrap(tmp_path)
    broken = replace(sandbox, workspace=tmp_path / "gone")
    with pytest.raises(SandboxUnavailable):
        start(broken, ["/bin/true"], cwd=tmp_path)


@pytest.mark.parametrize("kind", WORKING_KINDS)
def test_a_sandbox_for_which_no_process_is_left_says_so(tmp_path: Path, kind: str) -> None:
    """It may work a moment later, so the build is retried."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    sandbox = choose(kind, POLICY).sandbox(workspace, "a build", limits={"NPROC": 0})
    assert sandbox is not None
    if sandbox.shares_processes:
        pytest.skip("the limit depends on other programs here")
    reaching, listening = sandbox.with_proxy(tmp_path)
    with listening, pytest.raises(ProcessesFull, match="could not be made: Resource temporarily unavailable"):
        start(reaching, ["/bin/true"])


@pytest.mark.parametrize("end", ["kill -KILL $$", "exit 137"])
def test_a_sandbox_killed_before_the_build_started_is_reported_as_such(tmp_path: Path, end: str) -> None:
    """Bubblewrap exits with 137 if the process inside it was killed."""
    with pytest.raises(SandboxLost):
        start(Bubblewrap(tmp_path, bwrap=fake_bubblewrap(tmp_path, end)), ["/bin/true"], cwd=tmp_path)


def fake_bubblewrap(folder: Path, end: str) -> str:
    """A program in place of bubblewrap that ends like this."""
    program = folder / "bwrap"
    program.write_text(f"#!/bin/sh\n{end}\n")
    program.chmod(0o755)
    return str(program)


def test_no_build_runs_without_a_sandbox() -> None:
    with pytest.raises(SandboxUnavailable, match="bubblewrap is not installed"):
        Choice(None, problems=("bubblewrap is not installed.",), allowed=False).check()


@pytest.mark.parametrize("wanted", KINDS)
def test_no_build_runs_if_a_folder_can_not_be_hidden(tmp_path: Path, wanted: str) -> None:
    """For example a data folder inside the virtual environment."""
    inside, problem = Path(sys.prefix) / "lib", choose(wanted, POLICY).problems
    found = choose(wanted, Policy(hidden=(tmp_path, inside))).problems
    assert problem or found[0] == (
        f"With {wanted}, builds could read {inside}, because it is inside {sys.prefix}, which they can read. Move it elsewhere."
    )


def test_the_service_s_folders_are_hidden_inside_visible_ones(tmp_path: Path) -> None:
    """For example a data folder inside /usr or /opt."""
    (tmp_path / "seen" / "data").mkdir(parents=True)
    (tmp_path / "seen" / "data" / "secret").write_text("top-secret")
    workspace = tmp_path / "seen" / "data" / "workspace"
    workspace.mkdir()
    policy = Policy(hidden=(tmp_path / "seen" / "data",), readable=(tmp_path / "seen",))
    chosen = choose("bubblewrap", POLICY)
    if not chosen.allowed:
        pytest.skip("bubblewrap does not work here")
    sandbox = chosen.sandbox(workspace, "a build", policy=policy)
    assert sandbox is not None
    _completed, lines = start(sandbox, ["/bin/sh", "-c", f"ls {tmp_path}/seen/data; echo x > here; cat here"])
    assert lines == ["workspace", "x"]
