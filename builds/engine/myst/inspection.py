"""Checks that exports are complete and readable. The files are untrusted: a separate program reads them in the build's sandbox."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builds.engine.context import Context, Limits
from builds.engine.findings.catalogue import exports as catalogue
from builds.engine.findings.catalogue.pages import TABLE_COMMENT
from builds.engine.manuscript.project import Project
from builds.engine.myst import own_tools
from builds.engine.myst.own_tools import ToolResult
from builds.errors import ExportBroken
from builds.lib import units, zips
from builds.lib.text import one_line

READER_SECONDS = 60
READER_MEMORY_BYTES = 3 << 30
READER_OUTPUT_BYTES = 1 << 20
# A MECA that unpacks more slowly than this runs into its time limit.
MIN_UNPACKED_PER_SECOND = 20_000_000
MAX_PAGE_BYTES = 256 << 20
# The reader's own limit is lower, but the files may have taken control of it.
MAX_WARNINGS = 30
ALARM_EXIT_CODE = 128 + signal.SIGALRM
MAX_LINE, MAX_LOST, MAX_PAGES = 1 << 30, 40, 1_000_000
CONTENT = "_build/site/content"
LOST = {
    "page": catalogue.JATS_PAGE_MISSING,
    "body": catalogue.JATS_BODY_EMPTY,
    "section": catalogue.JATS_SECTION_MISSING,
    "node": catalogue.JATS_NODE_DROPPED,
    "text": catalogue.JATS_TEXT_MISSING,
    "break": catalogue.JATS_BREAK,
    "reference": catalogue.JATS_REFERENCE_MISSING,
}
UNREADABLE = {"pdf": "can't be opened as a PDF", "page": "is not valid JSON", "meca": "can't be read"}


@dataclass(frozen=True)
class Pages:
    """The pages that the JATS of a MECA was made from.

    ``locations`` are their sources, relative to the project's folder; without any, all pages. ``dropped`` are the types of nodes
    that mystmd could not convert.
    """

    project: Project
    locations: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def plan(self) -> dict[str, Any]:
        folder = self.project.folder / CONTENT
        lists = {"locations": self.locations, "dropped": self.dropped}
        return {"folder": str(folder), "source": str(self.project.folder), **lists}


@dataclass(frozen=True)
class ExportFile:
    """An export to inspect. ``kind`` is ``pdf``, ``page`` or ``meca``; ``name`` is its name in messages.

    A MECA is compared with ``pages``.
    """

    kind: str
    path: Path
    name: str
    pages: Pages | None = None


@dataclass
class _Findings:
    """What the reader reported of an export. ``problem`` is empty if there is none, and None if the reader did not finish."""

    warnings: list[str] = field(default_factory=list)
    fixed: str = ""
    contents: str = ""
    pages: int = 0
    lost: list[str] = field(default_factory=list)
    problem: str | None = None


@dataclass(frozen=True)
class Inspected:
    """What the reader said of intact exports: what lies only in the MECA, the lines that are not about one export, and the numbers of
    pages of the PDFs.
    """

    contents: str
    lines: Sequence[str]
    pages: Mapping[Path, int]


def inspect(ctx: Context, exports: Sequence[ExportFile], published: Mapping[str, Any] | None = None) -> Inspected:
    """Check the exports, and fix the XML that mystmd wrote into a MECA.

    A PDF must open and have a page. A page's JSON must be an object. For a MECA see builds/engine/tools/meca.py. With ``published``, the
    same reader makes the checks of :mod:`builds.engine.myst.editorial`, which never fail a build.

    Raises:
        ExportBroken: an export is damaged, or took too long to read.
        DiskFull, MemoryFull: the service's disk is nearly full, or its machine is out of memory.
    """
    for export in exports:
        _check_size(export, ctx.limits)
    result, findings = _read(ctx, exports, published)
    for export, found in zip(exports, findings, strict=True):
        if found.fixed:
            ctx.find(catalogue.XML_FIXED, name=export.path.name, fixed=found.fixed)
        for warning in found.warnings[:MAX_WARNINGS]:
            ctx.find(catalogue.XML_INVALID, reason=warning)
        if export.pages:
            _report_lost(ctx, export.pages.project, found.lost[:MAX_LOST])
        if found.problem is None:
            _raise_unreadable(ctx, export, result)
        elif found.problem:
            raise _broken(export.name, found.problem)
    result.check_service("the exports were checked for editors")
    pages = {export.path: found.pages for export, found in zip(exports, findings, strict=True) if export.kind == "pdf"}
    return Inspected(next((found.contents for found in findings if found.contents), ""), result.lines, pages)


def _report_lost(ctx: Context, project: Project, texts: Sequence[str]) -> None:
    """A finding for each thing that the JATS lacks. The reader may report anything."""
    explains_missing_pages = any(found.code == TABLE_COMMENT.code for found in ctx.findings.all)
    for text in texts:
        try:
            lost = json.loads(text)
        except (ValueError, RecursionError):
            continue
        kind = LOST.get(str(lost.get("kind"))) if isinstance(lost, dict) else None
        if kind is None or (kind is catalogue.JATS_PAGE_MISSING and explains_missing_pages):
            continue
        line, written = lost.get("line"), one_line(lost.get("file"), 300)
        file = os.path.relpath(project.folder / written, project.root) if written else ""
        number = line if isinstance(line, int) and 0 < line < MAX_LINE else None
        where, place = f" of {file}" if file else "", one_line(lost.get("where"), 60)
        name = one_line(lost.get("name"), 200)
        ctx.find(kind, file=file, line=number, export="meca", name=name, where=where, place=place)
        if kind is catalogue.JATS_NODE_DROPPED and file:
            _replace_complaint(ctx, name)


def _replace_complaint(ctx: Context, name: str) -> None:
    """Forget that myst complained about this kind of node: it names no place of it."""
    complaints = (found for found in ctx.findings.all if found.code == catalogue.JATS_NODE_DROPPED.code and not found.file)
    ctx.findings.discard([found for found in complaints if f"calls {name}." in found.text])


def _broken(name: str, why: str) -> ExportBroken:
    return ExportBroken(f"Failed to build the repo files: {name} was made but {why}.", file=name)


def _check_size(export: ExportFile, limits: Limits) -> None:
    """Refuse a file that is too large even to open."""
    if export.kind == "page" and export.path.stat().st_size > MAX_PAGE_BYTES:
        raise _broken(export.name, f"is larger than {units.size(MAX_PAGE_BYTES)}")
    if export.kind == "meca":
        try:
            zips.check_list(export.path, limits.entries)
        except zips.NotAnArchive as error:
            raise _broken(export.name, f"is not an intact zip archive ({error})") from error
        except zips.TooManyEntries as error:
            raise _broken(export.name, f"contains more than {limits.entries} files, the limit of this service") from error


def _seconds(export: ExportFile, limits: Limits) -> int:
    return READER_SECONDS + (limits.unpacked_bytes // MIN_UNPACKED_PER_SECOND if export.kind == "meca" else 0)


def _read(ctx: Context, exports: Sequence[ExportFile], published: Mapping[str, Any] | None) -> tuple[ToolResult, list[_Findings]]:
    """Run the reader, which has no network. Returns how it ended, and its findings for each export."""
    plan = {
        "memory": READER_MEMORY_BYTES,
        "bytes": ctx.limits.unpacked_bytes,
        "entries": ctx.limits.entries,
        "exports": [_plan(each, ctx.limits) for each in exports],
        "published": published,
    }
    more = published["seconds"] * 2 if published else 0
    result = own_tools.run(
        ctx,
        ctx.sandbox,
        ("read_exports.py", json.dumps(plan)),
        seconds=sum(_seconds(each, ctx.limits) for each in exports) + READER_SECONDS + more,
        max_bytes=READER_OUTPUT_BYTES * (2 if published else 1),
        env={},
    )
    findings = [_Findings() for _each in exports]
    for number, key, text in _parse(result.lines):
        if 0 <= number < len(findings):
            _add(findings[number], key, text)
    return result, findings


def _plan(export: ExportFile, limits: Limits) -> dict[str, Any]:
    pages = {"pages": export.pages.plan} if export.pages else {}
    return {"kind": export.kind, "path": str(export.path), "seconds": _seconds(export, limits), **pages}


def _parse(lines: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """The reader's findings: the number of an export, the kind of finding, and its text.

    The files may have taken control of the reader, so its output may be anything.
    """
    for line in lines:
        try:
            finding = json.loads(line)
        except (ValueError, RecursionError):
            continue
        number = finding.pop("export", None) if isinstance(finding, dict) else None
        if isinstance(number, int):
            yield from ((number, key, text) for key, text in finding.items() if isinstance(text, str))


def _add(findings: _Findings, key: str, text: str) -> None:
    if key == "warning":
        findings.warnings.append(text)
    elif key == "lost":
        findings.lost.append(text)
    elif key == "contents":
        findings.contents = one_line(text, 500)
    elif key == "pages" and text.isascii() and text.isdigit():
        findings.pages = min(int(text[:9]), MAX_PAGES)
    elif key == "fixed":
        findings.fixed = text
    elif key == "problem":
        findings.problem = text


def _raise_unreadable(ctx: Context, export: ExportFile, result: ToolResult) -> None:
    ended = result.ended
    if ended.timed_out or ended.signal == signal.SIGALRM or ended.exit_code == ALARM_EXIT_CODE:
        raise _broken(export.name, f"could not be read within {_seconds(export, ctx.limits)} s")
    result.check_service(f"{export.name} was read")
    why = ended.hit.text if ended.hit else result.last_error[:200]
    raise _broken(export.name, f"{UNREADABLE[export.kind]} ({why})")
