"""The stage fetch: finds and pins the commit that the address stands for, and downloads its archive, or takes the one that is kept.

A kept archive, and a kept result of the same commit, are used only if the host shows that the commit can be fetched from it now.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from builds.engine.clients.archive import NOT_FOUND, Source
from builds.engine.clients.git_refs import COMMIT
from builds.engine.context import Context
from builds.engine.manuscript.project import Archive
from builds.errors import ArchiveNotFound
from builds.lib import units, zips

# Whether the result of this project file (a path) at this commit is there, so that its archive is not needed.
HasResult = Callable[[str, str], bool]


def fetch(ctx: Context) -> Archive:
    """Download the repository at the pinned commit or, without one, at the commit that ``ctx.url`` stands for now.

    Raises:
        ArchiveNotFound, ArchiveTooLarge, ArchiveHostDown, ArchiveHostRefused: the download failed.
    """
    return cast(Archive, fetch_unless(ctx, lambda commit, path: False))


def fetch_unless(ctx: Context, has_result: HasResult) -> Archive | None:
    """As :func:`fetch`. Returns None if ``has_result`` says that the archive is not needed, and the commit can be fetched now.

    It is asked once for each commit.
    """
    path = ctx.workspace / "repository.zip"
    path.unlink(missing_ok=True)  # it may be the same file as a kept one
    for source in _sources(ctx):
        if source.commit:
            _pin(ctx, source, source.commit)
        try:
            return _fetch_source(ctx, source, path, has_result)
        except ArchiveNotFound:
            continue
    raise ArchiveNotFound(f"{ctx.url.slug} at {'/'.join(ctx.url.tail)}: {NOT_FOUND}.")


def _sources(ctx: Context) -> list[Source]:
    if ctx.pinned_commit:
        return [ctx.archive_host.at_commit(ctx.url, ctx.pinned_commit, ctx.pinned_path)]
    return ctx.archive_host.sources(ctx.url, ctx.stop)


def _fetch_source(ctx: Context, source: Source, path: Path, has_result: HasResult) -> Archive | None:
    if source.commit and has_result(source.commit, source.path):
        if not source.is_listed:
            ctx.archive_host.confirm(source, stop=ctx.stop)
        return None
    commit = source.commit
    if _take_kept(ctx, source, path):
        ctx.log.line(f"Using the archive of {ctx.url.slug} at {commit} that an earlier attempt downloaded ({_size(path)}).")
    else:
        commit = _download(ctx, source, path)
        ctx.log.line(f"Fetched {ctx.url.slug} at {commit or 'an unknown commit'} ({_size(path)}).")
    if commit != source.commit:
        _pin(ctx, source, commit)
        if has_result(commit, source.path):
            return None
    return Archive(path, commit, source.ref, source.path)


def _take_kept(ctx: Context, source: Source, path: Path) -> bool:
    """Put the kept archive of the source's commit at ``path``. Returns whether there was one that may be used.

    A commit never changes. So a host that lists the commit is not asked for its archive again. Otherwise it is asked with the ETag.
    """
    kept = ctx.archives.find(ctx.url.slug, source.commit) if ctx.archives and source.commit else None
    if ctx.archives and source.commit:
        ctx.report.looked_up("archive", hits=1 if kept else 0, misses=0 if kept else 1)
    if not ctx.archives or not kept:
        return False
    etag = kept.downloaded.etag
    if not source.is_listed and not (etag and ctx.archive_host.confirm(source, stop=ctx.stop, etag=etag)):
        return False
    if kept.copy_to(path) and path.stat().st_size <= ctx.limits.archive_bytes:
        return True
    ctx.archives.drop(ctx.url.slug, source.commit)
    return False


def _download(ctx: Context, source: Source, path: Path) -> str:
    """Download the archive and keep it. Returns its commit; empty if nothing says which one it is."""
    downloaded = ctx.archive_host.download(
        source,
        path,
        max_bytes=ctx.limits.archive_bytes,
        stop=ctx.stop,
        progress=ctx.report.progress,
        is_whole=zips.is_archive,
    )
    commit = _commit_of(path) or source.commit
    if ctx.archives and commit:
        ctx.archives.keep(ctx.url.slug, commit, path, downloaded)
    return commit


def _pin(ctx: Context, source: Source, commit: str) -> None:
    ctx.report.commit(commit=commit, ref=source.ref, path=source.path)
    ctx.report.detail(f"{source.ref} is commit {commit}" if source.ref != commit else f"commit {commit}")


def _size(path: Path) -> str:
    return units.size(path.stat().st_size)


def _commit_of(path: Path) -> str:
    """The commit in the archive's comment, where GitHub writes it; empty if there is none."""
    comment = zips.read_end(path).comment.decode("ascii", "replace").strip().lower()
    return comment if COMMIT.fullmatch(comment) else ""
