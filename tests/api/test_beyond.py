"""The endpoints beside the contract's: status, cancel, retry, log, readiness, the description."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from builds import lifecycle, workers
from builds.errors import CommandFailed
from builds.logs import LogWriter
from builds.models import Build, Mode, State, Submission
from builds.queue_models import Worker
from tests.api.conftest import SUBMISSIONS, ApiClient

pytestmark = pytest.mark.django_db(transaction=True)

JOB = f"{SUBMISSIONS}/myst-import-1"
CAUSE = CommandFailed("Failed to build the repo files: it broke.", file="index.md", line=3, log_line=7).cause


def claimed() -> Build:
    build = lifecycle.claim(str(Submission.objects.get().newest_build().pk), worker="w")
    assert build is not None
    return build


def status(api: ApiClient) -> dict[str, Any]:
    data: dict[str, Any] = api.call("GET", JOB).json()["data"]
    return data


def test_a_queued_submission(api: ApiClient) -> None:
    api.submit()
    told = status(api)
    expected = {"jobId": "myst-import-1", "uuid": "abc123.", "state": "queued", "stage": None, "progress": None, "cause": None}
    assert {name: told[name] for name in expected} == expected
    assert told["link"].startswith("http")
    assert [(attempt["number"], attempt["state"], attempt["mode"]) for attempt in told["attempts"]] == [(1, "queued", "latest")]


def test_a_failed_submission_says_why(api: ApiClient) -> None:
    api.submit()
    build = claimed()
    lifecycle.pin(build, commit="c" * 40, ref="main", path="myst.yml")
    lifecycle.enter_stage(build, "build")
    lifecycle.fail(build, CAUSE, stage="build")
    told = status(api)
    assert (told["state"], told["stage"], told["commit"]) == ("failed", "build", "c" * 40)
    assert told["commitLink"] == f"https://github.com/a/b/commit/{'c' * 40}"
    assert told["cause"] == {
        "fault": "manuscript",
        "code": "build-failed",
        "sentence": "Failed to build the repo files: it broke.",
        "advice": CommandFailed.advice,
        "file": "index.md",
        "line": 3,
        "logLine": 7,
    }


def test_the_status_costs_the_same_however_many_attempts(api: ApiClient, django_assert_num_queries: Any) -> None:
    api.submit()
    for _ in range(3):
        build = claimed()
        lifecycle.enter_stage(build, "fetch")
        lifecycle.fail(build, CAUSE)
        lifecycle.retry(build.submission, Mode.LATEST, actor="ed")
        with django_assert_num_queries(4):
            assert status(api)["state"] == "queued"


def test_cancel_while_queued_is_at_once(api: ApiClient) -> None:
    api.submit()
    answer = api.call("POST", f"{JOB}/cancel", {"reason": "Wrong branch."})
    assert (answer.status_code, answer.json()["data"]["state"]) == (202, "cancelled")
    build = Build.objects.get()
    assert (build.cancel_requested_by, build.cancel_reason) == ("the API", "Wrong branch.")
    again = api.call("POST", f"{JOB}/cancel", {})
    assert (again.status_code, again.json()["ok"]) == (409, False)


def test_cancel_while_running_is_shown_as_a_wish(api: ApiClient) -> None:
    api.submit()
    claimed()
    for _ in range(2):
        data = api.call("POST", f"{JOB}/cancel", {}).json()["data"]
        assert (data["state"], data["cancelRequested"]) == ("running", True)


@pytest.mark.parametrize("body", [{"reason": 7}, {"reason": "x" * 1001}])
def test_a_bad_reason_is_refused(api: ApiClient, body: dict[str, Any]) -> None:
    api.submit()
    answer = api.call("POST", f"{JOB}/cancel", body)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["reason"])


@pytest.mark.parametrize(
    ("mode", "code"), [("latest", 202), ("clean", 202), ("same-commit", 409), ("deliver", 409), ("", 400), ("x", 400)]
)
def test_retry_by_mode(api: ApiClient, mode: str, code: int) -> None:
    api.submit()
    lifecycle.fail(claimed(), CAUSE)
    answer = api.call("POST", f"{JOB}/retry", {"mode": mode})
    assert (answer.status_code, answer.json()["ok"]) == (code, code == 202)
    assert Build.objects.count() == (2 if code == 202 else 1)


def test_retry_of_an_unfinished_submission_is_refused(api: ApiClient) -> None:
    api.submit()
    answer = api.call("POST", f"{JOB}/retry", {})
    assert answer.status_code == 409
    assert "cancel it first" in answer.json()["message"]


def test_the_log_is_text_from_a_line_on(api: ApiClient) -> None:
    api.submit()
    build = claimed()
    writer = LogWriter(build, lambda text: text)
    for number in range(1, 6):
        writer.line(f"line {number} ü")
    writer.flush()
    answer = api.call("GET", f"{JOB}/log?from=4")
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert b"".join(answer.streaming_content).decode() == "line 4 ü\nline 5 ü\n"
    assert answer["X-Next-Line"] == "6"
    assert b"".join(api.call("GET", f"{JOB}/log?from=6").streaming_content) == b""
    assert b"".join(api.call("GET", f"{JOB}/log?attempt=1").streaming_content).startswith(b"line 1")


@pytest.mark.parametrize(
    ("query", "code"), [("from=0", 400), ("from=x", 400), ("from=-1", 400), ("attempt=9", 404), ("attempt=x", 400)]
)
def test_a_log_that_is_not_there(api: ApiClient, query: str, code: int) -> None:
    api.submit()
    answer = api.call("GET", f"{JOB}/log?{query}")
    assert (answer.status_code, answer.json()["ok"]) == (code, False)


def test_ready(api: ApiClient) -> None:
    answer = api.call("GET", "/readyz", secret=None)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "isolation": []})


def test_ready_says_how_builds_are_shut_in(api: ApiClient) -> None:
    v1, landlock = {"sandbox": "bubblewrap", "cgroups": "v1"}, {"sandbox": "landlock", "cgroups": "none"}
    for name, mode in {"a:1": v1, "a:2": v1, "b:1": landlock, "of an earlier release:1": {}}.items():
        workers.sign(Worker(name=name, host="host", pid=1, started_at=timezone.now(), **mode))
    workers.sign(Worker(name="ends:1", host="host", pid=1, started_at=timezone.now(), ending=True, **landlock))
    assert api.call("GET", "/readyz", secret=None).json()["isolation"] == [{**v1, "workers": 2}, {**landlock, "workers": 1}]


def test_without_a_database_it_is_not_ready_and_takes_nothing(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_database(*args: object, **kwargs: object) -> None:
        raise OperationalError("no such host")

    monkeypatch.setattr("builds.readiness.transaction.atomic", no_database)
    monkeypatch.setattr(lifecycle, "submit", no_database)
    for answer in (api.call("GET", "/readyz"), api.submit()):
        assert (answer.status_code, answer.json()["ok"], answer["Retry-After"]) == (503, False, "5")


def test_a_database_that_can_only_be_read_takes_nothing(api: ApiClient) -> None:
    on, off = {
        "sqlite": ("PRAGMA query_only=1", "PRAGMA query_only=0"),
        "postgresql": ("SET default_transaction_read_only=on", "SET default_transaction_read_only=off"),
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(on)
        try:
            answers = [api.submit(), api.call("GET", "/readyz")]
        finally:
            cursor.execute(off)
    assert [answer.status_code for answer in answers] == [503, 503]
    assert [int(answer.headers["Retry-After"]) > 0 for answer in answers] == [True, True]
    assert not Submission.objects.exists()
    assert api.submit().status_code == 202


def test_with_a_full_disk_it_is_not_ready_and_takes_nothing(api: ApiClient, settings: Any) -> None:
    settings.DISK_RESERVE = 1 << 60
    for answer in (api.call("GET", "/readyz"), api.submit()):
        assert (answer.status_code, answer.json()["ok"], answer["Retry-After"]) == (503, False, "5")
        assert "are free in the data folder" in answer.json()["message"]
    assert not Submission.objects.exists()


def test_the_description_is_served_to_anybody(api: ApiClient) -> None:
    answer: Any = api.call("GET", "/v1/schema?format=json", secret=None)
    paths = answer.json()["paths"]
    names = [path.removeprefix(SUBMISSIONS) for path in paths]
    assert names == ["/readyz", "", "/{job_id}", "/{job_id}/cancel", "/{job_id}/log", "/{job_id}/retry"]
    assert set(paths[SUBMISSIONS]["post"]["responses"]) == {
        "200",
        "202",
        "400",
        "401",
        "408",
        "409",
        "413",
        "415",
        "429",
        "500",
        "503",
    }
    assert State.QUEUED in str(answer.json())


def test_the_page_of_the_description_is_for_the_staff(api: ApiClient, client: Client) -> None:
    assert api.call("GET", "/v1/docs", secret=None)["Location"] == "/sign-in/?next=/v1/docs"
    client.force_login(User.objects.create_user("somebody"))
    assert client.get("/v1/docs").status_code == 200
