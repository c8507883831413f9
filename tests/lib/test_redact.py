"""Secrets are masked in every text that leaves the service: log lines, causes, status updates, answers of desci-server."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from builds.engine.clients.desci import DesciServer
from builds.lib.redact import Redactor
from builds.models import Build
from builds.record import masking
from tests.standins import DesciServer as StandIn
from tests.support import in_process

SECRET = "a-secret-between-two-services"
KEY = "s3cr3t/with+odd=chars"


@pytest.fixture
def bench(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    settings.DATA_DIR = tmp_path
    with in_process.opened(settings, monkeypatch) as opened:
        yield opened


def test_the_redactor_knows_all_secrets_of_the_service(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.OIDC_CLIENT_SECRET = "of-the-sign-in"
    settings.REDIS_URL = "redis://:of-the-queue%2Fstore@127.0.0.1:1/0"
    settings.BUILD_ENVIRONMENT = ["JOURNAL_TOKEN", "JOURNAL_NAME"]
    monkeypatch.setenv("JOURNAL_TOKEN", "of-the-journal")
    monkeypatch.setenv("JOURNAL_NAME", "Letters")
    known = f"{settings.SECRET_KEY} {settings.INTERNAL_SERVICE_SECRET} of-the-sign-in of-the-queue/store of-the-journal Letters"
    assert masking.redactor().redact(known) == "*** *** *** *** *** Letters"


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_cause_that_quotes_an_answer_contains_no_secret(bench: in_process.Bench, settings: Any) -> None:
    settings.GITHUB_TOKEN = "a-token-of-the-archive-host"
    submission = bench.submission()
    words = f"no, not with {settings.GITHUB_TOKEN}"
    bench.desci.fail(400, where="receiveFiles", body={"ok": False, "message": words})
    build: Build = bench.run(submission)
    assert "no, not with ***" in build.cause
    messages = "".join(submission.status_updates.values_list("message", flat=True))
    assert "no, not with ***" in messages
    assert settings.GITHUB_TOKEN not in messages + build.cause


def test_an_answer_that_repeats_the_request_contains_no_secret() -> None:
    with StandIn(SECRET) as desci:
        desci.fail(400, body={"ok": False, "message": f"X-Internal-Secret: {SECRET}"})
        answer = DesciServer(desci.url, SECRET).update_status("node", "job", "IN_PROGRESS", "")
    assert "X-Internal-Secret: ***" in answer.body
    assert SECRET not in answer.body


@pytest.mark.parametrize("before", ["", "x", "xx", "xxx"])
def test_a_secret_is_masked_in_every_encoding(before: str) -> None:
    redactor = Redactor([KEY, "abc"])
    encoded = base64.b64encode(f"{before}{KEY}{before}".encode()).decode()
    raw = f"{before}{KEY}{before}".encode()
    urlsafe = base64.urlsafe_b64encode(raw).decode()
    every = "".join(f"%{byte:02x}" for byte in KEY.encode())
    addresses = (
        quote(KEY, safe=""),
        quote(KEY, safe="").replace("%2F", "%2f"),
        quote(KEY),
        every,
        every.upper(),
    )
    for text in (KEY, *addresses, encoded, encoded.rstrip("="), urlsafe, raw.hex(), raw.hex().upper()):
        masked = redactor.redact(f"token is {text}!")
        assert not any(piece in masked for piece in (KEY, text, text[8:-8])), masked
        assert "***" in masked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://localhost:8888/?token=abcdef123", "http://localhost:8888/?token=***"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("https://user:pass@host/x", "https://user:***@host/x"),
        ("https://host:8080/x", "https://host:8080/x"),
        ("ghp_" + "a" * 36, "***"),
        ("the word token= alone", "the word token= alone"),
        ("abc is too short to be a secret", "abc is too short to be a secret"),
    ],
)
def test_text_that_looks_like_a_credential_is_masked(text: str, expected: str) -> None:
    assert Redactor(["abc"]).redact(text) == expected
