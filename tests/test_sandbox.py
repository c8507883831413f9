"""The real sandbox of this machine, with real programs in it."""

from __future__ import annotations

import os
import re
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

from builds import ceilings, process, process_tree
from builds.ceilings import Ceilings
from builds.errors import SandboxLost, SandboxUnavailable, ToolMissing
from builds.sandbox import Mode, Policy, Sandbox, landlock_version
from builds.sandbox_choice import LANDLOCK_ALONE, Choice, choose
from builds.stages import Stop

POLICY = Policy()
MODES = [wanted for wanted in ("bubblewrap", "landlock") if choose(wanted, POLICY).allowed]
pytestmark = pytest.mark.skipif(not MODES, reason="neither bubblewrap nor Landlock can shut anything in here")

Run = Callable[..., tuple[process.Completed, list[str]]]
UNMEASURED = "moved its folders about so fast that what they hold could not be measured."


@pytest.fixture(params=MODES or ["none"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs a shell's script in a sandbox whose workspace is ``tmp_path/workspace``."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()

    def run_in(script: str, *, ceilings: Ceilings | None = None, **changes: Any) -> tuple[process.Completed, list[str]]:
        limits = (ceilings or Ceilings()).per_process
        sandbox = choose(request.param, POLICY).sandbox(workspace, "a build", limits=limits)
        assert sandbox is not None
        return start(sandbox, ["/bin/sh", "-c", script], ceilings=ceilings, **changes)

    return run_in


def start(sandbox: Sandbox, argv: list[str], **changes: Any) -> tuple[process.Completed, list[str]]:
    lines: list[str] = []
    options: dict[str, Any] = {
        "cwd": sandbox.workspace,
        "env": {"PATH": "/usr/local/bin:/usr/bin:/bin"},
        "on_line": lambda stream, text: lines.append(text),
        "deadline_seconds": 30,
        "stop": Stop(),
        "marker": str(sandbox.workspace),
        "grace_seconds": 0.5,
        "sandbox": sandbox,
    }
    sandbox.hand_over()
    return process.run(argv, **{**options, **changes}), lines


def test_it_reaches_no_socket_of_the_machine_s_programs(run: Run, tmp_path: Path) -> None:
    """A database's, a session's, Docker's: whoever may write to it may ask."""
    ask = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1]); print('REACHED', s.recv(9))"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        (tmp_path / "s").chmod(0o777)
        listening.listen()
        completed, lines = run(f'{sys.executable} -I -c "{ask}" {tmp_path / "s"}')
    assert (completed.exit_code, [line for line in lines if "REACHED" in line]) == (1, [])
    assert any(word in lines[-1] for word in ("FileNotFoundError", "Address family not supported"))


def test_it_writes_in_its_workspace_and_its_exit_code_is_told(run: Run, tmp_path: Path) -> None:
    completed, lines = run("pwd; echo made > made; exit 3")
    assert (completed.exit_code, lines) == (3, [str(tmp_path / "workspace")])
    assert (tmp_path / "workspace" / "made").read_text() == "made\n"


def test_it_is_an_ordinary_user_without_any_capability(run: Run) -> None:
    _completed, lines = run("id -u; grep -E 'Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs' /proc/self/status | cut -f2")
    assert lines[0] != "0"
    assert lines[1:] in ([*["0" * 16] * 4, "1"], ["grep: /proc/self/status: Permission denied"])


def test_what_it_must_not_see_it_does_not(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERNAL_SERVICE_SECRET", "top-secret")
    (tmp_path / "neighbour").write_text("top-secret")
    script = f"cat {tmp_path}/neighbour {__file__} /etc/shadow /root/.profile; cat /proc/*/environ; env; cat /proc/{os.getpid()}/environ"
    _completed, lines = run(script)
    assert "top-secret" not in "\n".join(lines)
    assert "INTERNAL" not in "\n".join(lines)
    assert str([line for line in lines if "the real sandbox" in line.lower()]) == "[]"


def test_it_can_write_nowhere_else(run: Run, tmp_path: Path) -> None:
    """Below a /tmp of its own it may."""
    places = [*map(Path, ("/", "/usr", "/etc", "/dev")), tmp_path, Path(sys.prefix), Path.home()]
    _completed, lines = run(f"for at in {' '.join(map(str, places))}; do echo x > $at/jobsite-test && echo $at; done")
    assert [line for line in lines if "jobsite-test" not in line and not line.startswith("/tmp/")] == []
    assert [place for place in places if (place / "jobsite-test").exists()] == []


def test_its_folders_for_temporary_files_are_its_own(tmp_path: Path) -> None:
    """Python's processes share locks by /dev/shm."""
    chosen = choose("bubblewrap", POLICY)
    if not chosen.allowed:
        pytest.skip("bubblewrap can't be used here")
    sandbox = chosen.sandbox(tmp_path, "a build", policy=Policy(tmp_bytes=1 << 20))
    assert sandbox is not None
    script = "for at in /tmp /dev/shm; do echo x > $at/x && cat $at/x; head -c 2000000 /dev/zero > $at/y || wc -c < $at/y; done"
    _completed, lines = start(sandbox, ["/bin/sh", "-c", script])
    assert [line for line in lines if "No space left" not in line] == ["x", str((1 << 20) - 4096)] * 2
    assert not Path("/tmp/x").exists()


@pytest.mark.parametrize("protocol", [socket.IPPROTO_TCP, 262], ids=["TCP", "MPTCP"])
def test_it_reaches_no_socket_of_this_machine(run: Run, tmp_path: Path, protocol: int) -> None:
    connect = f"socket.socket(socket.AF_INET, socket.SOCK_STREAM, {protocol}).connect(('127.0.0.1', int(sys.argv[1])))"
    code = f"import socket, sys\ntry: {connect}; print('reached')\nexcept OSError: print('no')"
    (tmp_path / "workspace" / "reach.py").write_text(code)
    with socket.create_server(("127.0.0.1", 0)) as server:
        _completed, lines = run(f"{sys.executable} -I reach.py {server.getsockname()[1]}")
    assert lines == ["no"]


def test_it_signals_nobody(run: Run) -> None:
    completed, lines = run(f"kill -TERM {os.getpid()}; kill -KILL {os.getppid()}; echo end")
    assert (completed.exit_code, lines[-1]) == (0, "end")


def test_a_fork_bomb_is_held(run: Run) -> None:
    completed, lines = run("for i in $(seq 300); do sleep 60 & done; echo all", ceilings=Ceilings(processes=50))
    assert "all" not in lines
    assert completed.hit is not None or "ork" in str(lines)


def test_a_memory_hog_of_many_is_named_with_the_figure(run: Run) -> None:
    hog = f"{sys.executable} -I -c 'import time; a = bytearray(60_000_000); time.sleep(30)' &"
    completed, _lines = run(f"{hog * 8} sleep 30", ceilings=Ceilings(memory=300_000_000))
    assert completed.hit is not None
    assert completed.hit.text == "used more than the 300 MB of memory that it may."


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
SENT = (
    "a, b = socket.socketpair(); os.write(file, bytes(size)); socket.send_fds(a, [b'x'], [file]); os.close(file); time.sleep(3)"
)


def hiding(code: str) -> str:
    """A shell's script that runs Python."""
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
def test_what_is_hidden_on_the_disk_is_counted_too(run: Run, script: str) -> None:
    completed, lines = run(script, ceilings=Ceilings(workspace=10_000_000))
    assert completed.hit is not None, lines
    assert completed.hit.text == "wrote more than the 10 MB that it may have on the disk."


@pytest.mark.parametrize(("lost", "is_hit"), [(50_000_000, True), (5_000_000, False)])
def test_what_nobody_can_measure_is_what_the_disk_has_lost(
    run: Run, monkeypatch: pytest.MonkeyPatch, lost: int, is_hit: bool
) -> None:
    """A file that was sent through a socket, and not taken: it is open nowhere."""
    free = chain([100_000_000], repeat(100_000_000 - lost))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=next(free)))
    completed, _lines = run(hiding(SENT), ceilings=Ceilings(workspace=10_000_000))
    assert (completed.hit is not None) is is_hit


def test_too_much_on_the_disk_is_named(run: Run) -> None:
    completed, _lines = run("head -c 50000000 /dev/zero > big; sleep 30", ceilings=Ceilings(workspace=10_000_000))
    assert completed.hit is not None
    assert completed.hit.text == "wrote more than the 10 MB that it may have on the disk."


@pytest.mark.parametrize(
    ("fails", "told"),
    [("mkdir once 2> /dev/null", "wrote more than the 10 MB that it may have on the disk."), ("true", UNMEASURED)],
    ids=["once", "always"],
)
def test_what_can_not_be_measured_is_measured_again_but_not_for_ever(
    run: Run, monkeypatch: pytest.MonkeyPatch, fails: str, told: str
) -> None:
    """As du tells nothing where a folder is moved while it looks."""
    monkeypatch.setattr(ceilings, "MEASURE", f'cd "$1"; if {fails}; then echo room; echo files; exit; fi; {ceilings.MEASURE}')
    monkeypatch.setattr(ceilings, "MEASURE_SECONDS", 0.01)
    monkeypatch.setattr(ceilings, "MEASURE_SHARE", 1)
    completed, _lines = run("head -c 50000000 /dev/zero > big; sleep 30", ceilings=Ceilings(workspace=10_000_000))
    assert completed.hit is not None
    assert completed.hit.text == told


def test_too_many_files_are_named(run: Run) -> None:
    completed, _lines = run("mkdir f; cd f; seq 3000 | xargs touch; sleep 30", ceilings=Ceilings(files=1000))
    assert completed.hit is not None
    assert completed.hit.text == "made more than the 1000 files that it may."


def test_a_file_that_grows_too_large_is_cut(run: Run, tmp_path: Path) -> None:
    completed, _lines = run("head -c 5000000 /dev/zero > big", ceilings=Ceilings(file=1_000_000))
    assert completed.exit_code == 128 + 25
    assert (tmp_path / "workspace" / "big").stat().st_size == 1_000_000


def test_it_gets_its_grace_and_then_nothing_is_left(run: Run, tmp_path: Path) -> None:
    script = "trap 'echo asked; exit 7' TERM; echo started; setsid sleep 61 & while :; do sleep 0.05; done"
    completed, lines = run(script, deadline_seconds=3, grace_seconds=10)
    # The shell may also tell that its sleep was ended.
    assert (completed.timed_out, [line for line in lines if line in ("started", "asked")]) == (True, ["started", "asked"])
    assert process_tree.strays().get(str(tmp_path / "workspace")) is None


def test_what_ignores_the_request_is_killed(run: Run, tmp_path: Path) -> None:
    started = time.monotonic()
    completed, _lines = run("trap '' TERM HUP INT; while :; do sleep 0.05; done", deadline_seconds=1)
    assert completed.timed_out
    assert time.monotonic() - started < 25
    assert process_tree.strays().get(str(tmp_path / "workspace")) is None


def test_a_missing_program_is_named_as_without_a_sandbox(tmp_path: Path) -> None:
    sandbox = choose("require", POLICY).sandbox(tmp_path, "a build")
    assert sandbox is not None
    with pytest.raises(ToolMissing, match=r"no-such-program.*No such file"):
        start(sandbox, ["no-such-program"])


def test_a_sandbox_that_can_not_be_made_is_no_failed_command(tmp_path: Path) -> None:
    sandbox = Sandbox(Mode.BUBBLEWRAP, tmp_path, bwrap=choose("require", POLICY).bwrap)
    broken = replace(sandbox, workspace=tmp_path / "gone")
    with pytest.raises(SandboxUnavailable):
        start(broken, ["/bin/true"], cwd=tmp_path)


@pytest.mark.parametrize("end", ["kill -KILL $$", "exit 137"])
def test_a_sandbox_that_is_killed_before_anything_has_begun_is_no_failed_one(tmp_path: Path, end: str) -> None:
    """137 is bubblewrap's own word for what was killed inside it."""
    with pytest.raises(SandboxLost):
        start(Sandbox(Mode.BUBBLEWRAP, tmp_path, bwrap=killed(tmp_path, end)), ["/bin/true"], cwd=tmp_path)


def killed(folder: Path, end: str) -> str:
    """A bubblewrap that ends like this."""
    program = folder / "bwrap"
    program.write_text(f"#!/bin/sh\n{end}\n")
    program.chmod(0o755)
    return str(program)


def test_without_any_sandbox_no_build_may_run() -> None:
    with pytest.raises(SandboxUnavailable, match="bubblewrap is not installed"):
        Choice(Mode.NONE, problems=("bubblewrap is not installed.",), allowed=False).check()


def test_where_roots_builds_could_not_enter_a_folder_that_is_said(tmp_path: Path) -> None:
    if os.geteuid() != 0 or landlock_version() < LANDLOCK_ALONE:
        pytest.skip("only root's builds run as somebody else, and only Landlock alone leaves folders as they are")
    tmp_path.chmod(0o700)
    told = choose("landlock", Policy(hidden=(tmp_path,))).problems[0]
    assert re.fullmatch(r"As root, builds run as another user, and with Landlock alone /\S+ is closed to that: .*", told)


@pytest.mark.parametrize("wanted", ["bubblewrap", "landlock"])
def test_where_a_folder_could_not_be_hidden_no_build_is_run(tmp_path: Path, wanted: str) -> None:
    """As with a data folder in the virtual environment; or in /usr, where Landlock alone shuts in."""
    inside, problem = Path(sys.prefix) / "lib", choose(wanted, POLICY).problems
    told = choose(wanted, Policy(hidden=(tmp_path, inside))).problems
    assert problem or told[0] == (
        f"With {wanted} builds could read {inside}, because it lies in {sys.prefix}, which they may read: put it elsewhere."
    )
    if wanted == "landlock":
        told = choose(wanted, Policy(hidden=(tmp_path / "data",), readable=(tmp_path,))).problems
        assert problem or told[0].startswith(f"With landlock builds could read {tmp_path}/data, because it lies in {tmp_path}, ")


def test_folders_of_the_service_are_hidden_where_they_lie_inside_what_is_seen(tmp_path: Path) -> None:
    """As with a data folder below /usr or /opt."""
    (tmp_path / "seen" / "data").mkdir(parents=True)
    (tmp_path / "seen" / "data" / "secret").write_text("top-secret")
    workspace = tmp_path / "seen" / "data" / "workspace"
    workspace.mkdir()
    policy = Policy(hidden=(tmp_path / "seen" / "data",), readable=(tmp_path / "seen",))
    chosen = choose("bubblewrap", POLICY)
    if not chosen.allowed:
        pytest.skip("bubblewrap can't be used here")
    sandbox = chosen.sandbox(workspace, "a build", policy=policy)
    assert sandbox is not None
    _completed, lines = start(sandbox, ["/bin/sh", "-c", f"ls {tmp_path}/seen/data; echo x > here; cat here"])
    assert lines == ["workspace", "x"]
