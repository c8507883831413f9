"""Checks what was built for editors, and for characters that no font has: a program of our own does it in the build's sandbox."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from builds.engine.context import Context
from builds.engine.findings import Severity
from builds.engine.findings.catalogue.editorial import CHECKS
from builds.engine.manuscript.project import Project
from builds.engine.myst import reading
from builds.lib.text import one_line

READER_SECONDS = 120
READER_MEMORY_BYTES = 3 << 30
MAX_RESULT = 500
FROM_ROOT = ("text-in-no-page",)
"""The codes whose findings name the file from the repository's root, and not from the project's folder."""
DUPLICATE = re.compile(r"The label (?P<name>\S+) is used in two places")
OUTCOMES = (Severity.PASSED, Severity.ADVISED, Severity.FAILED)


def plan(project: Project, *, page: Path, pdfs: Mapping[Path, Sequence[str]]) -> dict[str, Any]:
    """What builds/engine/tools/read_published.py needs to make the checks.

    ``page`` is the content of the first page, and ``pdfs`` have the sources that each has to hold, relative to the project's folder.
    """
    return {
        "page": str(page),
        "pdfs": [{"path": str(path), "articles": list(articles)} for path, articles in pdfs.items()],
        "root": str(project.root),
        "file": str(project.file),
        "memory": READER_MEMORY_BYTES,
        "seconds": READER_SECONDS,
    }


def keep(ctx: Context, project: Project, lines: Sequence[str]) -> None:
    """Keep the verdicts of the editorial checks, and what is missing from what was made. Nothing of it fails the build.

    ``lines`` are those of the reader (:func:`builds.engine.myst.inspection.inspect`).
    """
    made: set[str] = set()
    labels: set[str] | None = None
    for answer in reading.parse(lines):
        if "export" in answer:
            continue  # of inspection.py
        if "check" in answer:
            _keep_verdict(ctx, answer, made)
        elif isinstance(answer.get("labels"), list):
            labels = (labels or set()) | {label for label in answer["labels"] if isinstance(label, str)}
        else:
            _keep_finding(ctx, project, answer)
    if labels is not None:
        _excuse_labels(ctx, labels)
    for code in CHECKS.keys() - made:
        ctx.log.line(f"The check {code} could not be made.")


def _keep_finding(ctx: Context, project: Project, answer: dict[str, Any]) -> None:
    """Keep what an export lacks, unless that line has a finding that explains it."""
    code, line = answer.get("code"), answer.get("line")
    file = answer.get("file") if code in FROM_ROOT else _in_repository(project, answer.get("file"))
    if code in FROM_ROOT and any((each.file, each.line) == (file, line) for each in ctx.findings.all if each.is_broken):
        return
    reading.keep(ctx, {**answer, "file": file, "is_fatal": False})
    if code == "pdf-text-missing" and (kind := answer.get("subject")):
        # myst names the kind of node that it left out, but not its place.
        complaints = (each for each in ctx.findings.all if each.code == "typst-without-node" and not each.file)
        ctx.findings.discard([each for each in complaints if f"calls {kind}." in each.text])


def _excuse_labels(ctx: Context, referenced: set[str]) -> None:
    """A label that is there twice harms nothing unless a page refers to it: copies of a notebook have cells with the same names."""
    for finding in ctx.findings.all:
        label = DUPLICATE.match(finding.text) if finding.code == "label-duplicate" and finding.is_broken else None
        if label and label["name"].lower() not in referenced:
            ctx.findings.discard([finding])
            ctx.findings.add(replace(finding, severity=Severity.NOTICE))


def _keep_verdict(ctx: Context, answer: dict[str, Any], made: set[str]) -> None:
    """Keep the finding of a check. It is logged as an ordinary line, not as a warning."""
    kind, severity = CHECKS.get(str(answer["check"])), answer.get("severity")
    if kind is None or kind.code in made or severity not in OUTCOMES:
        return
    made.add(kind.code)
    finding = kind.finding(result=one_line(answer.get("text"), MAX_RESULT))
    number = ctx.log.line(f"Editorial check, {severity}: {finding.text}")
    advice = "" if severity == Severity.PASSED else finding.advice
    ctx.findings.add(replace(finding, severity=Severity(severity), advice=advice, log_line=number))


def _in_repository(project: Project, file: Any) -> str:
    """The path from the repository's root of a page, which mystmd names from the project's folder."""
    folder = project.folder.relative_to(project.root).as_posix()
    return str(file) if folder == "." or not file else f"{folder}/{file}"
