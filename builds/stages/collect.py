"""The stage collect: every export that was to be made is there and is what it should be."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from builds import inspection, units
from builds.errors import BuildError, ExportBroken, ExportNotMade, ExportOutside, LimitHit
from builds.exports import is_inside
from builds.inspection import Asked
from builds.stages import Built, Context, Export, PlannedExport

CHUNK = 1 << 20


def collect(ctx: Context, built: Built) -> list[Export]:
    """Check what the build made, mend its MECA, and take sizes and sums.

    Raises:
        ExportNotMade, TemplateFailed, …: one is missing; with the line of the log that explains it.
        ExportBroken: one is damaged.
        ExportOutside: one leads out of the repository.
    """
    plans = list(_there(ctx, built))
    _check_sizes(ctx, plans)
    inspection.inspect(ctx, [asked for plan in plans if (asked := _asked(plan))])
    # What has read them may be turned by what it reads, and mends: they are looked at anew.
    for plan in plans:
        _check_place(built, plan)
        if not stat.S_ISREG(plan.path.lstat().st_mode):
            raise ExportOutside(f"{_shown(plan)} is no ordinary file any more.", file=plan.name)
    _check_sizes(ctx, plans)
    exports = [_taken(ctx, plan) for plan in plans]
    size = sum(export.size for export in exports)
    ctx.report.detail(f"{len(exports)} exports, {units.size(size)}")
    return exports


def _there(ctx: Context, built: Built) -> Iterator[PlannedExport]:
    """The exports, each once, of which each is an ordinary file in the repository that we may read."""
    seen: set[tuple[str, Path]] = set()
    for plan in built.exports:
        ctx.stop.check()
        if (plan.name, plan.path) in seen:
            continue  # two exports with one output are one file
        seen.add((plan.name, plan.path))
        if not plan.path.is_file():
            raise _missing(built, plan)
        _check_place(built, plan)
        _make_file(plan)
        plan.path.chmod(0o600)  # a build may have left us no right to read it
        yield plan


def _make_file(plan: PlannedExport) -> None:
    """A link becomes the file that it leads to: elsewhere, where exports are kept, it would lead elsewhere."""
    if plan.path.is_symlink():
        copy = plan.path.with_name(f".{uuid.uuid4()}")
        shutil.copyfile(os.path.realpath(plan.path), copy)
        copy.replace(plan.path)


def _check_sizes(ctx: Context, plans: Sequence[PlannedExport]) -> None:
    total = 0
    for plan in plans:
        size = plan.path.stat().st_size if plan.path.is_file() else 0
        if size == 0:
            raise ExportBroken(f"Failed to build the repo files: {_shown(plan)} was made but is empty.", file=plan.name)
        total += size
        if total > ctx.limits.exports_bytes:
            most = units.size(ctx.limits.exports_bytes)
            raise LimitHit(
                f"Failed to build the repo files: the exports are larger than the {most} that they may be.", file=plan.name
            )


def _taken(ctx: Context, plan: PlannedExport) -> Export:
    export = Export(plan.role, plan.name, plan.path, plan.path.stat().st_size, _sha256(ctx, plan.path))
    ctx.log.line(f"{_shown(plan)}: {units.size(export.size)}, sha256 {export.sha256}")
    return export


def _missing(built: Built, plan: PlannedExport) -> BuildError:
    """The error that names the export and says why, where a line of the log does."""
    clue = built.clues.explain(role=plan.role)
    start = f"Failed to build the repo files: {_shown(plan)} was not made"
    if clue is None:
        return ExportNotMade(f"{start}.", file=built.project.file.name)
    return clue.rule.error(
        f"{start}: {clue.text}",
        advice=clue.rule.advice or ExportNotMade.advice,
        file=clue.file,
        line=clue.line,
        log_line=clue.number,
    )


def _check_place(built: Built, plan: PlannedExport) -> None:
    if not is_inside(built.project, plan.path):
        raise ExportOutside(f"{_shown(plan)} is a link that leads out of the repository.", file=plan.name)


def _asked(plan: PlannedExport) -> Asked | None:
    """What to look at it as; None where there is nothing to look for."""
    kinds = {"meca": "meca", "page-content": "page"}
    kind = kinds.get(plan.role) or ("pdf" if plan.path.suffix.lower() == ".pdf" else "")
    return Asked(kind, plan.path, _shown(plan)) if kind else None


def _shown(plan: PlannedExport) -> str:
    if plan.role == "page-content":
        return "the content of the first page (index.json)"
    return f"the export {plan.declared}" if plan.declared else f"the {plan.role} export that Jobsite makes by itself"


def _sha256(ctx: Context, path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            ctx.stop.check()
            digest.update(block)
    return digest.hexdigest()
