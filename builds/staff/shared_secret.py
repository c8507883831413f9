"""The secret that desci-server and Jobsite share (CONTRACT §1)."""

from __future__ import annotations

from django.conf import settings
from django.utils.crypto import constant_time_compare

HEADER = "X-Internal-Secret"
NOT_CONFIGURED = "Internal service secret not configured"


def is_valid(given: str) -> bool:
    """Whether ``given`` is a secret that is accepted now. All are compared, in constant time, so that timing reveals nothing."""
    matches = [constant_time_compare(given, secret) for secret in settings.INTERNAL_SERVICE_SECRETS]
    return any(matches)
