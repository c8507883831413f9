"""A database that another program has locked, as the web process meets it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from django.test import Client

from builds.record.waiting import WEB_SECONDS, limit_waiting
from tests.support.postgres import postgres

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def locked(settings: Any) -> Iterator[Client]:
    """A client of a service whose database is locked for writing."""
    if connection.vendor != "sqlite":
        pytest.skip("needs SQLite")
    before = dict(connections.settings["default"]["OPTIONS"])
    limit_waiting(0.1)
    holder = sqlite3.connect(connection.settings_dict["NAME"])
    holder.execute("BEGIN IMMEDIATE")
    client = Client(raise_request_exception=False)
    yield client
    holder.close()
    connections.settings["default"]["OPTIONS"] = connection.settings_dict["OPTIONS"] = before
    connection.close()


def test_a_submission_is_answered_503(locked: Client) -> None:
    body = {"jobId": "a", "uuid": "u", "url": "https://github.com/a/b/blob/main/myst.yml", "parsedDocument": {"title": "T"}}
    address, secret = "/v1/services/process-journal-submission", {"X-Internal-Secret": "test-secret"}
    answer = locked.post(address, body, content_type="application/json", headers=secret)
    assert (answer.status_code, answer.json()["ok"], answer["Retry-After"]) == (503, False, "5")
    assert locked.get("/readyz").status_code == 503


def test_the_sign_in_page_is_shown_and_a_password_is_answered_503(locked: Client) -> None:
    assert locked.get("/sign-in/").status_code == 200
    answer = locked.post("/sign-in/", {"username": "ada", "password": "wrong"})
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert "can’t use its database at the moment" in answer.text


def test_a_web_process_waits_for_less_than_two_seconds() -> None:
    before = dict(connections.settings["default"]["OPTIONS"])
    try:
        limit_waiting()
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA busy_timeout")
                assert cursor.fetchone() == (WEB_SECONDS * 1000,)
        assert WEB_SECONDS < 2
    finally:
        connections.settings["default"]["OPTIONS"] = connection.settings_dict["OPTIONS"] = before
        connection.close()


@pytest.mark.slow
@pytest.mark.usefixtures("must_end")
def test_a_locked_table_of_postgresql_is_answered_503(tmp_path: Path) -> None:
    with postgres() as server:
        environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": server.url,
            "DATA_DIR": str(tmp_path),
            "SECRET_KEY": "any",
            "INTERNAL_SERVICE_SECRET": "test-secret",
            "DJANGO_SETTINGS_MODULE": "jobsite.settings",
            "REDIS_URL": "redis://127.0.0.1:1",
            "ALLOWED_HOSTS": "testserver",
        }
        run = {"env": environment, "check": True, "stdout": subprocess.PIPE}
        subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], **run)  # type: ignore[call-overload]
        printed = subprocess.run([sys.executable, "-m", "tests.record.locked_postgres"], **run).stdout  # type: ignore[call-overload]
    answers = json.loads(printed)
    assert {(status, again) for status, again, _seconds in answers["locked"].values()} == {(503, "5")}
    assert all(seconds >= WEB_SECONDS for _status, _again, seconds in answers["locked"].values())
    assert answers["after"] == 202
