"""What the script of the log page gets: the state of an attempt, its sections and lines. Only the look of lines depends on the reader."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from django.template.loader import render_to_string
from django.urls import reverse

from builds.desk.log.lines import Look, render_lines
from builds.desk.log.sections import Section, find_sections
from builds.models import UNFINISHED, Build, Stage, State
from builds.record import logs

CHUNK_LINES = 200


@dataclass(frozen=True)
class Progress:
    """How far an attempt is, as far as the page of its log shows it. Equal if there is nothing new."""

    lines: int
    state: str
    cancel_requested_at: datetime | None
    stages: int
    stages_ended: int

    @classmethod
    def of(cls, build: Build, stages: Sequence[Stage]) -> Self:
        ended = sum(stage.finished_at is not None for stage in stages)
        return cls(build.log_lines, build.state, build.cancel_requested_at, len(stages), ended)


def address(name: str, build: Build) -> str:
    return reverse(f"desk:log-{name}" if name else "desk:log", args=[build.submission_id, build.number])


def describe(build: Build, stages: Sequence[Stage]) -> dict[str, Any]:
    """The state of the attempt and its sections."""
    status = describe_status(build, find_sections(build, stages))
    return {
        "total": build.log_lines,
        "goes_on": status["goes_on"],
        "words": status["words"],
        "state": render_to_string("desk/_log_state.html", status),
        "end": render_to_string("desk/_log_end.html", status),
        "sections": [_describe_section(section) for section in status["sections"]],
    }


def describe_status(build: Build, parts: list[Section]) -> dict[str, Any]:
    goes_on = build.state in UNFINISHED
    return {
        "build": build,
        "sections": parts,
        "goes_on": goes_on,
        "words": "being cancelled" if goes_on and build.cancel_requested_at else build.state,
        "has_failed": build.state == State.FAILED,
    }


def _describe_section(section: Section) -> dict[str, Any]:
    return {
        "key": section.key,
        "first": section.first,
        "last": section.last,
        "state": section.state,
        "summary": render_to_string("desk/_log_stage.html", {"section": section}),
    }


def find_new_lines(build: Build, after: int) -> tuple[int, int]:
    """The first and the last line to send to a reader who has those up to ``after``. Of many lines only the newest are sent."""
    return max(after + 1, build.log_lines - CHUNK_LINES + 1), build.log_lines


def describe_lines(build: Build, first: int, last: int, look: Look) -> dict[str, Any]:
    """The lines ``first`` to ``last`` as HTML, and the number of the first. There may be none."""
    lines = list(render_lines(logs.read(build, first, last), look)) if first <= last else []
    return {"first": first, "lines": lines}


def default_look(build: Build) -> Look:
    """How lines are shown to a reader who has chosen nothing."""
    return Look(
        start=build.started_at or build.created_at,
        download=address("text", build),
        cause=build.cause_log_line if build.state == State.FAILED else None,
    )


def encode(answer: dict[str, Any]) -> bytes:
    """One line of JSON."""
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
