"""What the frame of every page shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest

from builds.models import QueueControl


def queue(request: HttpRequest) -> dict[str, Callable[[], Any]]:
    """Whether builds may start. It is a function, so that only a page that shows it asks the database."""
    return {"queue_control": QueueControl.now}
