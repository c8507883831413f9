"""How often the API may be asked, by one client and by all together; and how often one client may try to sign in.

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
from builds.desk.sign_in import client_address

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60
LIMITED = "/v1/"
# A name is locked after some wrong passwords; this holds who tries many names, and the work that each password costs.
SIGN_IN = "/sign-in/"
SIGN_INS = 30
TOO_MANY = "There were too many sign-ins from your address. Try again in a minute."


class RateLimitMiddleware:
    """Answers 429 before anything else is done, so that wrong secrets and wrong bodies count too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith(LIMITED) and _is_over(
            "", client_address(request), settings.API_RATE_PER_CLIENT, settings.API_RATE
        ):
            return _told_when(JsonResponse(failure("Too many requests; ask again later."), status=429))
        if request.method == "POST" and request.path == SIGN_IN and _is_over("sign-in:", client_address(request), SIGN_INS, 0):
            return _told_when(HttpResponse(TOO_MANY, content_type="text/plain; charset=utf-8", status=429))
        return self._get_response(request)


def _told_when(response: HttpResponse) -> HttpResponse:
    response["Retry-After"] = str(WINDOW_SECONDS - int(time.time()) % WINDOW_SECONDS)
    return response


def _is_over(what: str, client: str, most: int, most_of_all: int) -> bool:
    """What one client is refused does not count for all: it could lock out the others."""
    window = int(time.time()) // WINDOW_SECONDS
    try:
        return _passes(f"{what}{client}:{window}", most) or _passes(f"{what}all:{window}", most_of_all)
    except (RedisError, OSError) as error:
        logger.debug("requests are not counted: %s", error)
        return False


def _passes(key: str, limit: int) -> bool:
    return bool(limit) and _count(key) > limit


def _count(key: str) -> int:
    cache = caches["rates"]
    cache.add(key, 0, timeout=2 * WINDOW_SECONDS)
    try:
        return int(cache.incr(key))
    except ValueError:  # it was dropped between the two
        return 1
