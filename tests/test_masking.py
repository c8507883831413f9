"""No secret leaves with what is told of a build: its cause, its stages, what desci-server answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builds import tasks
from builds.clients.desci import DesciServer
from builds.models import Build
from tests import in_process
from tests.standins import DesciServer as StandIn

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "a-secret-between-two-services"


@pytest.fixture
def bench(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    settings.DATA_DIR = tmp_path
    with in_process.opened(settings, monkeypatch) as opened:
        yield opened


def test_all_secrets_of_the_service_are_known(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.OIDC_CLIENT_SECRET = "of-the-sign-in"
    settings.REDIS_URL = "redis://:of-the-queue%2Fstore@127.0.0.1:1/0"
    settings.BUILD_ENVIRONMENT = ["JOURNAL_TOKEN", "JOURNAL_NAME"]
    monkeypatch.setenv("JOURNAL_TOKEN", "of-the-journal")
    monkeypatch.setenv("JOURNAL_NAME", "Letters")
    known = f"{settings.SECRET_KEY} {settings.INTERNAL_SERVICE_SECRET} of-the-sign-in of-the-queue/store of-the-journal Letters"
    assert tasks.redactor().redact(known) == "*** *** *** *** *** Letters"


def test_a_cause_that_quotes_an_answer_holds_no_secret(bench: in_process.Bench, settings: Any) -> None:
    settings.GITHUB_TOKEN = "a-token-of-the-archive-host"
    submission = bench.submission()
    words = f"no, not with {settings.GITHUB_TOKEN}"
    bench.desci.fail(400, where="receiveFiles", body={"ok": False, "message": words})
    build: Build = bench.run(submission)
    assert "no, not with ***" in build.cause
    told = "".join(submission.status_updates.values_list("message", flat=True))
    assert "no, not with ***" in told
    assert settings.GITHUB_TOKEN not in told + build.cause


def test_an_answer_that_repeats_what_was_asked_holds_no_secret() -> None:
    with StandIn(SECRET) as desci:
        desci.fail(400, body={"ok": False, "message": f"X-Internal-Secret: {SECRET}"})
        answer = DesciServer(desci.url, SECRET).update_status("node", "job", "IN_PROGRESS", "")
    assert "X-Internal-Secret: ***" in answer.body
    assert SECRET not in answer.body
