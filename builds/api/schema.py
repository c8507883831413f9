"""The OpenAPI description: what each endpoint takes and answers.

Only the process that makes the description loads this module: see :mod:`builds.api.openapi`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, inline_serializer
from rest_framework import serializers

from builds.api import views
from builds.api.authentication import SecretAuthentication
from builds.api.serializers import CancelRequest, RetryRequest, StatusAnswer, SubmissionRequest
from builds.staff.shared_secret import HEADER

FAILURE = inline_serializer(
    "Failure",
    {
        "ok": serializers.BooleanField(default=False),
        "message": serializers.CharField(help_text="what is wrong, in words for a person"),
        "errors": serializers.DictField(child=serializers.ListField(child=serializers.CharField()), required=False),
    },
)


def _accepted_fields() -> dict[str, serializers.Field[Any, Any, Any, Any]]:
    return {"jobId": serializers.CharField(), "uuid": serializers.CharField(), "message": serializers.CharField()}


ACCEPTED = inline_serializer(
    "Accepted",
    {"ok": serializers.BooleanField(), "data": inline_serializer("AcceptedData", _accepted_fields()), **_accepted_fields()},
)
SUBMISSION_STATUS = inline_serializer("Status", {"ok": serializers.BooleanField(), "data": StatusAnswer()})


def _failures(*codes: int) -> dict[Any, Any]:
    texts = {
        400: "the request is invalid; `message` says why",
        401: "the secret is missing or wrong",
        404: "there is no submission with this jobId",
        405: "the method is not allowed here",
        408: "the body took too long to arrive",
        409: "the submission's state does not allow this; nothing was changed",
        413: "the body is too large",
        415: "the body is not JSON, or is compressed",
        429: "too many requests; `Retry-After` says when to try again",
        500: "an error inside Jobsite, or no secret is configured",
        503: "the database or the disk can't be used at the moment; try again",
    }
    return {code: OpenApiResponse(FAILURE, description=texts[code]) for code in codes}


ERRORS = _failures(400, 401, 404, 429, 500, 503)
SUBMIT = {
    202: OpenApiResponse(ACCEPTED, description="accepted; the status is 200 if `SUBMISSION_ACCEPTED_STATUS` says so"),
    200: OpenApiResponse(ACCEPTED, description="accepted, if `SUBMISSION_ACCEPTED_STATUS` is 200"),
    **_failures(400, 401, 408, 409, 413, 415, 429, 500, 503),
}
STATUS = {200: SUBMISSION_STATUS, **_failures(401, 404, 429, 500, 503)}
ACTION = {202: SUBMISSION_STATUS, **_failures(400, 401, 404, 408, 409, 413, 415, 429, 500, 503)}
ISOLATION = inline_serializer(
    "Isolation",
    {
        "sandbox": serializers.ChoiceField(
            ("bubblewrap", "landlock", "none", "refused"),
            help_text="`refused`: no sandbox works, and builds fail; `none`: no sandbox works, and builds run without one",
        ),
        "cgroups": serializers.ChoiceField(
            ("v2", "v1", "none"),
            help_text="version of control groups; `none`: Jobsite measures memory and processes instead of the kernel limiting them",
        ),
        "workers": serializers.IntegerField(help_text="how many workers run builds this way"),
    },
    many=True,
)
NOTICES = serializers.ListField(child=serializers.CharField())
HEALTH = {200: inline_serializer("Health", {"status": serializers.CharField()})}
READY = {
    200: inline_serializer(
        "Ready",
        {
            "status": serializers.CharField(),
            "isolation": ISOLATION,
            "notices": NOTICES,
        },
    ),
    **_failures(503),
}
LOG_PARAMETERS = [
    OpenApiParameter("from", int, description="number of the first line, counted from 1"),
    OpenApiParameter("attempt", int, description="number of the attempt; the newest if not given"),
]
LOG = {(200, "text/plain"): OpenApiResponse(str, description="the lines of the log as text"), **ERRORS}


class SecretScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the package has no types for it
    """The secret in the description."""

    target_class = SecretAuthentication
    name = "internalSecret"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": HEADER}


def make() -> bytes:
    """The description as JSON."""
    generator, renderer = SchemaGenerator(), OpenApiJsonRenderer()  # type: ignore[no-untyped-call]  # the package has no types for it
    return bytes(renderer.render(generator.get_schema(request=None, public=True), renderer_context={}))  # type: ignore[no-untyped-call]  # nor for these


def describe(endpoints: list[Any]) -> list[Any]:
    """Describe the views before anything reads their description. A setting names this function, so that Django's checks do too."""
    _describe_views()
    return endpoints


@cache  # a view must not be described twice
def _describe_views() -> None:
    extend_schema(operation_id="submit", request=SubmissionRequest, responses=SUBMIT)(views.SubmissionsView.post)
    extend_schema(operation_id="status", responses=STATUS)(views.SubmissionView.get)
    extend_schema(operation_id="cancel", request=CancelRequest, responses=ACTION)(views.CancelView.post)
    extend_schema(operation_id="retry", request=RetryRequest, responses=ACTION)(views.RetryView.post)
    extend_schema(operation_id="log", parameters=LOG_PARAMETERS, responses=LOG)(views.LogView.get)
    extend_schema(operation_id="health", responses=HEALTH)(views.HealthView.get)
    extend_schema(operation_id="ready", responses=READY)(views.ReadyView.get)
