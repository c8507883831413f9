"""Template tags and filters for states, times, sizes and authors."""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import urlencode

from django import template
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from builds.desk import titles
from builds.desk.formatting import in_code, without_opening
from builds.lib import units
from builds.lib.text import visible
from builds.models import Build, StatusUpdate, clock

register = template.Library()
COMMIT = re.compile(r"\b[0-9a-f]{40}\b")
register.filter("in_code", in_code)
register.filter("without_opening", without_opening)
register.filter("visible", lambda value: visible(str(value)))
register.filter("formatted_title", lambda value: titles.formatted(str(value)))
register.filter("plain_title", lambda value: titles.unformatted(str(value)))

NOTHING = "–"
# A shape for each state, because colour alone must not carry meaning. The view box is 16 by 16.
SHAPES = {
    "succeeded": '<path d="M3 8.5l3.2 3.2L13 5"/>',
    "failed": '<path d="M4 4l8 8M12 4l-8 8"/>',
    "running": '<path d="M5 3.5l7 4.5-7 4.5z"/>',
    "queued": '<circle cx="8" cy="8" r="5.5"/><path d="M8 5v3.2l2 1.3"/>',
    "cancelled": '<circle cx="8" cy="8" r="5.5"/><path d="M4.2 11.8l7.6-7.6"/>',
    "waiting": '<circle cx="8" cy="8" r="5.5" stroke-dasharray="2 2.4"/>',
    "problems": '<path d="M8 2.5l6 11H2z"/><path d="M8 6.5v3M8 11.4v.4"/>',
    "warning": '<path d="M8 2.5l6 11H2z"/><path d="M8 6.5v3M8 11.4v.4"/>',
}


@register.simple_tag
def shape(name: str) -> SafeString:
    """The icon of a state."""
    drawing = mark_safe(SHAPES.get(name, SHAPES["waiting"]))  # noqa: S308 - a constant from SHAPES
    return format_html('<svg class="shape" viewBox="0 0 16 16" aria-hidden="true">{}</svg>', drawing)


@register.simple_tag
def state_badge(state: str, words: str = "") -> SafeString:
    """A state as icon and text. ``words`` replaces the text."""
    return format_html('<span class="state state-{}">{}{}</span>', state, shape(state), words or state)


@register.filter
def duration(seconds: float | None) -> str:
    return NOTHING if seconds is None else units.duration(seconds)


@register.filter
def size(count: float | None) -> str:
    """A number of bytes with a readable unit."""
    return NOTHING if count is None else units.size(count)


@register.filter
def counted(number: int, noun: str) -> str:
    """``1 page``, ``12 pages``."""
    return units.counted(number, noun)


def age(at: datetime, now: datetime) -> str:
    """``just now``, ``5 min ago``, ``3 h ago``, ``12 d ago``, ``in 30 s``."""
    seconds = (now - at).total_seconds()
    if -1 < seconds < 5:
        return "just now"
    words = rough(abs(seconds))
    return f"{words} ago" if seconds > 0 else f"in {words}"


def rough(seconds: float) -> str:
    """A duration in its largest unit only."""
    for unit, length in (("y", 365 * 86400), ("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


@register.simple_tag
def when(at: datetime | None, form: str = "full") -> SafeString | str:
    """A time in UTC, which a script converts to the reader's time zone, and its age. ``form`` "age" shows only the age."""
    if at is None:
        return NOTHING
    shown = f"{at:%-d %b %Y, %H:%M}"
    return format_html(
        '<time class="when when-{}" datetime="{}" title="{} UTC"><span class="clock">{} UTC</span>'
        ' <span class="age">{}</span></time>',
        *(form, f"{at:%Y-%m-%dT%H:%M:%SZ}", f"{at:%Y-%m-%d %H:%M:%S}", shown, age(at, clock.now())),
    )


@register.filter
def utc(at: datetime) -> str:
    """A time in the format that scripts read."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


@register.filter
def seconds_since(at: datetime) -> float:
    return (clock.now() - at).total_seconds()


ORCID = re.compile(r" \((?:https?://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])\)")


@register.filter
def names(authors: str) -> str:
    """Authors without their ORCIDs."""
    return ORCID.sub("", visible(authors))


# A list of authors shows the first AUTHORS_SHOWN and folds the rest, but only if at least MIN_AUTHORS_FOLDED would be folded.
AUTHORS_SHOWN = 8
MIN_AUTHORS_FOLDED = 3


@register.simple_tag
def all_authors(authors: str) -> SafeString:
    """Authors with their ORCIDs as links. Of a long list the first are shown and the others folded.

    The fold does not say how many there are, because a name can contain a comma.
    """
    listed = authors.split(", ")
    if len(listed) < AUTHORS_SHOWN + MIN_AUTHORS_FOLDED:
        return format_html("<bdi>{}</bdi>", with_orcids(authors))
    shown, folded = (", ".join(part) for part in (listed[:AUTHORS_SHOWN], listed[AUTHORS_SHOWN:]))
    fold = '<bdi>{},</bdi> <details id="authors"><summary>More authors</summary><bdi>{}</bdi></details>'
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
def short_commits(text: str) -> str:
    """``text`` with the beginnings of the commits in it."""
    return COMMIT.sub(lambda found: short_commit(found[0]), text)


@register.filter
def ended(exit_code: int) -> str:
    return f"exit code {exit_code}" if exit_code >= 0 else f"ended by signal {-exit_code}"


@register.filter
def depth(folders: int) -> int:
    """The indent level of a tree's entry, limited to what the style sheet has."""
    return min(folders, 8)


@register.simple_tag
def entry_query(path: str) -> str:
    return urlencode({"entry": path})


@register.simple_tag
def log_link(build: Build, line: int | None = None) -> SafeString:
    """A link to a build's log, or to a line of it."""
    address = reverse("desk:log", args=[build.submission_id, build.number])
    if line:
        return format_html('<a href="{}#L{}">Show line {} of the log</a>', address, line, f"{line:,}")
    return format_html('<a href="{}">Log of attempt {}</a>', address, build.number)


# For each state of a status update, the badge's look and its text.
UPDATE_LOOKS = {
    "pending": ("queued", "waiting"),
    "received": ("succeeded", "received"),
    "skipped": ("cancelled", "skipped"),
    "unwanted": ("cancelled", "not needed"),
}


@register.simple_tag
def update_badge(update: StatusUpdate) -> SafeString:
    if update.state == StatusUpdate.State.PENDING and (tries := update.failed_tries):
        return state_badge("warning", f"not accepted after {tries} tr{'y' if tries == 1 else 'ies'}")
    look, words = UPDATE_LOOKS[update.state]
    return format_html('<span class="state state-{}">{}{}</span>', look, shape(look), words)
