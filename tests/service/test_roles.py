"""One command per role: help, a clean end on SIGTERM, and one line where it can't start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import BASE_DIR
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

ROLES = {
    "serve": ("serve",),
    "web": ("web",),
    "worker": ("worker",),
    "workers": ("worker", "--concurrency", "2"),
    "outbox": ("outbox",),
    "reconciler": ("reconciler",),
}


def command(*words: str) -> list[str]:
    return [sys.executable, str(BASE_DIR / "manage.py"), *words]


def environment(folder: Path, valkey: str, **changes: str) -> dict[str, str]:
    own = {"PATH": os.environ["PATH"], "HOME": str(folder), "DATA_DIR": str(folder / "data"), "REDIS_URL": valkey}
    own |= {"SECRET_KEY": "any", "INTERNAL_SERVICE_SECRET": "test-secret", "HOST": "127.0.0.1", "PORT": str(free_port())}
    return own | {"DESCI_SERVER_URL": "http://127.0.0.1:1", "WORKERS": "1", "WEB_WORKERS": "1", "STOP_GRACE": "1", **changes}


def run(words: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROLES)
def test_a_role_ends_with_0_on_sigterm_and_leaves_nothing(tmp_path: Path, valkey: str, name: str) -> None:
    variables = environment(tmp_path, valkey)
    assert run(("migrate", "-v", "0"), variables).returncode == 0
    started = subprocess.Popen(command(*ROLES[name]), env=variables, stderr=subprocess.PIPE, text=True)
    try:
        wait_until_it_handles_signals(started)
        below = psutil.Process(started.pid).children(recursive=True)
        started.send_signal(signal.SIGTERM)
        _, said = started.communicate(timeout=120)
    finally:
        started.kill()
    assert started.returncode == 0, said
    assert "Traceback" not in said
    assert not [child for child in below if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def wait_until_it_handles_signals(started: subprocess.Popen[str]) -> None:
    """And, if it starts programs, until those do, too."""
    deadline = time.monotonic() + 120
    while True:
        assert started.poll() is None, started.communicate()[1]
        processes = [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]
        if all(map(_handles_signals, processes)):
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _handles_signals(process: psutil.Process) -> bool:
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return True
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught & 1 << signal.SIGTERM - 1)


@pytest.mark.slow
def test_each_role_explains_itself(tmp_path: Path) -> None:
    for words in ROLES.values():
        done = run((words[0], "--help"), environment(tmp_path, "redis://127.0.0.1:1"))
        assert (done.returncode, "SIGTERM" in done.stdout, "Exit code 0" in " ".join(done.stdout.split())) == (0, True, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "changes", "line"),
    [
        (("outbox",), {"LEASE_SECONDS": "soon"}, "jobsite: LEASE_SECONDS must be a whole number"),
        (("worker",), {"EXPORTS_STORAGE": "ftp://exports"}, "jobsite: EXPORTS_STORAGE must be a bucket like s3://bucket"),
        (
            ("worker",),
            {"EXPORTS_S3_ACCESS_KEY": "a"},
            "jobsite: EXPORTS_S3_ACCESS_KEY and EXPORTS_S3_SECRET_KEY must be set together",
        ),
        (("worker",), {}, "CommandError: The database lacks migrations of this release"),
    ],
)
def test_a_role_that_can_not_start_says_why_in_one_line(
    tmp_path: Path, words: Sequence[str], changes: dict[str, str], line: str
) -> None:
    done = run(words, environment(tmp_path, "redis://127.0.0.1:1", **changes))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.slow
def test_a_worker_without_a_queue_store_says_so_in_one_line(tmp_path: Path) -> None:
    changed = environment(tmp_path, "redis://127.0.0.1:1")
    assert run(("migrate", "--verbosity=0"), changed).returncode == 0
    done = run(("worker",), changed)
    assert done.stderr.startswith("CommandError: The queue store can't be reached")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(("web",), environment(tmp_path, "redis://127.0.0.1:1", PORT=str(taken.getsockname()[1])))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "can't be used" in done.stderr


@pytest.mark.parametrize("number", ["0", "many", "257", "-1"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(tmp_path: Path, number: str) -> None:
    done = run(("worker", f"--concurrency={number}"), environment(tmp_path, "redis://127.0.0.1:1"))
    assert (done.returncode, "must be a number from 1 to 256" in done.stderr) == (2, True)
