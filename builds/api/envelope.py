"""The one shape of every answer: ``{"ok": true, "data": …}`` or ``{"ok": false, "message": "…", "errors": {…}}`` (CONTRACT §1)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler as default_handler

from builds.patience import DATABASE_AWAY

logger = logging.getLogger(__name__)

API_PATHS = re.compile(r"/+(?:v1|readyz)(?:/|$)")
WENT_WRONG = "Something went wrong inside Jobsite; its operators find the reason in its log. Nothing was changed."
UNAVAILABLE = "Jobsite can't reach its database at the moment, so nothing was accepted. Try again."
RETRY_AFTER_SECONDS = "5"


class Conflict(exceptions.APIException):
    """The request makes no sense in the present state; nothing was changed."""

    status_code = 409


class Unavailable(exceptions.APIException):
    """Nothing can be accepted now, so nothing was."""

    status_code = 503


class Refusal(exceptions.APIException):
    """A 400 whose body is the message alone, where the contract has it so."""

    status_code = 400


def success(data: dict[str, Any], *, status: int = 200, **more: Any) -> Response:
    return Response({"ok": True, "data": data, **more}, status=status)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """What an exception that leaves a view answers. Unknown ones are logged, and say nothing of themselves."""
    if isinstance(error, DATABASE_AWAY):
        logger.error("the database can't be used: %s", error)
        return Response(failure(UNAVAILABLE), status=503, headers={"Retry-After": RETRY_AFTER_SECONDS})
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
        return {**failure(" ".join(_naming(name, text) for name, texts in errors.items() for text in texts)), "errors": errors}
    if isinstance(error, exceptions.UnsupportedMediaType):
        return failure("The body must be JSON: send it with the header Content-Type: application/json.")
    if isinstance(error, exceptions.MethodNotAllowed):
        return failure(f"{context['request'].method} is not possible here.")
    if isinstance(error, Http404):
        return failure(str(error) or "Not found.")
    return failure(str(getattr(error, "detail", "")) or "The request was refused.")


def _naming(name: str, text: str) -> str:
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
    """An address that nothing answers: JSON for a machine, a page for a person."""
    if API_PATHS.match(request.path):
        return JsonResponse(failure(f"There is nothing at {request.path}."), status=404)
    return defaults.page_not_found(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A request that is refused before it reaches a view, such as one for a host that is not ours."""
    if API_PATHS.match(request.path):
        return JsonResponse(failure("The request can't be understood, or names a host that is not answered here."), status=400)
    return defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    if API_PATHS.match(request.path):
        return JsonResponse(failure(WENT_WRONG), status=500)
    return defaults.server_error(request)
