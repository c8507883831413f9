"""Starting on a machine that is not ready: one line that says why, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

MANAGE = Path(__file__).parents[2] / "manage.py"


def manage(tmp_path: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command from a folder that is not the project's."""
    env = {"PATH": os.environ["PATH"], "SECRET_KEY": "x", "INTERNAL_SERVICE_SECRET": "s" * 32, "DATA_DIR": str(tmp_path / "data")}
    return subprocess.run(
        [sys.executable, str(MANAGE), *command],
        cwd=tmp_path,
        env={**env, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("", "jobsite: DATABASE_URL is empty"),
        ("sqlite:////does/not/exist.sqlite3", "jobsite: the database can't be used: unable to open database file"),
        ("postgres://a:b@127.0.0.1:1/x", "jobsite: the database can't be used: "),
    ],
)
def test_a_database_that_can_not_be_used_is_one_line(tmp_path: Path, address: str, line: str) -> None:
    done = manage(tmp_path, "migrate", DATABASE_URL=address)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(line)


def test_an_unknown_code_of_a_finding_is_one_line(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", FAILING_FINDINGS="lfs-pointer, nonsense")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "jobsite: FAILING_FINDINGS has the code 'nonsense', which no finding has\n"
    assert manage(tmp_path, "check", FAILING_FINDINGS="lfs-pointer").returncode == 0


def test_the_data_folder_is_made_from_any_folder(tmp_path: Path) -> None:
    done = manage(tmp_path, "migrate", "--verbosity", "0", DATA_DIR=str(tmp_path / "new" / "data"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "new" / "data" / "jobsite.sqlite3").is_file()
