"""Lets a client use the API if it sends the shared secret (CONTRACT §1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from builds.staff.shared_secret import HEADER, NOT_CONFIGURED, is_valid

if TYPE_CHECKING:  # at run time this would be a circular import
    from rest_framework.views import APIView

PROVEN = "secret"


class SecretNotConfigured(APIException):
    status_code = 500
    default_detail = NOT_CONFIGURED


class SecretAuthentication(BaseAuthentication):
    """Accepts a request that sends a valid secret."""

    def authenticate(self, request: Request) -> tuple[None, str] | None:
        if not settings.INTERNAL_SERVICE_SECRETS:
            raise SecretNotConfigured
        return (None, PROVEN) if is_valid(request.headers.get(HEADER, "")) else None

    def authenticate_header(self, request: Request) -> str:
        """A challenge for the answer. Without it Django REST framework would answer 403 instead of 401."""
        return HEADER


class HasSecret(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(request.auth == PROVEN)
