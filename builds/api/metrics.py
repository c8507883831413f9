"""``GET /metrics``: the figures for Prometheus.

The code that makes them is loaded only where metrics are on. They are off unless a setting turns them on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from ipaddress import ip_address

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe

from builds.staff.addresses import client_ip

OFF = "Metrics are off. Set METRICS_TOKEN or METRICS_ALLOWED to turn them on."
REFUSED = "Send METRICS_TOKEN as “Authorization: Bearer …”, or add your address to METRICS_ALLOWED. It is {}."


def load() -> None:
    """Load what the answer needs, if metrics are on. See :mod:`builds.service.preload`."""
    if _is_on():
        _exposition()


@login_not_required
@require_safe
def metrics(request: HttpRequest) -> HttpResponseBase:
    if not _is_on():
        return _text(OFF, 404)
    if not (_has_token(request) or _is_allowed(request)):
        return _text(REFUSED.format(client_ip(request)), 403)
    try:
        return _exposition()(request)
    except DatabaseError as error:
        return _text(f"The database can't be read: {error}", 503)


def _is_on() -> bool:
    return bool(settings.METRICS_TOKEN or settings.METRICS_ALLOWED)


@cache
def _exposition() -> Callable[[HttpRequest], HttpResponseBase]:
    from prometheus_client.django import PrometheusDjangoView  # noqa: PLC0415 - loaded only where metrics are on

    from builds.record.exposition import REGISTRY  # noqa: PLC0415 - the same

    return PrometheusDjangoView.as_view(registry=REGISTRY)


def _has_token(request: HttpRequest) -> bool:
    scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
    return bool(settings.METRICS_TOKEN) and scheme.lower() == "bearer" and constant_time_compare(token, settings.METRICS_TOKEN)


def _is_allowed(request: HttpRequest) -> bool:
    try:
        address = ip_address(client_ip(request))
    except ValueError:  # a unix socket has no address
        return False
    return any(address in network for network in settings.METRICS_ALLOWED)


def _text(words: str, status: int) -> HttpResponse:
    return HttpResponse(f"{words}\n", status=status, content_type="text/plain; charset=utf-8")
