"""Reads a manuscript's sources before the build: a program of our own does it in the build's sandbox, and its findings are kept.

mystmd is silent about much of this, or names no line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from builds.engine.context import Context
from builds.engine.findings import Finding
from builds.engine.findings.catalogue import notebooks, pages, references, whole
from builds.engine.findings.catalogue.sources import SOURCES
from builds.engine.findings.kind import MAX_NAME
from builds.engine.manuscript.project import Project
from builds.engine.myst import own_tools, toolchain
from builds.errors import ManuscriptUnreadable
from builds.lib.text import one_line

READER_SECONDS = 60
READER_MEMORY_BYTES = 2 << 30
READER_OUTPUT_BYTES = 1 << 20
START = "Failed to build the repo files: "
PLACES = ("file", "line", "log_line", "export")
CATALOGUE = (notebooks, pages, references, whole)  # their kinds are registered when they are imported


def read_sources(ctx: Context, project: Project, *, runs_code: bool) -> None:
    """Check the sources, and keep what is found. ``runs_code`` says that the build's command may run notebooks.

    Raises:
        ManuscriptUnreadable: the project file has conflict markers, or a notebook can't be read.
        BuildStopped, SandboxUnavailable, SandboxLost: as :func:`own_tools.run` raises them.
    """
    plan = {
        "root": str(project.root),
        "file": str(project.file),
        "memory": READER_MEMORY_BYTES,
        "seconds": READER_SECONDS,
        "runs_code": runs_code,
        "converts_eps": toolchain.converts_eps(),
    }
    command = ("read_manuscript.py", json.dumps(plan))
    result = own_tools.run(ctx, ctx.sandbox, command, seconds=READER_SECONDS * 2, max_bytes=READER_OUTPUT_BYTES, env={})
    result.check_service("the manuscript was read")
    ended = False
    for answer in parse(result.lines):
        ended = ended or answer.get("end") is True
        keep(ctx, answer)
    if not ended:
        why = result.ended.hit.text if result.ended.hit else result.last_error
        ctx.find(pages.SOURCES_UNCHECKED, why=why[:200])


def keep(ctx: Context, answer: Mapping[str, Any]) -> None:
    """Keep a finding of a reader. Raise its error if the manuscript can't be built."""
    kind = SOURCES.get(str(answer.get("code")))
    if kind is None:
        return
    words, line = answer.get("words"), answer.get("line")
    file, number = one_line(answer.get("file"), MAX_NAME), line if isinstance(line, int) else None
    named: dict[str, Any] = {}
    if isinstance(words, dict):
        named = {name: _word(value) for name, value in words.items() if name not in PLACES}
    try:
        finding = ctx.keep(kind.finding(file=file, line=number, **named))
    except KeyError:
        return  # the words are not those of the kind
    ctx.findings.explain(finding, str(answer.get("subject") or ""))
    if answer.get("is_fatal") is True:
        raise _error(finding)


def _error(finding: Finding) -> ManuscriptUnreadable:
    """The error of a finding; its cause has the finding's code."""
    error = ManuscriptUnreadable(
        f"{START}{finding.text}", advice=finding.advice, file=finding.file, line=finding.line, log_line=finding.log_line
    )
    error.code = finding.code
    return error


def _word(value: Any) -> str:
    """A word of a sentence. A space at its start parts it from the sentence before it."""
    return (" " if str(value).startswith(" ") else "") + one_line(value, MAX_NAME)


def parse(lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The reader's answers. What it read may have taken control of it, so they may be anything."""
    for line in lines:
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(answer, dict):
            yield answer
