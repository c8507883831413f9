"""How often the API may be asked."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import caches
from django.test import Client

from builds.api import throttling
from tests.api.conftest import ApiClient

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def counted(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory: what counts is the same with the queue store's numbers."""
    local = "django.core.cache.backends.locmem.LocMemCache"
    settings.CACHES = {**settings.CACHES, "rates": {"BACKEND": local, "LOCATION": "rates"}}
    monkeypatch.setattr(throttling, "WINDOW_SECONDS", 1 << 40)  # no minute ends within a test
    caches["rates"].clear()
    settings.API_RATE_PER_CLIENT, settings.API_RATE = 3, 5


def codes(api: ApiClient, count: int, **options: Any) -> list[int]:
    return [api.call("GET", "/v1/schema", **options).status_code for _ in range(count)]


def test_a_client_that_asks_too_often_is_told_when_to_ask_again(api: ApiClient) -> None:
    assert sorted(codes(api, 5)) == [200, 200, 200, 429, 429]
    refused = api.call("GET", "/v1/schema")
    assert (refused.status_code, refused.json()) == (429, {"ok": False, "message": "Too many requests; ask again later."})
    assert int(refused["Retry-After"]) > 0


def test_many_clients_together_are_held_too(api: ApiClient) -> None:
    assert [codes(api, 2, REMOTE_ADDR=f"192.0.2.{n}") for n in (11, 12, 13)] == [[200, 200], [200, 200], [200, 429]]


def test_wrong_secrets_count(api: ApiClient) -> None:
    path = "/v1/services/process-journal-submission/none"
    asked = [api.call("GET", path, secret="wrong", REMOTE_ADDR="192.0.2.21").status_code for _ in range(4)]
    assert asked == [401, 401, 401, 429]


def test_behind_a_proxy_clients_are_told_apart(api: ApiClient, settings: Any) -> None:
    """A client can't make itself another by a header of its own: the proxy's entry is the last."""
    settings.PROXIES, settings.API_RATE = 1, 0
    asked = [api.call("GET", "/v1/schema", HTTP_X_FORWARDED_FOR=f"198.51.100.{n}, 192.0.2.31").status_code for n in range(4)]
    assert asked == [200, 200, 200, 429]
    assert api.call("GET", "/v1/schema", HTTP_X_FORWARDED_FOR="192.0.2.32").status_code == 200


def test_without_the_store_nobody_is_refused(api: ApiClient, settings: Any) -> None:
    away = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = {**settings.CACHES, "rates": away}
    assert codes(api, 6) == [200] * 6


def test_who_tries_many_names_is_held_too(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "SIGN_INS", 3)
    tried = [client.post("/sign-in/", {"username": f"name-{n}", "password": "wrong"}) for n in range(4)]
    assert [answer.status_code for answer in tried] == [200, 200, 200, 429]
    assert int(tried[3]["Retry-After"]) > 0
    assert client.get("/sign-in/").status_code == 200
    assert client.post("/sign-in/", {"username": "a", "password": "b"}, REMOTE_ADDR="192.0.2.41").status_code == 200


def test_a_client_that_gives_itself_many_addresses_is_still_one(api: ApiClient) -> None:
    """Without a proxy of ours nothing that a client says of itself is believed."""
    asked = [api.call("GET", "/v1/schema", HTTP_X_FORWARDED_FOR=f"198.51.100.{n}").status_code for n in range(4)]
    assert asked == [200, 200, 200, 429]


def test_readiness_is_not_limited(api: ApiClient) -> None:
    assert [api.call("GET", "/readyz").status_code for _ in range(7)] == [200] * 7


def test_what_one_client_is_refused_locks_out_no_other(api: ApiClient) -> None:
    assert codes(api, 50, REMOTE_ADDR="192.0.2.51").count(200) == 3
    assert codes(api, 1, REMOTE_ADDR="192.0.2.52") == [200]


def test_a_network_of_one_client_is_one_client(api: ApiClient) -> None:
    """Who has one IPv6 address has 2⁶⁴ of them."""
    asked = [codes(api, 1, REMOTE_ADDR=f"2001:db8:0:1::{n}") for n in range(4)]
    assert asked == [[200], [200], [200], [429]]
    assert codes(api, 1, REMOTE_ADDR="2001:db8:0:2::1") == [200]
