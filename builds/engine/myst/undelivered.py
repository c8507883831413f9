"""Names the declared exports that are not delivered, or that ``myst`` can't make at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from builds.engine.context import Context
from builds.engine.diagnosis import Clues
from builds.engine.findings import Finding
from builds.engine.findings.catalogue import exports as catalogue
from builds.engine.manuscript import exports
from builds.engine.manuscript.exports import Declared
from builds.engine.manuscript.paths import read_text
from builds.engine.manuscript.project import Project
from builds.errors import ExportOutside, ExportUnwritable

MAX_NAMED = 10
# mystmd puts these into the MECA; of the sources for LaTeX only a zip.
CONTAINED = ("docx", "pdf", "typst", "pdf+tex", "xml")


@dataclass(frozen=True)
class DeclaredExports:
    """The entries of ``exports`` of the project and the submission, those of pages with each page, and the exports to deliver."""

    of_project: Sequence[Any]
    of_pages: Sequence[tuple[Path, Any]]
    delivered: Sequence[Declared]


def report(ctx: Context, project: Project, declared: DeclaredExports, log: Sequence[dict[str, Any]], clues: Clues) -> None:
    """Find each declared export that is not delivered: of another format, a second one of its format, or a page's own.

    ``log`` is that of the command that made the exports.
    """
    for export in filter(None, map(exports.parse, declared.of_project)):
        if export not in declared.delivered and not _is_reported(ctx, export):
            ctx.keep(_finding(project, export, log, clues))
    _report_pages(ctx, project, declared.of_pages)


def _is_reported(ctx: Context, export: Declared) -> bool:
    """Whether myst has complained about its format."""
    return any(found.code == catalogue.FORMAT_UNKNOWN.code and repr(export.format) in found.text for found in ctx.findings.all)


def _finding(project: Project, export: Declared, log: Sequence[dict[str, Any]], clues: Clues) -> Finding:
    file, line, name = str(project.file.relative_to(project.root)), _line(project, export), str(export)
    if export.format not in exports.MADE_AS:
        return catalogue.FORMAT_UNKNOWN.finding(file=file, line=line, export=name, name=name, format=export.format)
    if _is_made(project, export, log):
        return catalogue.NOT_DELIVERED.finding(file=file, line=line, export=name, name=name, where=_where(export))
    return catalogue.NOT_MADE.finding(file=file, line=line, export=name, name=name, why=_why(clues, export))


def _is_made(project: Project, export: Declared, log: Sequence[dict[str, Any]]) -> bool:
    try:
        return exports.plan(project, export, log).path.is_file()
    except (ExportOutside, ExportUnwritable):
        return False


def _where(export: Declared) -> str:
    is_contained = export.format in CONTAINED or (export.format == "tex" and export.output.endswith(".zip"))
    return "It is delivered inside the MECA only." if is_contained else "It is not delivered."


def _why(clues: Clues, export: Declared) -> str:
    """The reason, where a line of the log is about this format."""
    clue = clues.explain(role=export.format)
    return f": {clue.text.rstrip('.')}" if clue and export.format in clue.rule.roles else ""


def _report_pages(ctx: Context, project: Project, by_pages: Sequence[tuple[Path, Any]]) -> None:
    """One finding for all of them: a book may declare one for each page."""
    named = [(page, exports.parse(entry)) for page, entry in by_pages]
    texts = [f"{export} of {page.relative_to(project.folder)}" for page, export in named if export]
    if texts:
        more = f" and {len(texts) - MAX_NAMED} more" if len(texts) > MAX_NAMED else ""
        first = named[0][0].relative_to(project.root)
        ctx.find(catalogue.PAGE_EXPORTS, names=", ".join(texts[:MAX_NAMED]) + more, file=str(first))


def _line(project: Project, export: Declared) -> int | None:
    """The line of the project file that names the export's output, or else its format; for an unknown format the other way round."""
    try:
        lines = read_text(project, project.file).splitlines()
    except (OSError, ValueError):
        return None
    by_format = rf"format:\s*['\"]?{re.escape(export.format)}\b"
    by_output = rf"(?<![\w.-]){re.escape(PurePosixPath(export.output).name)}(?![\w.-])" if export.output else by_format
    patterns = (by_output, by_format) if export.format in exports.MADE_AS else (by_format, by_output)
    numbers = (number for pattern in patterns for number, line in enumerate(lines, 1) if re.search(pattern, line))
    return next(numbers, None)
