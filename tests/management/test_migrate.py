"""Hosts that migrate one PostgreSQL database at the same time, as separate processes on a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from builds.management.commands.migrate import WAITING
from builds.record.migration_lock import KEY, migration_lock
from builds.record.schema import _known
from tests.e2e.conftest import BASE_DIR
from tests.support.postgres import PostgreSQL, postgres


@pytest.fixture
def server() -> Iterator[PostgreSQL]:
    with postgres() as running:
        yield running


def start_host(folder: Path, address: str) -> subprocess.Popen[str]:
    own = {"PATH": os.environ["PATH"], "HOME": str(folder), "DATA_DIR": str(folder / "data"), "DATABASE_URL": address}
    own |= {"SECRET_KEY": "any", "INTERNAL_SERVICE_SECRET": "any", "REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, str(BASE_DIR / "manage.py"), "migrate", "-v", "0"]
    return subprocess.Popen(command, env=own, stderr=subprocess.PIPE, text=True)


def read_line(host: subprocess.Popen[str]) -> str:
    assert host.stderr
    return host.stderr.readline().strip()


@pytest.mark.slow
def test_hosts_that_start_at_once_migrate_one_after_the_other(server: PostgreSQL, tmp_path: Path) -> None:
    with psycopg.connect(server.url, autocommit=True) as database:
        database.execute("SELECT pg_advisory_lock(%s)", [KEY])
        hosts = [start_host(tmp_path / name, server.url) for name in ("a", "b")]
        try:
            assert [read_line(host) for host in hosts] == [WAITING, WAITING]
            database.execute("SELECT pg_advisory_unlock(%s)", [KEY])
            said = [host.communicate(timeout=300)[1] for host in hosts]
        finally:
            for host in hosts:
                host.kill()
                host.wait()
        assert (said, [host.returncode for host in hosts]) == (["", ""], [0, 0])
        applied = {(app, name) for app, name in database.execute("SELECT app, name FROM django_migrations").fetchall()}
    assert applied == set(_known())


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL has the lock; make postgres runs this")
def test_a_process_that_goes_on_releases_the_lock() -> None:
    """As ``serve``, which migrates and then runs for months."""
    other = connection.copy()

    def is_free() -> bool:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s) AND pg_advisory_unlock(%s)", [KEY, KEY])
            return bool(cursor.fetchone()[0])

    try:
        with migration_lock(connection, on_wait=lambda: pytest.fail("nothing else migrates")):
            assert not is_free()
        assert is_free()
    finally:
        other.close()
