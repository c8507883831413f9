"""The rate limits of the API and of sign-ins."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from redis import Redis

from builds.api import throttling
from builds.queue import rates
from tests.api.conftest import ApiClient

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def counted(settings: Any, store: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(throttling, "WINDOW_SECONDS", 1 << 30)  # no minute ends within a test
    settings.API_RATE_PER_CLIENT, settings.API_RATE = 3, 5
    monkeypatch.setattr(rates, "STORE_SECONDS", 30)  # too short for a busy machine
    rates.connection.cache_clear()
    throttling._warn.cache_clear()
    yield
    rates.connection().close()
    rates.connection.cache_clear()


def codes(api: ApiClient, count: int, **options: Any) -> list[int]:
    return [api.call("GET", "/v1/schema", **options).status_code for _ in range(count)]


def test_a_client_that_sends_too_many_requests_gets_429_with_retry_after(api: ApiClient) -> None:
    assert sorted(codes(api, 5)) == [200, 200, 200, 429, 429]
    refused = api.call("GET", "/v1/schema")
    assert (refused.status_code, refused.json()) == (
        429,
        {"ok": False, "message": "Too many requests. Retry-After says when to try again."},
    )
    assert int(refused["Retry-After"]) > 0


def test_all_clients_together_are_limited_too(api: ApiClient) -> None:
    assert [codes(api, 2, REMOTE_ADDR=f"192.0.2.{n}") for n in (11, 12, 13)] == [[200, 200], [200, 200], [200, 429]]


def test_requests_with_a_wrong_secret_count(api: ApiClient) -> None:
    path = "/v1/services/process-journal-submission/none"
    asked = [api.call("GET", path, secret="wrong", REMOTE_ADDR="192.0.2.21").status_code for _ in range(4)]
    assert asked == [401, 401, 401, 429]


def test_behind_a_proxy_each_client_has_its_own_limit(api: ApiClient, settings: Any) -> None:
    """A client can't pretend to be another by sending the header itself: the proxy's entry is the last."""
    settings.PROXIES, settings.API_RATE = 1, 0
    asked = [api.call("GET", "/v1/schema", HTTP_X_FORWARDED_FOR=f"198.51.100.{n}, 192.0.2.31").status_code for n in range(4)]
    assert asked == [200, 200, 200, 429]
    assert api.call("GET", "/v1/schema", HTTP_X_FORWARDED_FOR="192.0.2.32").status_code == 200


def test_without_the_queue_store_no_request_is_refused(api: ApiClient, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    rates.connection.cache_clear()
    assert codes(api, 6) == [200] * 6


def test_an_account_of_the_store_that_may_not_count_is_reported_once_in_a_window(
    api: ApiClient, store: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    store.acl_setuser("default", enabled=True, commands=["-@scripting"])
    try:
        assert codes(api, 6) == [200] * 6
    finally:
        store.acl_setuser("default", enabled=True, commands=["+@all"])
    [warning] = [record.getMessage() for record in caplog.records if record.name == throttling.logger.name]
    assert warning.startswith("requests are not counted, so none is refused: the queue store answered: ")
    assert "no permissions" in warning.lower()


def test_a_client_that_tries_many_user_names_is_limited(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "MAX_SIGN_INS", 3)
    tried = [client.post("/sign-in/", {"username": f"name-{n}", "password": "wrong"}) for n in range(4)]
    assert [answer.status_code for answer in tried] == [200, 200, 200, 429]
    assert int(tried[3]["Retry-After"]) > 0
    assert client.get("/sign-in/").status_code == 200
    assert client.post("/sign-in/", {"username": "a", "password": "b"}, REMOTE_ADDR="192.0.2.41").status_code == 200


def test_a_client_that_claims_many_addresses_is_still_one_client(api: ApiClient) -> None:
    """Without a proxy, X-Forwarded-For is not trusted."""
    asked = [api.call("GET", "/v1/schema", HTTP_X_FORWARDED_FOR=f"198.51.100.{n}").status_code for n in range(4)]
    assert asked == [200, 200, 200, 429]


def test_readiness_is_not_limited(api: ApiClient) -> None:
    assert [api.call("GET", "/readyz").status_code for _ in range(7)] == [200] * 7


def test_refused_requests_of_one_client_do_not_lock_out_another(api: ApiClient) -> None:
    assert codes(api, 50, REMOTE_ADDR="192.0.2.51").count(200) == 3
    assert codes(api, 1, REMOTE_ADDR="192.0.2.52") == [200]


def test_an_ipv6_network_is_one_client(api: ApiClient) -> None:
    """A client with one IPv6 address has 2⁶⁴ of them."""
    asked = [codes(api, 1, REMOTE_ADDR=f"2001:db8:0:1::{n}") for n in range(4)]
    assert asked == [[200], [200], [200], [429]]
    assert codes(api, 1, REMOTE_ADDR="2001:db8:0:2::1") == [200]


def test_each_count_ends_by_itself(store: Redis) -> None:
    assert not rates.exceed([("a", 2), ("none", 0), ("all", 9)], seconds=100)
    assert sorted(store.keys()) == [b"rate:a", b"rate:all"]
    assert {0 < store.ttl(key) <= 100 for key in sorted(store.keys())} == {True}


def test_a_count_that_is_no_number_refuses_nobody(api: ApiClient, store: Redis) -> None:
    store.lpush(f"{rates.PREFIX}127.0.0.1:{int(time.time()) // throttling.WINDOW_SECONDS}", "evil")
    assert codes(api, 6) == [200] * 6
