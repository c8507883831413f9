"""The endpoints that the contract does not have: status, cancel, retry, log, readiness, the description."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from builds import lifecycle
from builds.engine.findings import Finding, Group, Severity
from builds.errors import CommandFailed
from builds.models import Build, Mode, State, Submission, Worker
from builds.queue import workers
from builds.record.logs import LogWriter
from tests.api.conftest import SUBMISSIONS, ApiClient
from tests.support.found import write_findings
from tests.support.rows import submit

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


def test_the_status_of_a_queued_submission(api: ApiClient) -> None:
    api.submit()
    answered = status(api)
    expected = {"jobId": "myst-import-1", "uuid": "abc123.", "state": "queued", "stage": None, "progress": None, "cause": None}
    assert {name: answered[name] for name in expected} == expected
    assert answered["link"].startswith("http")
    assert [(attempt["number"], attempt["state"], attempt["mode"]) for attempt in answered["attempts"]] == [
        (1, "queued", "latest")
    ]


def test_the_status_says_why_a_submission_is_held_back(api: ApiClient, settings: Any) -> None:
    settings.BUILDS_PER_OWNER = 1
    api.submit()
    assert status(api)["heldBack"] == ""
    owner = Build.objects.get().owner
    running = submit("other", repository=f"{owner.upper()}/other").newest_build()
    assert lifecycle.claim(str(running.pk), worker="w") is not None
    assert status(api)["heldBack"] == (
        f"1 build of {owner} is running, and one owner may have 1 build running at a time. This one starts when one of them ends."
    )


def test_the_status_has_the_processor_time_of_each_attempt(api: ApiClient) -> None:
    api.submit()
    attempts = api.call("GET", JOB).json()["data"]["attempts"]
    Build.objects.update(processor_seconds=1.25)
    attempts += api.call("GET", JOB).json()["data"]["attempts"]
    assert [attempt["processorSeconds"] for attempt in attempts] == [None, 1.25]


def test_the_status_has_the_findings_of_the_newest_attempt(api: ApiClient) -> None:
    api.submit()
    build = claimed()
    Build.objects.filter(pk=build.pk).update(warnings=["An old warning."])
    broken = Finding("image-missing", Severity.BROKEN, "a.png is missing.", "Add it.", "index.md", 3, 7, "pdf")
    passed = Finding("title", Severity.PASSED, "It has a title.", group=Group.EDITORIAL)
    write_findings(build, broken, passed)
    answered = status(api)
    assert (answered["problems"], answered["findingsLeftOut"]) == (1, 0)
    first, second = answered["findings"]
    assert first == {
        "code": "image-missing",
        "severity": "broken",
        "group": "build",
        "fault": "manuscript",
        "text": "a.png is missing.",
        "advice": "Add it.",
        "file": "index.md",
        "line": 3,
        "export": "pdf",
        "logLine": 7,
    }
    assert (second["code"], second["severity"], second["group"]) == ("title", "passed", "editorial")
    [attempt] = answered["attempts"]
    assert (attempt["problems"], attempt["warnings"]) == (1, ["An old warning.", "a.png is missing. Add it."])


def test_the_status_of_a_failed_submission_has_its_cause(api: ApiClient) -> None:
    api.submit()
    build = claimed()
    lifecycle.pin(build, commit="c" * 40, ref="main", path="myst.yml")
    lifecycle.enter_stage(build, "build")
    lifecycle.fail(build, CAUSE, stage="build")
    answered = status(api)
    assert (answered["state"], answered["stage"], answered["commit"]) == ("failed", "build", "c" * 40)
    assert answered["commitLink"] == f"https://github.com/a/b/commit/{'c' * 40}"
    assert answered["cause"] == {
        "fault": "manuscript",
        "code": "build-failed",
        "sentence": "Failed to build the repo files: it broke.",
        "advice": CommandFailed.advice,
        "file": "index.md",
        "line": 3,
        "logLine": 7,
    }


def test_the_number_of_queries_does_not_depend_on_the_number_of_attempts(api: ApiClient, django_assert_num_queries: Any) -> None:
    api.submit()
    for _ in range(3):
        build = claimed()
        lifecycle.enter_stage(build, "fetch")
        lifecycle.fail(build, CAUSE)
        lifecycle.retry(build.submission, Mode.LATEST, actor="ed")
        with django_assert_num_queries(5):
            assert status(api)["state"] == "queued"


def test_a_queued_submission_is_cancelled_at_once(api: ApiClient) -> None:
    api.submit()
    answer = api.call("POST", f"{JOB}/cancel", {"reason": "Wrong branch."})
    assert (answer.status_code, answer.json()["data"]["state"]) == (202, "cancelled")
    build = Build.objects.get()
    assert (build.cancel_requested_by, build.cancel_reason) == ("the API", "Wrong branch.")
    again = api.call("POST", f"{JOB}/cancel", {})
    assert (again.status_code, again.json()["ok"]) == (409, False)


def test_a_running_submission_shows_that_its_cancel_is_requested(api: ApiClient) -> None:
    api.submit()
    claimed()
    for _ in range(2):
        data = api.call("POST", f"{JOB}/cancel", {}).json()["data"]
        assert (data["state"], data["cancelRequested"]) == ("running", True)


@pytest.mark.parametrize("body", [{"reason": 7}, {"reason": "x" * 1001}])
def test_an_invalid_reason_is_refused(api: ApiClient, body: dict[str, Any]) -> None:
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
    assert "Cancel it first" in answer.json()["message"]


def test_the_log_is_text_from_a_given_line(api: ApiClient) -> None:
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
def test_an_invalid_or_unknown_part_of_a_log_is_refused(api: ApiClient, query: str, code: int) -> None:
    api.submit()
    answer = api.call("GET", f"{JOB}/log?{query}")
    assert (answer.status_code, answer.json()["ok"]) == (code, False)


def test_ready_with_no_worker(api: ApiClient) -> None:
    answer = api.call("GET", "/readyz", secret=None)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "isolation": [], "notices": []})


def test_ready_says_in_which_sandbox_builds_run(api: ApiClient) -> None:
    v1, landlock = {"sandbox": "bubblewrap", "cgroups": "v1"}, {"sandbox": "landlock", "cgroups": "none"}
    for name, mode in {"a:1": v1, "a:2": v1, "b:1": landlock, "earlier release:1": {}}.items():
        workers.report_alive(Worker(name=name, host="host", pid=1, started_at=timezone.now(), **mode))
    workers.report_alive(Worker(name="ends:1", host="host", pid=1, started_at=timezone.now(), ending=True, **landlock))
    assert api.call("GET", "/readyz", secret=None).json()["isolation"] == [{**v1, "workers": 2}, {**landlock, "workers": 1}]


def test_without_a_database_it_is_not_ready_and_accepts_nothing(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_database(*args: object, **kwargs: object) -> None:
        raise OperationalError("no such host")

    monkeypatch.setattr("builds.record.readiness.transaction.atomic", no_database)
    monkeypatch.setattr(lifecycle, "submit", no_database)
    for answer in (api.call("GET", "/readyz"), api.submit()):
        assert (answer.status_code, answer.json()["ok"], answer["Retry-After"]) == (503, False, "5")


def test_with_a_read_only_database_it_accepts_nothing(api: ApiClient) -> None:
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


def test_with_a_schema_that_lacks_a_migration_it_is_not_ready_and_accepts_nothing(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {("builds", "9999_next"): frozenset[tuple[str, str]]()}
    monkeypatch.setattr("builds.record.schema._known", lambda: known)
    monkeypatch.setattr("builds.record.readiness._complete_until", 0.0)  # a test before may have asked this moment
    for answer in (api.call("GET", "/readyz"), api.submit()):
        assert (answer.status_code, answer.json()["ok"], answer["Retry-After"]) == (503, False, "5")
        assert answer.json()["message"].endswith("builds 9999_next. Run: manage.py migrate")
    assert not Submission.objects.exists()


def test_with_a_full_disk_it_is_not_ready_and_accepts_nothing(api: ApiClient, settings: Any) -> None:
    settings.DISK_RESERVE = 1 << 60
    for answer in (api.call("GET", "/readyz"), api.submit()):
        assert (answer.status_code, answer.json()["ok"], answer["Retry-After"]) == (503, False, "5")
        assert "of free disk space; it needs" in answer.json()["message"]
    assert not Submission.objects.exists()


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*", "x", "application/json; version=9"])
@pytest.mark.parametrize(
    "path", [SUBMISSIONS, f"{SUBMISSIONS}/a?format=xml", "/readyz?format=api", f"{SUBMISSIONS}/a/cancel?format="]
)
def test_every_answer_has_the_envelope_whatever_is_asked_for(api: ApiClient, path: str, accept: str) -> None:
    for method in ("GET", "POST"):
        answer: Any = api.call(method, path, HTTP_ACCEPT=accept)
        is_ready = path.startswith("/readyz") and answer.status_code == 200  # which has another form
        assert (answer["Content-Type"], "ok" in answer.json() or is_ready) == ("application/json", True)
        assert answer.status_code in (200, 400, 404, 405, 503)


def test_the_description_needs_no_secret(api: ApiClient) -> None:
    answer: Any = api.call("GET", "/v1/schema?format=json", secret=None)
    paths = answer.json()["paths"]
    names = [path.removeprefix(SUBMISSIONS) for path in paths]
    assert names == ["/healthz", "/readyz", "", "/{job_id}", "/{job_id}/cancel", "/{job_id}/log", "/{job_id}/retry"]
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


def test_the_page_of_the_description_needs_a_sign_in(api: ApiClient, client: Client) -> None:
    assert api.call("GET", "/v1/docs", secret=None)["Location"] == "/sign-in/?next=/v1/docs"
    client.force_login(User.objects.create_user("somebody"))
    assert client.get("/v1/docs").status_code == 200
