"""The envelope of every answer: ``{"ok": true, "data": …}`` or ``{"ok": false, "message": "…", "errors": {…}}`` (CONTRACT §1)."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template import loader
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler as default_handler

from builds.errors import ExportsUnavailable
from builds.record.patience import DATABASE_AWAY
from builds.staff.numbers import is_too_large

logger = logging.getLogger(__name__)

API_PATHS = re.compile(r"/+(?:v1|healthz|readyz)(?:/|$)")
WENT_WRONG = "Something went wrong inside Jobsite. Nothing was changed. The operators can find the reason in Jobsite's log."
UNAVAILABLE = "Jobsite can't use its database at the moment. Nothing was changed. Try again later."
RETRY_AFTER_SECONDS = "5"


class Conflict(exceptions.APIException):
    """The submission's state does not allow the request. Nothing was changed."""

    status_code = 409


class Unavailable(exceptions.APIException):
    """Nothing can be accepted at the moment. Nothing was changed."""

    status_code = 503


class Refusal(exceptions.APIException):
    """A 400 without ``errors``: the contract fixes its whole body."""

    status_code = 400


def success(data: dict[str, Any], *, status: int = 200, **more: Any) -> Response:
    return Response({"ok": True, "data": data, **more}, status=status)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """The answer for an exception that leaves a view. An unknown one is logged, and the answer does not describe it."""
    if isinstance(error, DATABASE_AWAY):
        logger.error("the database can't be used: %s", error)
        return Response(failure(UNAVAILABLE), status=503, headers={"Retry-After": RETRY_AFTER_SECONDS})
    if is_too_large(error):
        error = Http404()
    response = default_handler(error, context)
    if response is None:
        logger.exception("a request to %s failed", context["request"].path, exc_info=error)
        return Response(failure(WENT_WRONG), status=500)
    response.data = _body(error, context)
    if response.status_code == 503:
        response["Retry-After"] = RETRY_AFTER_SECONDS
    return response


def _body(error: Exception, context: dict[str, Any]) -> dict[str, Any]:
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed | exceptions.PermissionDenied):
        return failure("Unauthorized")
    if isinstance(error, exceptions.ValidationError):
        errors = {name: _texts(details) for name, details in error.detail.items()} if isinstance(error.detail, dict) else {}
        return {**failure(" ".join(_with_name(name, text) for name, texts in errors.items() for text in texts)), "errors": errors}
    if isinstance(error, exceptions.UnsupportedMediaType):
        return failure("The body must be JSON: send it with the header Content-Type: application/json.")
    if isinstance(error, exceptions.MethodNotAllowed):
        return failure(f"The method {context['request'].method} is not allowed here.")
    if isinstance(error, Http404):
        return failure(str(error) or "Not found.")
    return failure(str(getattr(error, "detail", "")) or "The request was refused.")


def _with_name(name: str, text: str) -> str:
    return text if name in text else f"{name}: {text}"


def _texts(details: Any) -> list[str]:
    return list(_leaves(details))


def _leaves(details: Any) -> Iterator[str]:
    if isinstance(details, list | tuple):
        for detail in details:
            yield from _leaves(detail)
    elif isinstance(details, dict):
        yield from _leaves(list(details.values()))
    else:
        yield str(details)


def failure(message: str) -> dict[str, Any]:
    return {"ok": False, "message": message}


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The answer for an unknown path: JSON below the API's paths, otherwise a page."""
    if API_PATHS.match(request.path):
        return JsonResponse(failure(f"There is nothing at {request.path}."), status=404)
    return defaults.page_not_found(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The answer for a request that is refused before it reaches a view, such as one for a host that is not allowed."""
    if API_PATHS.match(request.path):
        return JsonResponse(failure("The request is malformed, or its Host header is not in ALLOWED_HOSTS."), status=400)
    return defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """The answer for an exception outside the API's views. Django calls this while it handles that exception."""
    is_away = isinstance(sys.exception(), (*DATABASE_AWAY, ExportsUnavailable))
    status, headers = (503, {"Retry-After": RETRY_AFTER_SECONDS}) if is_away else (500, {})
    if API_PATHS.match(request.path):
        return JsonResponse(failure(UNAVAILABLE if is_away else WENT_WRONG), status=status, headers=headers)
    missing = "kept exports" if isinstance(sys.exception(), ExportsUnavailable) else "database"
    page = loader.get_template("503.html" if is_away else "500.html").render({"missing": missing})
    return HttpResponse(page, status=status, headers=headers)
