"""Submitting: every answer of CONTRACT §1."""

from __future__ import annotations

import gzip
import io
import threading
import tracemalloc
from typing import Any

import pytest
from django.db import connection

from builds import lifecycle
from builds.api import parsers
from builds.api.parsers import LimitedJSONParser
from builds.models import Build, Event, FrontMatter, State, StatusUpdate, Submission
from tests.api.conftest import SUBMISSIONS, ApiClient, submission

pytestmark = pytest.mark.django_db(transaction=True)

REQUIRED = {"ok": False, "message": "URL, jobId and uuid are required"}
DOCUMENT_REQUIRED = {"ok": False, "message": "parsedDocument is required"}


def test_a_submission_is_accepted(api: ApiClient) -> None:
    answer = api.submit()
    accepted = {"jobId": "myst-import-1", "uuid": "abc123.", "message": "Job queued for processing"}
    assert (answer.status_code, answer.json()) == (202, {"ok": True, "data": accepted, **accepted})
    row = Submission.objects.get()
    assert (row.job_id, row.node_uuid, row.repository, row.title) == ("myst-import-1", "abc123.", "a/b", "On builds")
    assert [(build.number, build.state) for build in row.builds.all()] == [(1, State.QUEUED)]
    assert [update.status for update in row.status_updates.all()] == ["IN_PROGRESS"]
    assert [event.kind for event in row.events.all()] == ["submitted"]


def test_an_accepted_submission_is_answered_200_if_the_setting_says_so(api: ApiClient, settings: Any) -> None:
    settings.SUBMISSION_ACCEPTED_STATUS = 200
    assert api.submit().status_code == 200


@pytest.mark.parametrize("secret", [None, "", "wrong", "test-secre", "test-secret ", "tést"])
def test_without_the_secret_a_submission_is_unauthorized_and_not_stored(api: ApiClient, secret: str | None) -> None:
    answer = api.call("POST", SUBMISSIONS, submission(), secret=secret)
    assert (answer.status_code, answer.json()) == (401, {"ok": False, "message": "Unauthorized"})
    assert not Submission.objects.exists()


def test_several_secrets_can_be_valid_at_once(api: ApiClient, settings: Any) -> None:
    settings.INTERNAL_SERVICE_SECRETS = ["new-secret", "test-secret"]
    assert api.submit().status_code == 202
    assert api.call("POST", SUBMISSIONS, submission(jobId="j2"), secret="new-secret").status_code == 202


def test_a_service_without_a_secret_answers_500(api: ApiClient, settings: Any) -> None:
    settings.INTERNAL_SERVICE_SECRETS = []
    for secret in (None, "", "any"):
        answer = api.call("POST", SUBMISSIONS, submission(), secret=secret)
        assert (answer.status_code, answer.json()) == (500, {"ok": False, "message": "Internal service secret not configured"})


@pytest.mark.parametrize("name", ["url", "jobId", "uuid"])
@pytest.mark.parametrize("value", [..., None, "", "  "])
def test_a_missing_field_is_refused_in_the_words_of_the_contract(api: ApiClient, name: str, value: Any) -> None:
    answer = api.submit(**{name: value})
    assert (answer.status_code, answer.json()) == (400, REQUIRED)


@pytest.mark.parametrize("value", [..., None])
def test_a_missing_document_is_refused_in_the_words_of_the_contract(api: ApiClient, value: Any) -> None:
    answer = api.submit(parsedDocument=value)
    assert (answer.status_code, answer.json()) == (400, DOCUMENT_REQUIRED)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("url", 7, "url must be a string."),
        ("url", ["https://github.com/a/b/blob/main/myst.yml"], "url must be a string."),
        ("url", "https://gitlab.com/a/b/blob/main/myst.yml", "GitHub"),
        ("url", "https://github.com/a/b/blob/main/README.md", ".yml or .yaml"),
        ("url", "https://github.com/a/b", "GitHub"),
        ("jobId", 7, "jobId must be a string."),
        ("jobId", True, "jobId must be a string."),
        ("jobId", {"id": 1}, "jobId must be a string."),
        ("jobId", "x" * 201, "at most 200"),
        ("jobId", "a/b", "slash"),
        ("jobId", "a\nb", "control characters"),
        ("jobId", "a\x00b", "characters"),
        ("jobId", "a\u202eb", "control characters"),
        ("jobId", "a\ud800b", "characters"),
        ("jobId", "..", "'..'"),
        ("uuid", 7, "uuid must be a string."),
        ("uuid", "x" * 201, "at most 200"),
        ("uuid", "../other", "slash"),
        ("uuid", ".", "'.'"),
        ("uuid", "a\tb", "control characters"),
        ("parsedDocument", "text", "must be an object"),
        ("parsedDocument", [1], "must be an object"),
        ("parsedDocument", 1, "must be an object"),
        ("parsedDocument", {"exports": {"format": "meca"}}, "exports must be a list"),
        ("parsedDocument", {"exports": "meca"}, "exports must be a list"),
    ],
)
def test_an_invalid_field_is_named(api: ApiClient, name: str, value: Any, words: str) -> None:
    answer = api.submit(**{name: value})
    body = answer.json()
    assert (answer.status_code, body["ok"], list(body["errors"])) == (400, False, [name])
    assert words in body["errors"][name][0]
    assert words in body["message"]
    assert not Submission.objects.exists()


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"exports": None},
        {"exports": []},
        {"exports": [None, 7, "meca", {}]},
        {"title": "a\x00b\ud800", "authors": "x", "\udc00": ["\0", {"\0": "😀"}]},
        {"authors": [None, {"name": 1}]},
    ],
)
def test_odd_front_matter_is_accepted(api: ApiClient, document: dict[str, Any]) -> None:
    assert api.submit(parsedDocument=document).status_code == 202


def test_characters_that_no_database_stores_are_replaced(api: ApiClient) -> None:
    api.submit(parsedDocument={"title": "a\0b\ud800", "\udc00": ["\0", {"\0": "😀 \\u0000"}]})
    assert FrontMatter.objects.get().document == {"title": "ab?", "?": ["", {"": "😀 \\u0000"}]}


def test_odd_but_valid_identifiers_are_accepted_and_found_again(api: ApiClient) -> None:
    assert api.submit(jobId="a b%2F?#ü.", uuid="node id.").status_code == 202
    assert api.call("GET", f"{SUBMISSIONS}/a%20b%252F%3F%23%C3%BC.").json()["data"]["uuid"] == "node id."


@pytest.mark.parametrize(
    ("content", "content_type", "code", "words"),
    [
        (b"{", "application/json", 400, "not valid JSON"),
        (b"", "application/json", 400, "are required"),
        (b"\xff\xfe", "application/json", 400, "not valid JSON"),
        (b'{"url": NaN}', "application/json", 400, "not valid JSON"),
        (b"[" * 100_000, "application/json", 400, "not valid JSON"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "application/json", 400, "URL, jobId and uuid are required"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "application/json", 400, "nested more than 100 levels deep"),
        (b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", "application/json", 400, "nested more than 100 levels deep"),
        (b'{"a":' + b"9" * 5000 + b"}", "application/json", 400, "not valid JSON"),
        (b'{"a":[' + b"[]," * 500_000 + b"[]]}", "application/json", 413, "more values than the limit of 500,000"),
        (b'{"a":[' + b'{"":0},' * 500_000 + b"[]]}", "application/json", 413, "more values than the limit of 500,000"),
        (b"[]", "application/json", 400, "must be a JSON object"),
        (b'"text"', "application/json", 400, "must be a JSON object"),
        (b"url=x", "application/x-www-form-urlencoded", 415, "application/json"),
        (b"{}", "text/plain", 415, "application/json"),
    ],
)
def test_a_body_that_is_not_a_json_object_is_refused(
    api: ApiClient, content: bytes, content_type: str, code: int, words: str
) -> None:
    answer = api.call("POST", SUBMISSIONS, content, content_type=content_type)
    assert (answer.status_code, answer.json()["ok"]) == (code, False)
    assert words in answer.json()["message"]


@pytest.mark.slow
@pytest.mark.parametrize("piece", [b"[]", b'{"":[0]}', b'{"":0}', b"1e5", b'""'])
def test_the_most_values_take_little_memory(piece: bytes) -> None:
    each = sum(map(piece.count, (b",", b"[", b"{"))) + 1
    body = b'{"a":[' + b",".join([piece] * ((parsers.MAX_VALUES - 2) // each)) + b"]}"
    tracemalloc.start()
    try:
        LimitedJSONParser().parse(io.BytesIO(body))
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_a_compressed_body_is_refused_by_name(api: ApiClient) -> None:
    answer = api.call("POST", SUBMISSIONS, gzip.compress(b"{}"), HTTP_CONTENT_ENCODING="gzip")
    assert (answer.status_code, answer.json()["ok"]) == (415, False)
    assert "Content-Encoding" in answer.json()["message"]


def test_a_body_over_the_limit_is_refused_by_its_announced_length(api: ApiClient, settings: Any) -> None:
    settings.SUBMISSION_MAX_BYTES = 1000
    answer = api.submit(parsedDocument={"abstract": "x" * 1000})
    assert (answer.status_code, answer.json()["ok"]) == (413, False)
    assert "1000 bytes" in answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", SUBMISSIONS, 405),
        ("PUT", SUBMISSIONS, 405),
        ("DELETE", f"{SUBMISSIONS}/x", 405),
        ("GET", f"{SUBMISSIONS}/none", 404),
        ("GET", f"{SUBMISSIONS}/none/log", 404),
        ("POST", f"{SUBMISSIONS}/none/cancel", 404),
        ("POST", f"{SUBMISSIONS}/none/retry", 404),
        ("GET", f"{SUBMISSIONS}/%00/log", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1", 404),
        ("POST", f"{SUBMISSIONS}/", 404),
    ],
)
def test_every_other_error_is_in_the_envelope(api: ApiClient, method: str, path: str, code: int) -> None:
    answer = api.call(method, path, {} if method in ("POST", "PUT") else None)
    assert (answer.status_code, answer.json()["ok"]) == (code, False)
    assert answer.json()["message"]


def test_an_internal_error_is_logged_and_not_described_in_the_answer(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def break_down(request: object) -> None:
        raise RuntimeError("the-secret-reason")

    monkeypatch.setattr(lifecycle, "submit", break_down)
    answer = api.submit()
    assert (answer.status_code, answer.json()["ok"]) == (500, False)
    assert "the-secret-reason" not in answer.content.decode()
    assert "the-secret-reason" in caplog.text


def test_the_same_job_id_with_another_uuid_or_url_is_a_conflict(api: ApiClient) -> None:
    api.submit()
    for change in ({"uuid": "other."}, {"url": "https://github.com/a/b/blob/dev/myst.yml"}):
        answer = api.submit(**change)
        assert (answer.status_code, answer.json()["ok"]) == (409, False)
    assert (Build.objects.count(), Event.objects.count(), StatusUpdate.objects.count()) == (1, 1, 1)


def test_fifty_requests_with_one_job_id_make_one_submission(api: ApiClient) -> None:
    codes: list[int] = []

    def post() -> None:
        codes.append(ApiClient().submit().status_code)
        connection.close()

    threads = [threading.Thread(target=post) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [202] * 50
    assert (Submission.objects.count(), Build.objects.count(), StatusUpdate.objects.count()) == (1, 1, 1)
