"""Builds one manuscript in a terminal, in the same stages as the service, without a server, queue or database."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TextIO

from builds.engine.context import Context
from builds.engine.manuscript import exports
from builds.engine.manuscript.exports import Export
from builds.engine.manuscript.project import Archive, Project
from builds.engine.manuscript.settings import read_settings
from builds.engine.manuscript.url import ManuscriptUrl
from builds.engine.myst import own_tools
from builds.engine.stages.build import build
from builds.engine.stages.collect import collect
from builds.engine.stages.fetch import fetch
from builds.engine.stages.unpack import unpack
from builds.errors import ArchiveBroken, ArchiveTooLarge
from builds.lib import zips
from builds.lib.text import printable

NO_ADDRESS = ManuscriptUrl("local", "archive", ("local", "myst.yml"))
PROJECT_NAMES = ("myst.yml", "myst.yaml", "curvenote.yml")


class PrintedLog:
    """A build's log, printed line by line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._number = 0

    def write_lines(self, texts: Sequence[str], *, stream: str) -> int:
        first = self._number + 1
        for text in texts:
            self.line(text, stream=stream)
        return first

    def line(self, text: str, *, stream: str = "service") -> int:
        self._number += 1
        text = printable(text)
        print(text if stream == "stdout" else f"[{stream}] {text}", file=self._out, flush=True)
        return self._number


@dataclass
class Progress:
    """How far a build has come: the exports that were made, and how many seconds each stage took."""

    exports: list[Export] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - started, 3)


def is_archive(source: str) -> bool:
    """Whether ``source`` is a file on this machine and not an address."""
    return "://" not in source and Path(source).is_file()


def address_of(source: str) -> ManuscriptUrl:
    """The address of a manuscript.

    Raises:
        InvalidManuscriptUrl: it is none.
    """
    return NO_ADDRESS if is_archive(source) else ManuscriptUrl.parse(source)


def run(ctx: Context, source: str, to: Path, progress: Progress, *, project_file: str = "") -> None:
    """Build a manuscript, copy its exports to the folder ``to``, and note in ``progress`` how far it came.

    ``source`` is the address of a project file, or the path of a zip of its repository. In a zip, the project file is ``project_file``
    (relative to the repository's root), or else the one nearest to the root. The exports are those that the project file declares.

    Raises:
        BuildError: the build failed; the error has the cause that an author would see.
        BuildStopped: it was interrupted.
    """
    with progress.stage("fetch"):
        archive = _local(Path(source), project_file, ctx.limits.entries) if is_archive(source) else fetch(ctx)
    with ctx.spare:
        own_tools.prepare(ctx)  # for the sources, while the archive is unpacked
        with progress.stage("unpack"):
            project = unpack(ctx, archive)
        ctx = _with_exports(ctx, project)
        with progress.stage("build"):
            built = build(ctx, project)
        with progress.stage("collect"):
            made = collect(ctx, built)
    progress.exports = [_copied(export, to) for export in made]


def _local(path: Path, project_file: str, max_entries: int) -> Archive:
    """An archive on this machine."""
    try:
        with zips.opened(path, max_entries) as archive:
            names = [PurePosixPath(name) for name in archive.namelist()]
            commit = archive.comment.decode("ascii", "replace")
    except zips.NotAnArchive as error:
        raise ArchiveBroken(f"{path.name} can't be read: {error}.") from error
    except zips.TooManyEntries as error:
        raise ArchiveTooLarge(f"{path.name} has more than {max_entries} files and folders, the limit of this service.") from error
    if project_file:
        return Archive(path, commit, "", project_file)
    candidates = [name for name in names if name.name in PROJECT_NAMES]
    nearest = min(candidates, key=lambda name: (len(name.parts), str(name)), default=PurePosixPath("-", PROJECT_NAMES[0]))
    return Archive(path, commit, "", str(PurePosixPath(*nearest.parts[1:])))


def _with_exports(context: Context, project: Project) -> Context:
    """Declare the project file's exports: there is no desci-server that sends them."""
    settings = read_settings(project).get("project")
    declared = (settings.get("exports") or settings.get("export") or ()) if isinstance(settings, dict) else ()
    entries = tuple(declared) if isinstance(declared, list) else (declared,)
    context.log.line(f"declared exports: {', '.join(str(e) for e in map(exports.parse, entries) if e) or 'none'}")
    return replace(context, declared_exports=entries)


def _copied(export: Export, to: Path) -> Export:
    target = to / export.path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(export.path, target)
    return Export(export.role, export.name, target, export.size, export.sha256, export.pages)
