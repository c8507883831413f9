"""Who may read the metrics, and what an answer is. ``/healthz`` beside it."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from tests.support.rows import submit
from tests.support.scraping import Scrape

pytestmark = pytest.mark.django_db
TOKEN = "a-token-of-the-tests"


def scrape(token: str = "", *, address: str = "192.0.2.1", **headers: str) -> Any:
    sent = {"Authorization": f"Bearer {token}"} if token else {}
    return Client().get("/metrics", headers={**sent, **headers}, REMOTE_ADDR=address)


def test_it_is_off_by_default() -> None:
    for token in ("", "any"):
        answer = scrape(token)
        assert answer.status_code == 404
        assert "METRICS_TOKEN" in answer.content.decode()


@pytest.mark.parametrize("token", ["", "wrong", f"{TOKEN}x", TOKEN[:-1], "ä"])
def test_a_wrong_token_is_refused(settings: Any, token: str) -> None:
    settings.METRICS_TOKEN = TOKEN
    answer = scrape(token)
    assert (answer.status_code, TOKEN in answer.content.decode()) == (403, False)
    assert "192.0.2.1" in answer.content.decode()


def test_without_a_token_an_empty_one_is_refused(settings: Any) -> None:
    settings.METRICS_ALLOWED = [ip_network("10.0.0.0/8")]
    assert scrape(Authorization="Bearer ").status_code == 403


def test_the_token_opens_it(settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN
    submit()
    answer = scrape(TOKEN)
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert Scrape(answer.content.decode())("jobsite_submissions_total") == 1
    assert Client().post("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 405


def test_an_openmetrics_answer_ends_as_such(settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN
    answer = scrape(TOKEN, Accept="application/openmetrics-text;version=1.0.0")
    assert answer.content.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("address", "proxies", "forwarded", "status"),
    [
        *(("10.1.2.3", 0, "", 200), ("11.1.2.3", 0, "", 403), ("::ffff:10.1.2.3", 0, "", 200)),
        *(("2001:db8::5", 0, "", 200), ("2001:db8::6", 0, "", 403), ("", 0, "", 403)),
        # A proxy has an allowed address itself. What counts is the address that it saw.
        *(("10.1.2.3", 1, "192.0.2.1", 403), ("192.0.2.1", 1, "10.1.2.3", 200), ("192.0.2.1", 1, "10.1.2.3, 192.0.2.1", 403)),
        ("192.0.2.1", 0, "10.1.2.3", 403),
    ],
)
def test_an_allowed_address_needs_no_token(settings: Any, address: str, proxies: int, forwarded: str, status: int) -> None:
    settings.METRICS_ALLOWED = [ip_network("10.0.0.0/8"), ip_network("2001:db8::5")]
    settings.PROXIES = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert scrape(address=address, **headers).status_code == status


def test_without_a_database_the_answer_says_so(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_database() -> None:
        raise OperationalError("no such host")

    settings.METRICS_TOKEN = TOKEN
    monkeypatch.setattr("builds.record.metrics.totals", no_database)
    answer = scrape(TOKEN)
    assert (answer.status_code, answer.content.decode()) == (503, "The database can't be read: no such host\n")


def test_health_asks_neither_the_database_nor_the_queue_store(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        answer = Client().get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
