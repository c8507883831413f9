"""The columns of the admin's lists and the fields of its pages. Authors' texts are shown as text and can't rearrange a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from builds.lib import units
from builds.lib.text import visible
from builds.models import UNFINISHED, Artifact, Build, Stage, StatusUpdateTry, clock

# Turns a row into the text of a column or field.
Column = Callable[[Any], str]

NOTHING = "-"


# --- values as text


def safe_text(text: str) -> str:
    """An author's text, isolated so that its writing direction does not affect the text around it."""
    return format_html('<bdi class="words">{}</bdi>', visible(text)) if text else NOTHING


def moment(at: datetime | None) -> str:
    """In UTC, as every time in the database is."""
    return format_html('<time datetime="{}">{} UTC</time>', at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S}") if at else NOTHING


def duration(start: datetime | None, end: datetime | None) -> str:
    """How long it took; if it still runs, how long it has run so far."""
    if not start:
        return NOTHING
    seconds = ((end or clock.now()) - start).total_seconds()
    words = units.duration(seconds)
    return words if end else f"{words} so far"


def spoken_size(count: int | None) -> str:
    return NOTHING if count is None else units.size(count)


def link_to(row: Model, words: str = "") -> str:
    """A link to the admin's page of ``row``."""
    address = reverse(f"admin:builds_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a href="{}"><bdi>{}</bdi></a>', address, visible(words or str(row)))


def outside_link(address: str, words: str = "") -> str:
    """A link out of Jobsite. Only text if the address is not http or https."""
    if not address.startswith(("https://", "http://")):
        return safe_text(address)
    return format_html('<a href="{}" rel="noopener noreferrer">{}</a>', address, visible(words or address))


def log_link(build: Build, line: int = 1, words: str = "log") -> str:
    """A link to the desk's page of a build's log."""
    address = reverse("desk:log", args=[build.submission_id, build.number]) + (f"#L{line}" if line > 1 else "")
    return format_html('<a href="{}">{}</a>', address, words)


# --- columns


def named(name: str, words: str = "", *, ordering: str | None = None) -> Callable[[Column], Column]:
    """Decorate a function of a row as a column."""

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
processor_time = named("processor_time", ordering="processor_seconds")(
    lambda row: NOTHING if row.processor_seconds is None else units.duration(row.processor_seconds)
)
memory_in_use = named("memory", ordering="memory_bytes")(lambda row: spoken_size(row.memory_bytes))
stage_link = named("stage", ordering="name")(lambda row: link_to(row))
stage_log = named("log")(lambda row: log_link(row.build, row.first_log_line, f"from line {row.first_log_line}"))
finding_log = named("log")(lambda row: log_link(row.build, row.log_line, f"line {row.log_line}") if row.log_line else NOTHING)
size = named("size", ordering="size")(lambda row: f"{row.size:,} bytes ({units.size(row.size)})")
commit_link = named("commit", ordering="commit")(lambda row: outside_link(row.commit_link, row.commit[:12]))


@named("state", ordering="state")
def build_state(build: Build) -> str:
    asked = build.cancel_requested_at and build.state in UNFINISHED
    return f"{build.get_state_display()}, being cancelled" if asked else build.get_state_display()


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


def _try_result(attempt: StatusUpdateTry) -> str:
    error = safe_text(attempt.error)
    if attempt.code:
        return format_html("code {} {}", attempt.code, error) if attempt.error else f"code {attempt.code}"
    return error


def try_list(tries: Iterable[StatusUpdateTry]) -> str:
    """Time, code or error, latency and answer of each try."""
    items = format_html_join(
        "",
        "<li>{}: {}, after {} s<br>{}</li>",
        ((moment(t.at), _try_result(t), f"{t.seconds:.2f}", safe_text(t.body)) for t in tries),
    )
    return format_html("<ul>{}</ul>", items) if items else NOTHING
