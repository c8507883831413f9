"""Every answer of the API is JSON, whatever the request asks for."""

from __future__ import annotations

from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation


class OnlyOne(DefaultContentNegotiation):
    """Ignores ``Accept`` and ``format``: an error that they caused would have no envelope."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: str | None = None) -> tuple[Any, str]:
        """The first renderer of the view, and its media type."""
        renderer = next(iter(renderers))
        return renderer, renderer.media_type
