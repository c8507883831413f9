"""Numbers that no row can have, because the database can't hold them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import get_resolver

# PostgreSQL's numeric_value_out_of_range (its manual, appendix A).
OUT_OF_RANGE = "22003"


def is_too_large(error: Exception) -> bool:
    """Whether the database refused a number because it is too large."""
    if isinstance(error, OverflowError):
        return "SQLite" in str(error)
    return isinstance(error, DataError) and getattr(error.__cause__, "sqlstate", "") == OUT_OF_RANGE


class TooLargeNumberMiddleware:
    """Answers a request for such a row as one for any other row that does not exist."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not is_too_large(error):
            return None
        not_found: Any = get_resolver().resolve_error_handler(404)
        answer: HttpResponse = not_found(request, exception=Http404())
        return answer
