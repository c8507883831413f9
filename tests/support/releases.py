"""Releases of Jobsite in folders beside each other, as they are installed, and its roles as their systemd units start them."""

from __future__ import annotations

import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

BASE_DIR = Path(__file__).parents[2]
UNITS = BASE_DIR / "deploy" / "systemd"
PARTS = ("builds", "jobsite", "templates", "manage.py")
STOP_SECONDS = 120
# Starts a command as systemd starts the service of a socket: its descriptor is 3, and LISTEN_PID is the process itself.
WITH_SOCKET = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


def this_release(folder: Path) -> Path:
    """Install this release in ``folder``."""
    folder.mkdir(parents=True)
    for part in PARTS:
        source = BASE_DIR / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / part)
    return _with_packages(folder)


def release_before(folder: Path) -> Path:
    """Install in ``folder`` the last release without the newest migration. Skips the test where the history does not reach back so far."""
    added = ["log", "-1", "--diff-filter=A", "--format=%H", "--", "builds/migrations/0*.py"]
    newest = _git(*added).stdout.decode().strip()
    archive = _git("archive", f"{newest}^", *PARTS, "deploy/systemd")
    if archive.returncode:
        pytest.skip("the history of this clone does not have the release before the newest migration")
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return _with_packages(folder)


def _git(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *words], cwd=BASE_DIR, capture_output=True, check=False)


def _with_packages(folder: Path) -> Path:
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def unit_command(unit: str) -> str:
    """The command of a unit as the shell gets it."""
    lines = (UNITS / unit).read_text().splitlines()
    line = next(line for line in lines if line.startswith("ExecStart="))
    shell, option, script = shlex.split(line.removeprefix("ExecStart=").replace("$$", "$"))
    assert (shell, option) == ("/bin/sh", "-c")
    return script


class Unit:
    """One role: a process from the release that ``current`` points at when it starts."""

    def __init__(
        self, unit: str, current: Path, environment: Mapping[str, str], log: Path, listening: socket.socket | None = None
    ):
        self._script, self._current, self._environment, self._log = unit_command(unit), current, dict(environment), log
        self._listening = listening
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["/bin/sh", "-c", self._script]
        if self._listening:
            command = [sys.executable, "-c", WITH_SOCKET, str(self._listening.fileno()), *command]
        files = (self._listening.fileno(),) if self._listening else ()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._current, env=self._environment, stdout=log, stderr=log, pass_fds=files, start_new_session=True
            )

    def ask_to_stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        assert self._process
        return self._process.wait(STOP_SECONDS)

    def restart(self) -> None:
        self.ask_to_stop()
        assert self.wait() == 0, self._log.read_text()[-3000:]
        self.start()

    def kill(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
