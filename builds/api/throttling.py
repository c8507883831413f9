"""How often the API may be asked: by one client, and by all together.

Counted in the queue store, for all web processes; where it is away, nobody is refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.conf import settings
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse, JsonResponse
from redis import RedisError

from builds.api.envelope import failure

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60
LIMITED = "/v1/"


class RateLimitMiddleware:
    """Answers 429 before anything else is done, so that wrong secrets and wrong bodies count too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith(LIMITED) and _is_over(_client(request)):
            return _refusal()
        return self._get_response(request)


def _refusal() -> HttpResponse:
    response = JsonResponse(failure("Too many requests; ask again later."), status=429)
    response["Retry-After"] = str(WINDOW_SECONDS - int(time.time()) % WINDOW_SECONDS)
    return response


def _client(request: HttpRequest) -> str:
    """The address that asks; behind proxies of ours, the one that the outermost of them has seen."""
    seen = [one.strip() for one in request.headers.get("X-Forwarded-For", "").split(",") if one.strip()]
    behind = settings.PROXIES
    return seen[-behind] if behind and len(seen) >= behind else str(request.META.get("REMOTE_ADDR", ""))


def _is_over(client: str) -> bool:
    window = int(time.time()) // WINDOW_SECONDS
    try:
        counts = [(_count(f"{client[:64]}:{window}"), settings.API_RATE_PER_CLIENT), (_count(f"all:{window}"), settings.API_RATE)]
    except (RedisError, OSError) as error:
        logger.debug("requests are not counted: %s", error)
        return False
    return any(most and count > most for count, most in counts)


def _count(key: str) -> int:
    cache = caches["rates"]
    cache.add(key, 0, timeout=2 * WINDOW_SECONDS)
    try:
        return int(cache.incr(key))
    except ValueError:  # it was dropped between the two
        return 1
