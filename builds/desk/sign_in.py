"""Signing in, and whose address a sign-in comes from."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """The reader's own address: the one that the outermost of our own proxies saw; without proxies, whoever connected.

    What stands further left in X-Forwarded-For was written by the reader, who may write anything.
    """
    connected: str = request.META.get("REMOTE_ADDR", "")
    forwarded = [address.strip() for address in request.headers.get("X-Forwarded-For", "").split(",") if address.strip()]
    if not settings.PROXIES or len(forwarded) < settings.PROXIES:
        return connected
    return forwarded[-settings.PROXIES]
