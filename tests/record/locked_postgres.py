"""A web process whose tables another connection has locked. Run as a program with a DATABASE_URL of PostgreSQL.

It prints one line of JSON: for each locked table and request, the status of the answer, what the answer is, and how long it took.
"""

from __future__ import annotations

import json
import os
import time

import django

django.setup()

import psycopg  # noqa: E402 - Django must be set up first
from django.test import Client  # noqa: E402

from builds.record.waiting import limit_waiting  # noqa: E402

BODY = {"jobId": "a", "uuid": "u", "url": "https://github.com/a/b/blob/main/myst.yml", "parsedDocument": {"title": "T"}}
SUBMISSIONS = "/v1/services/process-journal-submission"
TABLES = ("builds_submission", "builds_build", "builds_statusupdate", "builds_event", "axes_accessattempt", "auth_user")


def main() -> None:
    limit_waiting()
    client = Client(raise_request_exception=False)
    assert client.get("/sign-in/").status_code == 200
    answers = {}
    with psycopg.connect(os.environ["DATABASE_URL"]) as holder:
        for table in TABLES:
            holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            answer = post(client, table)
            answers[table] = (answer.status_code, answer.headers.get("Retry-After"), time.monotonic() - began)
            assert client.get("/sign-in/").status_code == 200, table
            holder.rollback()
    print(json.dumps({"locked": answers, "after": submit(client).status_code}))  # noqa: T201 - for the test


def post(client: Client, table: str):  # type: ignore[no-untyped-def]  # the response of Django's test client
    """A request that needs the table."""
    if table.startswith("builds"):
        return submit(client)
    return client.post("/sign-in/", {"username": "ada", "password": "wrong"})


def submit(client: Client):  # type: ignore[no-untyped-def]
    return client.post(SUBMISSIONS, BODY, content_type="application/json", headers={"X-Internal-Secret": "test-secret"})


if __name__ == "__main__":
    main()
