"""Template filters for the log page."""

from __future__ import annotations

from django import template

from builds.desk.log.lines import format_iso
from builds.models import Build

register = template.Library()
register.filter("exact", format_iso)


@register.filter
def grouped(number: int) -> str:
    return f"{number:,}"


@register.filter
def took(build: Build) -> float | None:
    """Seconds from start to end. None if the build has not started or not ended."""
    return (build.finished_at - build.started_at).total_seconds() if build.started_at and build.finished_at else None
