"""A host whose clock is wrong by an hour: its leases, due times and reservations mean the same to every other host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tests.e2e.clock import Clock
from tests.e2e.conftest import BASE_DIR
from tests.support.postgres import postgres

pytestmark = pytest.mark.slow
AN_HOUR = 3600


@pytest.mark.skipif(bool(Clock.missing()), reason=Clock.missing() or "there is a clock")
def test_every_host_counts_by_the_databases_clock(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    with postgres() as server:
        environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": server.url,
            "DATA_DIR": str(tmp_path / "data"),
            "SECRET_KEY": "any",
            "DJANGO_SETTINGS_MODULE": "jobsite.settings",
            "REDIS_URL": "redis://127.0.0.1:1",
            **clock.environment,
        }
        run = {"env": environment, "check": True, "stdout": subprocess.PIPE, "cwd": BASE_DIR}
        subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], **run)  # type: ignore[call-overload]
        for shift in (-AN_HOUR, AN_HOUR):
            clock.step_to(shift)
            printed = subprocess.run([sys.executable, "-m", "tests.service.wrong_clock"], **run)  # type: ignore[call-overload]
            host = json.loads(printed.stdout)
            assert host["wall"] - time.time() == pytest.approx(shift, abs=600), "its clock is wrong"
            assert host["lease"] - time.time() == pytest.approx(0, abs=600)
            assert (len(host["reserved"]), host["lost"], host["due"]) == (1, 0, 0)
            with psycopg.connect(server.url) as database:
                idle = "SELECT count(*) FROM builds_statusupdate WHERE sending_until < now()"
                late = "SELECT count(*) FROM builds_statusupdate WHERE next_try_at > now() + interval '1 minute'"
                counts = [database.execute(query).fetchone() for query in (idle, late)]
                database.execute("TRUNCATE builds_submission CASCADE")
            assert counts == [(0,), (0,)], "another outbox neither sends what this one sends, nor waits"
