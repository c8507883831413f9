"""Answers reveal nothing about other submissions, secrets or the inside of the service."""

from __future__ import annotations

import ast
import inspect
import json
import logging
import textwrap
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client, override_settings

from builds import lifecycle
from builds.api import views
from builds.staff import shared_secret
from tests.api.conftest import SECRET, SUBMISSIONS, ApiClient
from tests.support import made

pytestmark = pytest.mark.django_db(transaction=True)

KNOWN, UNKNOWN = f"{SUBMISSIONS}/job-1", f"{SUBMISSIONS}/job-2"
CALLS = [("GET", ""), ("POST", "/cancel"), ("POST", "/retry"), ("GET", "/log")]
KEY = django_settings.SECRET_KEY


def whole(answer: Any) -> tuple[int, dict[str, str], bytes]:
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return answer.status_code, dict(answer.headers), content


@pytest.fixture
def kept(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    made.succeeded("1")


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", SECRET[:-1], SECRET.upper(), "ü"])
@pytest.mark.parametrize(("method", "path"), CALLS)
def test_without_the_secret_known_and_unknown_submissions_get_the_same_answer(
    api: ApiClient, kept: None, method: str, path: str, secret: str | None
) -> None:
    known, unknown = (whole(api.call(method, one + path, {}, secret=secret)) for one in (KNOWN, UNKNOWN))
    assert known == unknown
    assert (known[0], json.loads(known[2])) == (401, {"ok": False, "message": "Unauthorized"})


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_without_the_secret_the_database_is_not_queried(
    api: ApiClient, kept: None, django_assert_num_queries: Any, method: str, path: str
) -> None:
    """So that the time reveals nothing either."""
    with django_assert_num_queries(0):
        api.call(method, KNOWN + path, {}, secret="wrong")


def test_without_the_secret_every_body_gets_the_same_answer(api: ApiClient, kept: None) -> None:
    bodies = [b"{}", b"not JSON", json.dumps({"jobId": "job-1", "uuid": "x", "url": "y"}).encode()]
    assert len({whole(api.call("POST", SUBMISSIONS, body, secret="wrong"))[2] for body in bodies}) == 1


def test_a_conflict_reveals_nothing_about_the_other_submission(api: ApiClient, kept: None) -> None:
    answered = api.submit(jobId="job-1", uuid="mine.").json()
    assert answered == {
        "ok": False,
        "message": "The jobId 'job-1' already belongs to a submission with another uuid or url. Nothing was changed.",
    }


def test_an_answer_for_something_unknown_names_only_what_the_request_named(api: ApiClient, kept: None) -> None:
    made.submitted("secret-of-another-client")
    answers = [api.call("GET", f"{KNOWN}/log?attempt=7"), api.call("GET", UNKNOWN)]
    assert [answer.json()["message"] for answer in answers] == [
        "This submission has no attempt 7.",
        "There is no submission with the jobId 'job-2'.",
    ]


def test_every_secret_is_compared_in_constant_time() -> None:
    """No operator compares secrets, and a match does not skip the other comparisons."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(shared_secret.is_valid)))
    compared = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    assert compared == []
    assert "[constant_time_compare(given, secret) for secret in settings.INTERNAL_SERVICE_SECRETS]" in ast.unparse(tree)


# --- internal errors


class Broken(Exception):
    """An exception whose message contains secrets."""


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        api_secret, token = SECRET, "ghp_" + "0" * 36
        raise Broken(f"{api_secret} {token} {KEY}")

    monkeypatch.setattr(lifecycle, "submit", fail)
    monkeypatch.setattr(views, "status", fail)


@pytest.mark.parametrize("debug", [False, True])
def test_an_internal_error_reveals_nothing_even_with_debug(api: ApiClient, kept: None, broken: None, debug: bool) -> None:
    with override_settings(DEBUG=debug):
        answers = [api.submit(), api.call("GET", KNOWN)]
    for answer in answers:
        assert answer.status_code == 500
        assert answer.json()["message"].startswith("Something went wrong inside Jobsite")
        assert not any(text in answer.text for text in (SECRET, KEY, "ghp_", "Traceback", "Broken"))


def test_an_internal_error_of_a_page_reveals_nothing(kept: None, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("root"))
    monkeypatch.setattr("builds.desk.submissions.detail.get_object_or_404", lambda *a, **k: 1 / 0)
    page = client.get("/submissions/1/")
    assert page.status_code == 500
    assert not any(text in page.text for text in (SECRET, KEY, "ZeroDivisionError", "Traceback"))


def test_the_page_of_a_fault_while_debugging_hides_the_secrets(kept: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never in production; but a token in a developer's browser is in a screenshot soon."""
    client = Client(raise_request_exception=False, headers={"X-Internal-Secret": SECRET})
    client.force_login(User.objects.create_superuser("root"))
    monkeypatch.setattr("builds.desk.submissions.detail.get_object_or_404", int)  # no line of this file is on the page
    secrets = {"GITHUB_TOKEN": "ghp_" + "0" * 36, "OIDC_CLIENT_SECRET": "oidc-client-secret-value"}
    with override_settings(
        DEBUG=True, DATABASE_URL="postgres://user:db-password@host/name", REDIS_URL="redis://:rpw@h", **secrets
    ):
        page = client.get("/submissions/1/")
    assert page.status_code == 500
    assert "TypeError" in page.text
    for text in (SECRET, KEY, "ghp_", "oidc-client-secret-value", "db-password", "rpw"):
        assert text not in page.text


def test_the_log_of_an_internal_error_does_not_contain_the_request_s_secret(
    api: ApiClient, kept: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(views, "status", lambda submission: 1 / 0)
    with caplog.at_level(logging.DEBUG):
        api.call("GET", KNOWN)
    assert "ZeroDivisionError" in caplog.text
    assert SECRET not in caplog.text


# --- the description


def test_the_description_contains_no_secret_and_no_submission(api: ApiClient, kept: None) -> None:
    text = api.call("GET", "/v1/schema?format=json", secret=None).text
    assert not any(one in text for one in (SECRET, KEY, "job-1", "node-1.", str(django_settings.DATA_DIR)))
