"""Which pages require signing in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import UUID

import pytest
from django.template.loader import render_to_string
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

OPEN = {
    "sign-in/",
    "sign-in/oidc/",
    "sign-in/oidc/callback/",
    "sign-in/reset/",
    "sign-in/reset/1/1/",
    "sign-in/reset/sent/",
    "admin/login/",
    "sign-out/",
    "healthz",
    "metrics",
    "readyz",
    "static/1",
    "v1/schema",
    *(f"v1/services/process-journal-submission{rest}" for rest in ("", "/1", "/1/cancel", "/1/retry", "/1/log")),
}
ARGUMENTS = (("<uuid:", str(UUID(int=1))), ("<path:", "1"), ("<int:", "1"), ("<str:", "1"), ("<", "1"))


def addresses(resolver: URLResolver, before: str = "") -> Iterator[str]:
    """Every address of the service, with a value for each argument."""
    for entry in resolver.url_patterns:
        pattern = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from addresses(entry, pattern)
        elif isinstance(entry, URLPattern) and "(?P" not in pattern:
            yield filled(pattern)


def filled(pattern: str) -> str:
    for start, value in ARGUMENTS:
        while start in pattern:
            at = pattern.index(start)
            pattern = pattern[:at] + value + pattern[pattern.index(">", at) + 1 :]
    return pattern


EVERY = sorted(set(addresses(get_resolver())))


@pytest.mark.django_db
@pytest.mark.parametrize("address", [address for address in EVERY if address not in OPEN])
def test_every_other_page_requires_signing_in(client: Client, address: str) -> None:
    answer = client.get(f"/{address}")
    assert answer.status_code == 302
    assert answer["Location"].startswith(("/sign-in/?next=", "/admin/login/?next="))


@pytest.mark.django_db
def test_a_live_request_gets_a_401_when_signed_out(client: Client) -> None:
    answer = client.get("/submissions/", headers={"X-Live": "1"})
    assert (answer.status_code, answer["Content-Type"]) == (401, "text/plain; charset=utf-8")


@pytest.mark.django_db
def test_the_500_page_has_the_same_style_sheets_as_the_other_pages(client: Client) -> None:
    """It does not extend base.html, which reads the signed-in user from the database."""
    sheet = re.compile(r'<link rel="stylesheet" href="([^"]*)">')
    assert sheet.findall(render_to_string("500.html")) == sheet.findall(client.get("/sign-in/").content.decode())
