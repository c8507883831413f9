"""The stage collect: checks that every planned export was made and is intact."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from builds.engine.context import Built, Context
from builds.engine.findings import failing
from builds.engine.findings.catalogue.exports import FIRST_PAGE_LEFT_OUT
from builds.engine.manuscript import articles
from builds.engine.manuscript.exports import Export, PlannedExport
from builds.engine.manuscript.paths import is_inside
from builds.engine.myst import editorial, inspection, recipe
from builds.engine.myst.inspection import ExportFile, Pages
from builds.errors import BuildError, ExportBroken, ExportNotMade, ExportOutside, LimitHit
from builds.lib import units

CHUNK = 1 << 20


def collect(ctx: Context, built: Built) -> list[Export]:
    """Check the exports, repair the MECA, and take sizes and SHA-256 sums.

    Raises:
        ExportNotMade, TemplateFailed, …: an export is missing; the error has the line of the log that explains it.
        ExportBroken: an export is damaged.
        ExportOutside: an export leads out of the repository.
        LimitHit: the exports are too large.
        FindingFails: there is a finding that the operators chose to fail builds.
    """
    plans = list(_made_exports(ctx, built))
    _check_sizes(ctx, plans)
    published = _editorial_plan(ctx, built, plans)
    inspected = inspection.inspect(ctx, [file for plan in plans if (file := _export_file(built, plan))], published)
    # The reader may have been compromised by the files it parsed and rewrote, so check them again.
    for plan in plans:
        _check_place(built, plan)
        if not stat.S_ISREG(plan.path.lstat().st_mode):
            raise ExportOutside(f"{_description(plan)} is no longer an ordinary file.", file=plan.name)
    _check_sizes(ctx, plans)
    if published:
        editorial.keep(ctx, built.project, inspected.lines)
    exports = [_measured(ctx, plan, inspected.pages.get(plan.path, 0)) for plan in plans]
    size = sum(export.size for export in exports)
    inside = f". The MECA holds {inspected.contents}" if inspected.contents else ""
    ctx.report.detail(f"{len(exports)} exports, {units.size(size)}{inside}")
    failing.check(ctx.findings, ctx.failing_findings)
    return exports


def _editorial_plan(ctx: Context, built: Built, plans: Sequence[PlannedExport]) -> dict[str, Any] | None:
    """None without the content of the first page: there is nothing to compare."""
    page = next((plan.path for plan in plans if plan.role == "page-content"), None)
    pdfs = [plan for plan in plans if plan.path.suffix.lower() == ".pdf"]
    if page is None:
        return None
    return editorial.plan(built.project, page=page, pdfs={plan.path: _articles_of(ctx, built, plan) for plan in pdfs})


def _articles_of(ctx: Context, built: Built, plan: PlannedExport) -> list[str]:
    """The pages that a PDF has to hold. Where nobody named them, the first page is one of them, unless a finding says that it is not."""
    root = recipe.root_source(built.project)
    left_out = any(each.code == FIRST_PAGE_LEFT_OUT.code and each.export == plan.role for each in ctx.findings.all)
    pages = plan.articles if plan.by_author or left_out else articles.with_root(root, plan.articles)
    return articles.files(pages)


def _made_exports(ctx: Context, built: Built) -> Iterator[PlannedExport]:
    """Yield each export once, after making sure that it is a readable, ordinary file in the repository."""
    seen: set[tuple[str, Path]] = set()
    for plan in built.exports:
        ctx.stop.check()
        if (plan.name, plan.path) in seen:
            continue  # two exports can have the same output
        seen.add((plan.name, plan.path))
        if not plan.path.is_file():
            raise _missing(built, plan)
        _check_place(built, plan)
        _replace_link(plan)
        plan.path.chmod(0o600)  # the build may have made it unreadable
        yield plan


def _replace_link(plan: PlannedExport) -> None:
    """Replace a link with the file that it leads to: the link would break where exports are stored."""
    if plan.path.is_symlink():
        copy = plan.path.with_name(f".{uuid.uuid4()}")
        shutil.copyfile(os.path.realpath(plan.path), copy)
        copy.replace(plan.path)


def _check_sizes(ctx: Context, plans: Sequence[PlannedExport]) -> None:
    total = 0
    for plan in plans:
        size = plan.path.stat().st_size if plan.path.is_file() else 0
        if size == 0:
            raise ExportBroken(f"Failed to build the repo files: {_description(plan)} was made but is empty.", file=plan.name)
        total += size
        if total > ctx.limits.exports_bytes:
            limit = units.size(ctx.limits.exports_bytes)
            raise LimitHit(
                f"Failed to build the repo files: the exports are larger than {limit}, the limit of this service.", file=plan.name
            )


def _measured(ctx: Context, plan: PlannedExport, pages: int) -> Export:
    export = Export(plan.role, plan.name, plan.path, plan.path.stat().st_size, _sha256(ctx, plan.path), pages)
    length = f"{units.counted(pages, 'page')}, " if pages else ""
    ctx.log.line(f"{_description(plan)}: {length}{units.size(export.size)}, sha256 {export.sha256}")
    return export


def _missing(built: Built, plan: PlannedExport) -> BuildError:
    """The error for a missing export. If a line of the log explains why, the error has its cause."""
    clue = built.clues.explain(role=plan.role)
    start = f"Failed to build the repo files: {_description(plan)} was not made"
    if clue is None:
        return ExportNotMade(f"{start}.", file=built.project.file.name)
    return clue.error(f"{start}: ", advice=ExportNotMade.advice)


def _check_place(built: Built, plan: PlannedExport) -> None:
    if not is_inside(built.project, plan.path):
        raise ExportOutside(f"{_description(plan)} is a link that leads out of the repository.", file=plan.name)


def _export_file(built: Built, plan: PlannedExport) -> ExportFile | None:
    """How to inspect the export; None if its kind is not inspected."""
    kinds = {"meca": "meca", "page-content": "page"}
    kind = kinds.get(plan.role) or ("pdf" if plan.path.suffix.lower() == ".pdf" else "")
    pages = Pages(built.project, built.jats_pages, built.dropped_nodes) if kind == "meca" else None
    return ExportFile(kind, plan.path, _description(plan), pages) if kind else None


def _description(plan: PlannedExport) -> str:
    if plan.role == "page-content":
        return "the content of the first page (index.json)"
    return f"the export {plan.declared}" if plan.declared else f"the {plan.role} export that Jobsite adds"


def _sha256(ctx: Context, path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            ctx.stop.check()
            digest.update(block)
    return digest.hexdigest()
