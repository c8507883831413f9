"""What the admin's lists and pages show of a row. What authors wrote is text, never markup, and can't rearrange a page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from builds import units
from builds.models import UNFINISHED, Artifact, Build, Stage
from builds.outbox_models import StatusUpdateTry

# What a list, or a field of a page, shows of a row.
Column = Callable[[Any], str]

NOTHING = "-"

# Control characters but tab and newline, marks that change the direction of text, line separators, and halves of characters that
# can't be sent as UTF-8.
HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
JSON_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"?|\{\s*\}|\[\s*\]|[\[\]{},:]|[^\s\[\]{},:"]+')
DEEPEST_INDENT = 20


# --- values as text


def visible(text: str) -> str:
    """``text`` with what can't be seen, or would rearrange the page, written out: ``\\u202e``."""
    return HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def safe_text(text: str) -> str:
    """Text of an author's, with its direction kept from what stands around it."""
    return format_html('<bdi class="words">{}</bdi>', visible(text)) if text else NOTHING


def moment(at: datetime | None) -> str:
    """In UTC, as every time in the database is."""
    return format_html('<time datetime="{}">{} UTC</time>', at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S}") if at else NOTHING


def duration(start: datetime | None, end: datetime | None) -> str:
    """How long it took, for what still runs with its state."""
    if not start:
        return NOTHING
    seconds = ((end or timezone.now()) - start).total_seconds()
    words = units.duration(seconds)
    return words if end else f"{words} so far"


def spoken_size(count: int | None) -> str:
    return NOTHING if count is None else units.size(count)


def link_to(row: Model, words: str = "") -> str:
    """A link to the admin's page of ``row``."""
    address = reverse(f"admin:builds_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a href="{}"><bdi>{}</bdi></a>', address, visible(words or str(row)))


def outside_link(address: str, words: str = "") -> str:
    """A link that leads out of Jobsite; only text where the address is none of the web's."""
    if not address.startswith(("https://", "http://")):
        return safe_text(address)
    return format_html('<a href="{}" rel="noopener noreferrer">{}</a>', address, visible(words or address))


def log_link(build: Build, line: int = 1, words: str = "log") -> str:
    """A link to the desk's page of a build's log."""
    address = reverse("desk:log", args=[build.submission_id, build.number]) + (f"#L{line}" if line > 1 else "")
    return format_html('<a href="{}">{}</a>', address, words)


def laid_out(text: str) -> str:
    """JSON, whole or only its beginning, with a line for each value."""
    depth, parts = 0, []
    for piece in JSON_PIECE.findall(text):
        depth += (piece in "[{") - (piece in "]}")
        line = "\n" + "  " * min(depth, DEEPEST_INDENT)
        if piece in "[{,":
            parts.append(piece + line)
        elif piece in "]}":
            parts.append(line + piece)
        else:
            parts.append(": " if piece == ":" else _readable(piece))
    return "".join(parts)


def _readable(piece: str) -> str:
    try:
        return json.dumps(json.loads(piece), ensure_ascii=False)
    except ValueError:  # the beginning of a string that was cut
        return piece


# --- columns


def named(name: str, words: str = "", *, ordering: str | None = None) -> Callable[[Column], Column]:
    """Make a function of a row a column."""

    def decorate(show: Column) -> Column:
        show.__name__ = name
        return admin.display(description=words or name.replace("_", " "), ordering=ordering)(show)

    return decorate


def text(field: str, words: str = "") -> Column:
    return named(field, words, ordering=field)(lambda row: safe_text(getattr(row, field)))


def time(field: str, words: str = "") -> Column:
    return named(field, words or field.removesuffix("_at").replace("_", " "), ordering=field)(
        lambda row: moment(getattr(row, field))
    )


def number(words: str = "number", of: Callable[[Any], Build] = lambda row: row) -> Column:
    return named("number_link", words)(lambda row: link_to(of(row), f"Build {of(row).number}"))


submission_link = named("submission", ordering="submission")(lambda row: link_to(row.submission))
submission_of_build = named("submission", ordering="build__submission")(lambda row: link_to(row.build.submission))
build_link = number("build", of=lambda row: row.build)
event_build = named("build")(lambda row: link_to(row.build, f"Build {row.build.number}") if row.build else NOTHING)
took = named("duration")(lambda row: duration(row.started_at, row.finished_at))
command = named("command")(lambda row: format_html("<code>{}</code>", safe_text(row.command)) if row.command else NOTHING)
memory = named("peak_memory", ordering="peak_memory_bytes")(lambda row: spoken_size(row.peak_memory_bytes))
memory_in_use = named("memory", ordering="memory_bytes")(lambda row: spoken_size(row.memory_bytes))
stage_link = named("stage", ordering="name")(lambda row: link_to(row))
stage_log = named("log")(lambda row: log_link(row.build, row.first_log_line, f"from line {row.first_log_line}"))
size = named("size", ordering="size")(lambda row: f"{row.size:,} bytes ({units.size(row.size)})")
commit_link = named("commit", ordering="commit")(lambda row: outside_link(row.commit_link, row.commit[:12]))


@named("state", ordering="state")
def build_state(build: Build) -> str:
    asked = build.cancel_requested_at and build.state in UNFINISHED
    return f"{build.get_state_display()}, to be cancelled" if asked else build.get_state_display()


@named("exit_code", "ended with", ordering="exit_code")
def ended_with(stage: Stage) -> str:
    if stage.exit_code is None:
        return NOTHING
    return f"exit code {stage.exit_code}" if stage.exit_code >= 0 else f"signal {-stage.exit_code}"


@named("progress")
def progress(stage: Stage) -> str:
    if stage.progress_done is None:
        return NOTHING
    of = f" of {spoken_size(stage.progress_total)}" if stage.progress_total is not None else ""
    return spoken_size(stage.progress_done) + of


@named("download")
def download_link(artifact: Artifact) -> str:
    return format_html('<a href="{}">download</a>', reverse("admin:builds_artifact_download", args=[artifact.pk]))


def try_list(tries: Iterable[StatusUpdateTry]) -> str:
    """Time, code or error, latency and answer of each try."""
    items = format_html_join(
        "",
        "<li>{}: {}, after {} s<br>{}</li>",
        (
            (moment(t.at), f"code {t.code}" if t.code else safe_text(t.error), f"{t.seconds:.2f}", safe_text(t.body))
            for t in tries
        ),
    )
    return format_html("<ul>{}</ul>", items) if items else NOTHING
