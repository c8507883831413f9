"""Who may use the API: whoever sends the common secret (CONTRACT §1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.crypto import constant_time_compare
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

if TYPE_CHECKING:  # imported at run time, it would import this module
    from rest_framework.views import APIView

HEADER = "X-Internal-Secret"
PROVEN = "secret"


class SecretNotConfigured(APIException):
    status_code = 500
    default_detail = "Internal service secret not configured"


class SecretAuthentication(BaseAuthentication):
    """Compares the header with every secret that is valid now, each in constant time, so that time tells nothing about any of them."""

    def authenticate(self, request: Request) -> tuple[None, str] | None:
        if not settings.INTERNAL_SERVICE_SECRETS:
            raise SecretNotConfigured
        given = request.headers.get(HEADER, "")
        matches = [constant_time_compare(given, secret) for secret in settings.INTERNAL_SERVICE_SECRETS]
        return (None, PROVEN) if any(matches) else None

    def authenticate_header(self, request: Request) -> str:
        """With a challenge a refusal is 401; without one it would be 403."""
        return HEADER


class HasSecret(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(request.auth == PROVEN)


class SecretScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the package has no types for it
    """How the OpenAPI description calls it."""

    target_class = SecretAuthentication
    name = "internalSecret"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": HEADER}
