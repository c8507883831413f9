"""What can be seen without signing in, and which role may do what."""

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
    "admin/login/",
    "sign-out/",
    "readyz",
    "v1/schema",
    *(f"v1/services/process-journal-submission{rest}" for rest in ("", "/1", "/1/cancel", "/1/retry", "/1/log")),
}
ARGUMENTS = (("<uuid:", str(UUID(int=1))), ("<path:", "1"), ("<int:", "1"), ("<str:", "1"), ("<", "1"))


def addresses(resolver: URLResolver, before: str = "") -> Iterator[str]:
    """Every address that the service answers, with a value for each argument."""
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
def test_nothing_is_seen_without_signing_in(client: Client, address: str) -> None:
    answer = client.get(f"/{address}")
    assert answer.status_code == 302
    assert answer["Location"].startswith(("/sign-in/?next=", "/admin/login/?next="))


@pytest.mark.django_db
def test_a_script_is_told_that_its_reader_is_signed_out(client: Client) -> None:
    answer = client.get("/submissions/", headers={"X-Live": "1"})
    assert (answer.status_code, answer["Content-Type"]) == (401, "text/plain; charset=utf-8")


@pytest.mark.django_db
def test_the_page_of_a_fault_of_ours_looks_like_the_others(client: Client) -> None:
    """It is made without the base of the others, which asks the database who is signed in."""
    sheet = re.compile(r'<link rel="stylesheet" href="([^"]*)">')
    assert sheet.findall(render_to_string("500.html")) == sheet.findall(client.get("/sign-in/").content.decode())
