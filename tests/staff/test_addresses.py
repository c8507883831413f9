"""The address that identifies a client, with and without proxies."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import RequestFactory

from builds.staff.addresses import client_address


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        *((0, "", "10.0.0.1"), (0, "1.2.3.4", "10.0.0.1"), (1, "1.2.3.4", "1.2.3.4"), (1, "6.6.6.6, 1.2.3.4", "1.2.3.4")),
        *((2, "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"), (2, "1.2.3.4", "10.0.0.1"), (1, "", "10.0.0.1")),
        *((1, "1.2.3.4:5678", "1.2.3.4"), (1, "2001:db8::1:2:3:4", "2001:db8::"), (1, "[2001:db8:0:1::2]:80", "2001:db8:0:1::")),
        *((1, "::ffff:1.2.3.4", "1.2.3.4"), (1, "fe80::1%eth0", "fe80::"), (1, "unknown", "10.0.0.1")),
    ],
)
def test_only_trusted_proxies_are_believed(settings: Any, proxies: int, forwarded: str, address: str) -> None:
    settings.PROXIES = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert client_address(RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", headers=headers)) == address
