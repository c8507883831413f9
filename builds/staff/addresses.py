"""The address that a request comes from. It tells clients apart for the rate limits and the lock after wrong passwords."""

from __future__ import annotations

import ipaddress
import re

from django.conf import settings
from django.http import HttpRequest

WITH_PORT = re.compile(r"\[([^]]*)](?::\d+)?|([\d.]+):\d+")
# A client may use any address of its IPv6 network.
OWN_BITS = 64


def client_address(request: HttpRequest) -> str:
    """What tells this client apart: its IPv4 address, or the network of its IPv6 address."""
    text = client_ip(request)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(address), OWN_BITS), strict=False).network_address)
    return text


def client_ip(request: HttpRequest) -> str:
    """The address that the outermost trusted proxy saw; without proxies, the address that connected.

    The client wrote what stands further left in X-Forwarded-For, and may write anything there.
    """
    connected: str = request.META.get("REMOTE_ADDR", "")
    forwarded = [address.strip() for address in request.headers.get("X-Forwarded-For", "").split(",") if address.strip()]
    seen = forwarded[-settings.PROXIES] if settings.PROXIES and len(forwarded) >= settings.PROXIES else connected
    return _normalized(seen) or _normalized(connected) or connected


def _normalized(text: str) -> str:
    """An address without its port and zone. IPv4 in IPv6 becomes IPv4. Empty if ``text`` is not an address."""
    try:
        found = WITH_PORT.fullmatch(text)
        address = ipaddress.ip_address(found[1] or found[2] if found else text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or address)
    return str(address)
