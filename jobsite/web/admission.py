"""Who may send a large body: a client that knows the secret, to the API."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings

from builds.staff.shared_secret import HEADER, NOT_CONFIGURED, is_valid
from jobsite.web.refusal import Refusal

API = "/v1/"
HEADER_NAME = HEADER.upper().replace("-", "_")  # as waitress names it


def admit(path: str, headers: Mapping[str, str]) -> Refusal | None:
    """The refusal of a large body, before it is read; None if it is allowed."""
    if not f"/{path.lstrip('/')}".startswith(API):
        return Refusal(413)
    if not settings.INTERNAL_SERVICE_SECRETS:
        return Refusal(500, NOT_CONFIGURED)
    return None if is_valid(headers.get(HEADER_NAME, "")) else Refusal(401)
