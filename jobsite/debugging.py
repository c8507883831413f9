"""Hides secrets in the error pages that Django shows with ``DEBUG``."""

from __future__ import annotations

import re

from django.views.debug import SafeExceptionReporterFilter


class HidesAddresses(SafeExceptionReporterFilter):
    """Hides settings with a secret's name, as Django does, and also addresses that contain a password."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|DATABASE_URL|REDIS_URL|LOCATION|SENTRY_DSN", flags=re.IGNORECASE
    )
