"""Several hosts as network namespaces on this machine. What each run must show is said in its module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.clock import Clock
from tests.e2e.conftest import BASE_DIR
from tests.hosts.world import can_make_hosts
from tests.support.object_store import is_installed as has_object_store
from tests.support.postgres import is_installed as has_postgres
from tests.support.releases import release_before

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# ``python -m tests.hosts rolling FOLDER 200`` runs it with many more.
SUBMISSIONS = 24


@pytest.fixture(autouse=True)
def _need_hosts() -> None:
    if problem := can_make_hosts():
        pytest.skip(problem)
    if not (has_postgres() and has_object_store()):
        pytest.skip("PostgreSQL or OpenStack Swift is not installed")


def run(*words: str) -> None:
    command = ["unshare", "--net", sys.executable, "-m", "tests.hosts", *words]
    done = subprocess.run(command, cwd=BASE_DIR, capture_output=True, text=True, timeout=2400, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-12_000:]


def test_three_hosts_lose_nothing(tmp_path: Path) -> None:
    if problem := Clock.missing():
        pytest.skip(problem)
    run("three", str(tmp_path))


def test_a_rolling_upgrade_with_a_failover_of_the_database_loses_nothing(tmp_path: Path) -> None:
    release_before(tmp_path / "tried")
    run("rolling", str(tmp_path), str(SUBMISSIONS))
