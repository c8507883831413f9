"""How the desk's pages show states, times and sizes."""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import urlencode

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from builds import units
from builds.admin_columns import visible
from builds.models import Build
from builds.outbox_models import StatusUpdate

register = template.Library()
register.filter("visible", lambda value: visible(str(value)))

NOTHING = "–"
CODE = re.compile(r"`([^`]+)`")
# A shape for each state, so that none is told by its colour alone. Drawn in a box of 16 by 16.
SHAPES = {
    "succeeded": '<path d="M3 8.5l3.2 3.2L13 5"/>',
    "failed": '<path d="M4 4l8 8M12 4l-8 8"/>',
    "running": '<path d="M5 3.5l7 4.5-7 4.5z"/>',
    "queued": '<circle cx="8" cy="8" r="5.5"/><path d="M8 5v3.2l2 1.3"/>',
    "cancelled": '<circle cx="8" cy="8" r="5.5"/><path d="M4.2 11.8l7.6-7.6"/>',
    "waiting": '<circle cx="8" cy="8" r="5.5" stroke-dasharray="2 2.4"/>',
    "warning": '<path d="M8 2.5l6 11H2z"/><path d="M8 6.5v3M8 11.4v.4"/>',
}


@register.simple_tag
def shape(name: str) -> SafeString:
    """The drawing of a state."""
    drawing = mark_safe(SHAPES.get(name, SHAPES["waiting"]))  # noqa: S308 - one of ours
    return format_html('<svg class="shape" viewBox="0 0 16 16" aria-hidden="true">{}</svg>', drawing)


@register.simple_tag
def state_badge(state: str, words: str = "") -> SafeString:
    """A state as shape and text; ``words`` where it is to be called something else."""
    return format_html('<span class="state state-{}">{}{}</span>', state, shape(state), words or state)


@register.filter
def duration(seconds: float | None) -> str:
    return NOTHING if seconds is None else units.duration(seconds)


@register.filter
def size(count: float | None) -> str:
    """Bytes."""
    return NOTHING if count is None else units.size(count)


def age(at: datetime, now: datetime) -> str:
    """``just now``, ``5 min ago``, ``3 h ago``, ``12 d ago``, ``in 30 s``."""
    seconds = (now - at).total_seconds()
    if -1 < seconds < 5:
        return "just now"
    words = rough(abs(seconds))
    return f"{words} ago" if seconds > 0 else f"in {words}"


def rough(seconds: float) -> str:
    """The largest unit only."""
    for unit, length in (("y", 365 * 86400), ("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


@register.simple_tag
def when(at: datetime | None, form: str = "full") -> SafeString | str:
    """A moment: its clock time in UTC, which a script turns into the reader's own, and its age. ``form`` "age" shows the age alone."""
    if at is None:
        return NOTHING
    clock = f"{at:%-d %b %Y, %H:%M}"
    return format_html(
        '<time class="when when-{}" datetime="{}" title="{} UTC"><span class="clock">{} UTC</span>'
        ' <span class="age">{}</span></time>',
        *(form, f"{at:%Y-%m-%dT%H:%M:%SZ}", f"{at:%Y-%m-%d %H:%M:%S}", clock, age(at, timezone.now())),
    )


@register.filter
def utc(at: datetime) -> str:
    """For a script."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


@register.filter
def seconds_since(at: datetime) -> float:
    return (timezone.now() - at).total_seconds()


ORCID = re.compile(r" \((?:https?://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])\)")


@register.filter
def names(authors: str) -> str:
    """Authors without their ORCIDs."""
    return ORCID.sub("", visible(authors))


# So many parts of a list of authors are shown at once; a few more are not worth a fold.
AUTHORS_SHOWN = 8
AUTHORS_FOLDED = 3


@register.simple_tag
def all_authors(authors: str) -> SafeString:
    """Authors with their ORCIDs as links; of many the first ones, and the others folded away.

    They are not counted: a comma may stand within a name, too.
    """
    listed = authors.split(", ")
    if len(listed) < AUTHORS_SHOWN + AUTHORS_FOLDED:
        return format_html("<bdi>{}</bdi>", with_orcids(authors))
    shown, folded = (", ".join(part) for part in (listed[:AUTHORS_SHOWN], listed[AUTHORS_SHOWN:]))
    fold = '<bdi>{},</bdi> <details id="authors"><summary>and the other authors</summary><bdi>{}</bdi></details>'
    return format_html(fold, with_orcids(shown), with_orcids(folded))


def with_orcids(authors: str) -> SafeString:
    text, ids = ORCID.split(visible(authors))[::2], ORCID.findall(authors)
    link = '{} <a class="small mono nowrap" href="https://orcid.org/{}" rel="noopener noreferrer">{}</a>'
    return format_html(
        "{}{}", format_html_join("", link, ((name, orcid, orcid) for name, orcid in zip(text, ids, strict=False))), text[-1]
    )


@register.filter
def short_commit(commit: str) -> str:
    return commit[:10]


@register.filter
def ended(exit_code: int) -> str:
    return f"exit code {exit_code}" if exit_code >= 0 else f"ended by signal {-exit_code}"


@register.filter
def depth(folders: int) -> int:
    """How far an entry of a tree stands in, as far as the style sheet goes."""
    return min(folders, 8)


@register.simple_tag
def entry_query(path: str) -> str:
    return urlencode({"entry": path})


@register.simple_tag
def log_link(build: Build, line: int | None = None) -> SafeString:
    """The way to a build's log, to its line where one is named."""
    address = reverse("desk:log", args=[build.submission_id, build.number])
    if line:
        return format_html('<a href="{}#L{}">Show line {} of the log</a>', address, line, f"{line:,}")
    return format_html('<a href="{}">Log of attempt {}</a>', address, build.number)


# The states of a status update: how each looks, and what it is called.
UPDATE_LOOKS = {
    "pending": ("queued", "waits"),
    "received": ("succeeded", "received"),
    "skipped": ("cancelled", "skipped"),
    "unwanted": ("cancelled", "unwanted"),
}


@register.simple_tag
def update_badge(update: StatusUpdate) -> SafeString:
    if update.state == StatusUpdate.State.PENDING and update.tries:
        return state_badge("warning", f"not taken, {update.tries} tr{'y' if update.tries == 1 else 'ies'}")
    look, words = UPDATE_LOOKS[update.state]
    return format_html('<span class="state state-{}">{}{}</span>', look, shape(look), words)


@register.filter
def in_code(text: str) -> SafeString:
    """A sentence of ours, with what stands between backquotes as code."""
    return mark_safe(CODE.sub(r"<code>\1</code>", escape(text)))  # noqa: S308 - escaped just before
