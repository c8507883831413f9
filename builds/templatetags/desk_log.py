"""What only the page of a log shows."""

from __future__ import annotations

from django import template

from builds.desk.log_lines import iso
from builds.models import Build

register = template.Library()
register.filter("exact", iso)


@register.filter
def grouped(number: int) -> str:
    return f"{number:,}"


@register.filter
def took(build: Build) -> float | None:
    """Seconds from start to end; None where it has not come to both."""
    return (build.finished_at - build.started_at).total_seconds() if build.started_at and build.finished_at else None
