"""What the pages of faults that Django shows while debugging leave out."""

from __future__ import annotations

import re

from django.views.debug import SafeExceptionReporterFilter


class HidesAddresses(SafeExceptionReporterFilter):
    """Django's own, which hides what is called a secret; and the addresses that have a password in them."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|DATABASE_URL|REDIS_URL|LOCATION", flags=re.IGNORECASE
    )
