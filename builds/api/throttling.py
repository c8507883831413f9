"""Limits API requests per minute, by one client and by all together, and sign-ins by one client.

Requests are counted in the queue store, for all web processes. Without the store nothing is limited.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from redis import RedisError, ResponseError

from builds.api.envelope import failure
from builds.queue import rates
from builds.staff.addresses import client_address

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60
LIMITED = "/v1/"
# django-axes locks one name after wrong passwords. This limits a client that tries many names; each password costs work.
SIGN_IN = "/sign-in/"
MAX_SIGN_INS = 30
TOO_MANY = "Too many sign-ins from your address. Try again in a minute."


class RateLimitMiddleware:
    """Answers 429 before anything else is done, so that requests with a wrong secret or body count too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith(LIMITED) and _is_over(
            "", client_address(request), settings.API_RATE_PER_CLIENT, settings.API_RATE
        ):
            return _with_retry_after(JsonResponse(failure("Too many requests. Retry-After says when to try again."), status=429))
        if (
            request.method == "POST"
            and request.path == SIGN_IN
            and _is_over("sign-in:", client_address(request), MAX_SIGN_INS, 0)
        ):
            return _with_retry_after(HttpResponse(TOO_MANY, content_type="text/plain; charset=utf-8", status=429))
        return self._get_response(request)


def _with_retry_after(response: HttpResponse) -> HttpResponse:
    response["Retry-After"] = str(WINDOW_SECONDS - int(time.time()) % WINDOW_SECONDS)
    return response


def _is_over(kind: str, client: str, client_limit: int, total_limit: int) -> bool:
    """A refused request does not count towards the total: otherwise one client could lock out the others."""
    window = int(time.time()) // WINDOW_SECONDS
    limits = [(f"{kind}{client}:{window}", client_limit), (f"{kind}all:{window}", total_limit)]
    try:
        return rates.exceed(limits, seconds=2 * WINDOW_SECONDS)
    except ResponseError as error:  # it lasts until somebody changes the store: an account that may not run scripts, for example
        _warn(window, str(error))
    except (RedisError, OSError) as error:  # an alarm reports it
        logger.debug("requests are not counted: %s", error)
    return False


@lru_cache(maxsize=1)
def _warn(window: int, error: str) -> None:
    """Log a warning once in each window."""
    logger.warning("requests are not counted, so none is refused: the queue store answered: %s", error)
