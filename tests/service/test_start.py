"""What is checked before a program of the service starts."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from builds.service.start import make_private
from tests.project.test_start import MANAGE, manage
from tests.support.nobody import NOBODY
from tests.support.ports import free_port

NEWER = "INSERT INTO django_migrations (app, name, applied) VALUES ('builds', '9999_future', '2026-01-01')"


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):o}"


def test_the_data_folder_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    files = [tmp_path / "jobsite.sqlite3", tmp_path / "queue" / "password"]
    for path in files:
        path.touch()
        path.chmod(0o664)
    (tmp_path / "link").symlink_to("/etc")
    tmp_path.chmod(0o755)
    make_private(tmp_path)
    assert [mode(path) for path in (tmp_path, tmp_path / "queue", *files)] == ["700", "700", "600", "600"]
    (tmp_path / "later").touch()
    assert mode(tmp_path / "later") == "600"
    assert mode(Path("/etc")) == "755", "what a link points to is not ours"


AS_NOBODY = """
import os, sys
from pathlib import Path
from builds.service.start import make_private
os.setuid(int(sys.argv[2]))
make_private(Path(sys.argv[1]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of another user")
def test_a_data_folder_of_another_user_is_refused_with_one_line() -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "SECRET_KEY": "x", "DJANGO_SETTINGS_MODULE": "jobsite.settings"}
    command = [sys.executable, "-c", AS_NOBODY, str(folder), str(NOBODY)]
    child = subprocess.run(command, cwd=MANAGE.parent, env=environment, capture_output=True, text=True, check=False)
    folder.rmdir()
    assert child.stderr.splitlines()[-1].endswith(
        f"CommandError: Other users can use {folder}, and that can't be changed. Run as root: chmod -R go= {folder}; or set DATA_DIR."
    )


@pytest.mark.slow
def test_a_program_says_that_the_schema_does_not_fit(tmp_path: Path) -> None:
    for command in ("web", "worker", "outbox", "reconciler"):
        done = manage(tmp_path, command)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert done.stderr.startswith("CommandError: The database lacks migrations of this release: ")
        assert done.stderr.endswith("Run: manage.py migrate\n")
    assert manage(tmp_path, "migrate", "--verbosity", "0").returncode == 0
    with sqlite3.connect(tmp_path / "data" / "jobsite.sqlite3") as database:
        database.execute(NEWER)
    for command in ("worker", "serve"):
        done = manage(tmp_path, command, PORT=str(free_port()))
        assert "CommandError: The database has migrations that this release does not know: builds 9999_future." in done.stderr
    shutil.rmtree(tmp_path / "data")
