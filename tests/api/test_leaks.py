"""What a stranger, or desci-server itself, is not told: of other submissions, of secrets, of what is inside."""

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
from builds.api import authentication, views
from tests.api.conftest import SECRET, SUBMISSIONS, ApiClient
from tests.desk import made

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
def test_without_the_secret_a_submission_that_is_there_answers_as_one_that_is_not(
    api: ApiClient, kept: None, method: str, path: str, secret: str | None
) -> None:
    known, unknown = (whole(api.call(method, one + path, {}, secret=secret)) for one in (KNOWN, UNKNOWN))
    assert known == unknown
    assert (known[0], json.loads(known[2])) == (401, {"ok": False, "message": "Unauthorized"})


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_without_the_secret_no_row_is_looked_for(
    api: ApiClient, kept: None, django_assert_num_queries: Any, method: str, path: str
) -> None:
    """So time can't tell either."""
    with django_assert_num_queries(0):
        api.call(method, KNOWN + path, {}, secret="wrong")


def test_without_the_secret_a_body_is_not_judged(api: ApiClient, kept: None) -> None:
    bodies = [b"{}", b"not JSON", json.dumps({"jobId": "job-1", "uuid": "x", "url": "y"}).encode()]
    assert len({whole(api.call("POST", SUBMISSIONS, body, secret="wrong"))[2] for body in bodies}) == 1


def test_a_conflict_tells_nothing_of_what_it_conflicts_with(api: ApiClient, kept: None) -> None:
    told = api.submit(jobId="job-1", uuid="mine.").json()
    assert told == {
        "ok": False,
        "message": "The jobId 'job-1' is known with another uuid or url. Nothing was changed.",
    }


def test_an_unknown_attempt_and_an_unknown_submission_name_only_what_was_asked_for(api: ApiClient, kept: None) -> None:
    made.submitted("secret-of-somebody-else")
    answers = [api.call("GET", f"{KNOWN}/log?attempt=7"), api.call("GET", UNKNOWN)]
    assert [answer.json()["message"] for answer in answers] == [
        "This submission has no attempt 7.",
        "There is no submission with the jobId 'job-2'.",
    ]


def test_every_secret_is_compared_whole_and_in_constant_time() -> None:
    """No secret is compared by an operator, and no comparison is left out because an earlier one was true."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(authentication.SecretAuthentication.authenticate)))
    compared = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    assert compared == []
    assert "[constant_time_compare(given, secret) for secret in settings.INTERNAL_SERVICE_SECRETS]" in ast.unparse(tree)


# --- faults


class Broken(Exception):
    """A fault that knows a secret."""


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        api_secret, token = SECRET, "ghp_" + "0" * 36
        raise Broken(f"{api_secret} {token} {KEY}")

    monkeypatch.setattr(lifecycle, "submit", fail)
    monkeypatch.setattr(views, "status", fail)


@pytest.mark.parametrize("debug", [False, True])
def test_a_fault_says_nothing_of_itself_also_while_debugging(api: ApiClient, kept: None, broken: None, debug: bool) -> None:
    with override_settings(DEBUG=debug):
        answers = [api.submit(), api.call("GET", KNOWN)]
    for answer in answers:
        assert answer.status_code == 500
        assert answer.json()["message"].startswith("Something went wrong inside Jobsite")
        assert not any(text in answer.text for text in (SECRET, KEY, "ghp_", "Traceback", "Broken"))


def test_a_page_s_fault_says_nothing_of_itself(kept: None, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("root"))
    monkeypatch.setattr("builds.desk.submission.get_object_or_404", lambda *a, **k: 1 / 0)
    page = client.get("/submissions/1/")
    assert page.status_code == 500
    assert not any(text in page.text for text in (SECRET, KEY, "ZeroDivisionError", "Traceback"))


def test_the_page_of_a_fault_while_debugging_hides_the_secrets(kept: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never in production; but a token in a developer's browser is in a screenshot soon."""
    client = Client(raise_request_exception=False, headers={"X-Internal-Secret": SECRET})
    client.force_login(User.objects.create_superuser("root"))
    monkeypatch.setattr("builds.desk.submission.get_object_or_404", int)  # no line of this file is on the page
    secrets = {"GITHUB_TOKEN": "ghp_" + "0" * 36, "OIDC_CLIENT_SECRET": "oidc-client-secret-value"}
    with override_settings(
        DEBUG=True, DATABASE_URL="postgres://user:db-password@host/name", REDIS_URL="redis://:rpw@h", **secrets
    ):
        page = client.get("/submissions/1/")
    assert page.status_code == 500
    assert "TypeError" in page.text
    for text in (SECRET, KEY, "ghp_", "oidc-client-secret-value", "db-password", "rpw"):
        assert text not in page.text


def test_a_fault_s_log_has_no_secret_that_came_with_the_request(
    api: ApiClient, kept: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(views, "status", lambda submission: 1 / 0)
    with caplog.at_level(logging.DEBUG):
        api.call("GET", KNOWN)
    assert "ZeroDivisionError" in caplog.text
    assert SECRET not in caplog.text


# --- the description


def test_the_description_holds_no_secret_and_no_submission(api: ApiClient, kept: None) -> None:
    text = api.call("GET", "/v1/schema?format=json", secret=None).text
    assert not any(one in text for one in (SECRET, KEY, "job-1", "node-1.", str(django_settings.DATA_DIR)))
