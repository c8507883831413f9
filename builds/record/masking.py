"""The secrets of this installation, which are masked wherever a text leaves it: build logs, causes, log lines, error reports."""

from __future__ import annotations

import os
import re
from functools import lru_cache

from django.conf import settings

from builds.lib.redact import Redactor
from jobsite import redis_url

SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|KEY", re.IGNORECASE)


def redactor() -> Redactor:
    """Replaces every secret of the service, and every secret that its operators pass to builds."""
    return _redactor_of(
        settings.SECRET_KEY,
        settings.GITHUB_TOKEN,
        *settings.INTERNAL_SERVICE_SECRETS,
        settings.OIDC_CLIENT_SECRET,
        settings.SENTRY_DSN,
        settings.METRICS_TOKEN,
        settings.EXPORTS_S3_SECRET_KEY,
        str(settings.DATABASES["default"].get("PASSWORD") or ""),
        *redis_url.passwords(settings.REDIS_URL),
        *(os.environ.get(name, "") for name in settings.BUILD_ENVIRONMENT if SECRET_NAME.search(name)),
    )


@lru_cache(maxsize=4)
def _redactor_of(*secrets: str) -> Redactor:
    """Kept, because each log line needs it and its patterns take a moment to compile."""
    return Redactor(secret for secret in secrets if secret)
