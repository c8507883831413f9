"""A build's log for the admin: one page of it as values for the template, the whole as raw text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from builds import logs
from builds.admin_columns import LOG_PAGE_LINES, visible
from builds.models import UNFINISHED, Build

LOG_LINE_CHARACTERS = 4000
STREAM_WORDS = {"stderr": "stderr", "warning": "warning", "service": "Jobsite"}
COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


def log_context(build: Build, first: int) -> dict[str, Any]:
    """One page of a build's log, from line ``first`` on, and the first lines of the pages around it."""
    lines = [_shown(line) for line in islice(logs.read(build, first), LOG_PAGE_LINES)]
    following = first + LOG_PAGE_LINES
    last = (build.log_lines - 1) // LOG_PAGE_LINES * LOG_PAGE_LINES + 1
    return {
        "title": f"Log of build {build.number}",
        "subtitle": visible(str(build.submission)),
        "lines": lines,
        "first": first,
        "previous": max(first - LOG_PAGE_LINES, 1) if first > 1 else None,
        "next": following if following <= build.log_lines else None,
        "last": last if last > first else None,
        "unfinished": build.state in UNFINISHED,
    }


def _shown(line: logs.LogLine) -> dict[str, Any]:
    plain = COLOUR.sub("", line.text)
    return {
        "number": line.number,
        "time": line.time,
        "stage": line.stage,
        "stream": STREAM_WORDS.get(line.stream, ""),
        "text": visible(plain[:LOG_LINE_CHARACTERS]),
        "cut": len(plain) > LOG_LINE_CHARACTERS,
    }


def raw_lines(build: Build) -> Iterator[str]:
    """The whole log, some hundred lines at a time: time, stage, stream and text, parted by tabs."""
    lines = (
        f"{line.time.isoformat(timespec='milliseconds')}\t{line.stage}\t{line.stream}\t{line.text}\n" for line in logs.read(build)
    )
    while chunk := "".join(islice(lines, 500)):
        yield chunk
