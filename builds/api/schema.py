"""The answers as the OpenAPI description has them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiResponse, inline_serializer
from rest_framework import serializers

from builds.api.serializers import StatusAnswer

FAILURE = inline_serializer(
    "Failure",
    {
        "ok": serializers.BooleanField(default=False),
        "message": serializers.CharField(help_text="what is wrong, for a person"),
        "errors": serializers.DictField(child=serializers.ListField(child=serializers.CharField()), required=False),
    },
)


def _told() -> dict[str, serializers.Field[Any, Any, Any, Any]]:
    return {"jobId": serializers.CharField(), "uuid": serializers.CharField(), "message": serializers.CharField()}


ACCEPTED = inline_serializer(
    "Accepted", {"ok": serializers.BooleanField(), "data": inline_serializer("AcceptedData", _told()), **_told()}
)
SUBMISSION_STATUS = inline_serializer("Status", {"ok": serializers.BooleanField(), "data": StatusAnswer()})


def _failures(*codes: int) -> dict[Any, Any]:
    texts = {
        400: "the request is wrong; `message` says how",
        401: "the secret is missing or wrong",
        404: "there is no such submission",
        405: "that method is not possible here",
        408: "the body took too long to arrive",
        409: "it makes no sense in the present state; nothing was changed",
        413: "the body is too large",
        415: "the body is not sent as JSON",
        429: "too often; `Retry-After` says when to ask again",
        500: "a fault of Jobsite's, or no secret is configured",
        503: "the database can't be reached; try again",
    }
    return {code: OpenApiResponse(FAILURE, description=texts[code]) for code in codes}


ERRORS = _failures(400, 401, 404, 429, 500, 503)
SUBMIT = {
    202: OpenApiResponse(ACCEPTED, description="accepted; 200 where SUBMISSION_ACCEPTED_STATUS says so"),
    200: OpenApiResponse(ACCEPTED, description="accepted, where SUBMISSION_ACCEPTED_STATUS is 200"),
    **_failures(400, 401, 408, 409, 413, 415, 429, 500, 503),
}
STATUS = {200: SUBMISSION_STATUS, **_failures(401, 404, 429, 500, 503)}
ACT = {202: SUBMISSION_STATUS, **_failures(400, 401, 404, 408, 409, 413, 415, 429, 500, 503)}
ISOLATION = inline_serializer(
    "Isolation",
    {
        "sandbox": serializers.ChoiceField(
            ("bubblewrap", "landlock", "none", "refused"), help_text="`refused`: none works, and builds fail; `none`: allowed so"
        ),
        "cgroups": serializers.ChoiceField(
            ("v2", "v1", "none"), help_text="control groups; `none`: memory and processes are counted, not limited by the kernel"
        ),
        "workers": serializers.IntegerField(),
    },
    many=True,
)
READY = {
    200: inline_serializer("Ready", {"status": serializers.CharField(), "isolation": ISOLATION}),
    **_failures(503),
}
