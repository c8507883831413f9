"""The stage unpack: unpacks the repository's archive, finds the project file, and warns of what GitHub left out."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from builds.engine.context import Context
from builds.engine.findings.catalogue import repository as catalogue
from builds.engine.manuscript import pixi_lock
from builds.engine.manuscript.project import Archive, Project
from builds.errors import ProjectFileMissing
from builds.lib import units
from builds.lib.unzip import Entries, unzip

LFS_HEAD = b"version https://git-lfs.github.com/spec/v1"
MAX_LFS_BYTES = 1024
PROJECT_NAMES = ("myst.yml", "myst.yaml", "curvenote.yml", "curvenote.yaml")
JUPYTER_BOOK_1 = ("_toc.yml", "_toc.yaml")
UPGRADE = (
    "Run `myst init` (or `jupyter book init`, version 2) in the book's folder: it writes a myst.yml from _config.yml and _toc.yml. Add "
    "`exports` to it, commit it, then submit its address."
)
MAX_NAMED = 10
# The beginning of .gitmodules, which names at least a thousand submodules.
MAX_MODULES_BYTES = 200_000


def unpack(ctx: Context, archive: Archive) -> Project:
    """Unpack the repository.

    Raises:
        ArchiveUnsafe, ArchiveTooLarge, ArchiveBroken: as :func:`builds.lib.unzip.unzip` raises them.
        ProjectFileMissing: the project file is not in the repository.
    """
    root = ctx.workspace / "repository"
    entries, size = unzip(archive.path, root, ctx.limits, check=ctx.stop.check, progress=ctx.report.progress)
    ctx.report.detail(f"{len(entries.files)} files, {len(entries.links)} links, {units.size(size)}")
    _warn_of_missing(ctx, root, entries)
    project = Project(root, _project_file(root, archive, entries))
    if locked := pixi_lock.read(project):
        ctx.report.packages(locked)
    return project


def _warn_of_missing(ctx: Context, root: Path, entries: Entries) -> None:
    """Name the files in Git LFS and the submodules: GitHub's archive has neither, and the build may need them."""
    if pointers := _lfs_pointers(ctx, root, entries):
        ctx.find(catalogue.LFS_POINTER, names=_names(pointers), file=pointers[0])
    if modules := [path for path in _submodules(root) if _is_empty(root / path)]:
        ctx.find(catalogue.SUBMODULE_EMPTY, names=_names(modules), file=modules[0])


def _names(paths: list[str]) -> str:
    more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
    return ", ".join(paths[:MAX_NAMED]) + more


def _lfs_pointers(ctx: Context, root: Path, entries: Entries) -> list[str]:
    pointers = []
    for path, info in entries.files.items():
        ctx.stop.check()
        if info.file_size < MAX_LFS_BYTES and (root / path).read_bytes().startswith(LFS_HEAD):
            pointers.append(path)
    return pointers


def _submodules(root: Path) -> list[str]:
    """The paths of submodules inside the repository, from .gitmodules (git-config(1), gitmodules(5))."""
    listing = root / ".gitmodules"
    if listing.is_symlink() or not listing.is_file():
        return []
    with listing.open("rb") as file:
        lines = file.read(MAX_MODULES_BYTES).decode("utf-8", "replace").splitlines()
    settings = (line.partition("=") for line in lines)
    paths = [value.strip() for name, _equals, value in settings if name.strip() == "path" and value.strip()]
    return [path for path in paths if not path.startswith("/") and ".." not in path.split("/")]


def _is_empty(folder: Path) -> bool:
    """Whether the folder has no files. True also if there is none, or can't be one with its name."""
    try:
        return not any(folder.iterdir())
    except (OSError, ValueError):
        return True


def _project_file(root: Path, archive: Archive, entries: Entries) -> Path:
    path = root / archive.project_path
    if path.is_file():
        return path
    at = f" at {archive.ref}" if archive.ref else ""
    start = f"{archive.project_path} was not found in the repository{at}."
    if others := sorted(name for name in entries.files if PurePosixPath(name).name in PROJECT_NAMES):
        raise ProjectFileMissing(f"{start} The repository has {_names(others)}.", file=archive.project_path)
    if any(PurePosixPath(name).name in JUPYTER_BOOK_1 for name in entries.files):
        raise ProjectFileMissing(
            f"{start} It is a Jupyter Book 1, with {JUPYTER_BOOK_1[0]}.", advice=UPGRADE, file=archive.project_path
        )
    raise ProjectFileMissing(f"{start} The repository has no MyST project file.", file=archive.project_path)
