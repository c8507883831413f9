"""The systemd units in deploy/ pass systemd's own check, and run commands that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import get_commands

from tests.support.releases import BASE_DIR, UNITS, unit_command

PATHS = [*UNITS.iterdir(), BASE_DIR / "deploy" / "jobsite.service", BASE_DIR / "deploy" / "jobsite.socket"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_every_unit_passes_the_check_of_systemd(tmp_path: Path) -> None:
    for path in PATHS:
        # Templates are checked as instances; the folder of an installation does not exist here.
        text = path.read_text().replace("/opt/jobsite/current/.venv/bin/python", sys.executable)
        (tmp_path / path.name.replace("@.", "@1.")).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_every_role_is_a_management_command_of_the_current_release(path: Path) -> None:
    command = re.fullmatch(r'exec "\$\(pwd -P\)/\.venv/bin/python" manage\.py ([a-z]+)', unit_command(path.name))
    assert command
    assert get_commands()[command[1]] == "builds"


def test_a_worker_has_time_to_finish() -> None:
    """systemd kills it only after STOP_GRACE, 60 s unless it is set, and the 35 s that a build takes to stop."""
    text = (UNITS / "jobsite-worker@.service").read_text()
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)[0]) > 60 + 35
