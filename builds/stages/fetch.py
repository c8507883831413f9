"""The stage fetch: which commit the address stands for, pinned, and its archive."""

from __future__ import annotations

from pathlib import Path

from builds import units, zip_end
from builds.clients.archive import COMMIT, NOT_FOUND, Source
from builds.errors import ArchiveNotFound
from builds.stages import Archive, Context


def fetch(ctx: Context) -> Archive:
    """Download the repository at the commit that ``ctx.url`` stands for now, or at the one that is pinned already.

    Raises:
        ArchiveNotFound, ArchiveTooLarge, ArchiveHostDown, ArchiveHostRefused: it can't be had.
    """
    if ctx.pinned_commit:
        sources = [ctx.archive_host.at_commit(ctx.url, ctx.pinned_commit, ctx.pinned_path)]
    else:
        sources = ctx.archive_host.sources(ctx.url, ctx.stop)
    path = ctx.workspace / "repository.zip"
    source = _download_first(ctx, sources, path)
    commit = _commit_of(path) or source.commit
    if commit != source.commit:
        _pin(ctx, source, commit)
    size = path.stat().st_size
    ctx.log.line(f"Fetched {ctx.url.slug} at {commit or 'an unknown commit'} ({units.size(size)}).")
    return Archive(path, commit, source.ref, source.path)


def _download_first(ctx: Context, sources: list[Source], path: Path) -> Source:
    """Download the first source that exists, and return it."""
    for source in sources:
        if source.commit:
            _pin(ctx, source, source.commit)
        try:
            ctx.archive_host.download(
                source,
                path,
                most_bytes=ctx.limits.archive_bytes,
                stop=ctx.stop,
                progress=ctx.report.progress,
                is_whole=zip_end.is_archive,
            )
        except ArchiveNotFound:
            continue
        return source
    raise ArchiveNotFound(f"{ctx.url.slug} at {'/'.join(ctx.url.tail)}: {NOT_FOUND}.")


def _pin(ctx: Context, source: Source, commit: str) -> None:
    ctx.report.commit(commit=commit, ref=source.ref, path=source.path)
    ctx.report.detail(f"{source.ref} is commit {commit}" if source.ref != commit else f"commit {commit}")


def _commit_of(path: Path) -> str:
    """GitHub writes the commit into the archive as its comment."""
    comment = zip_end.read(path).comment.decode("ascii", "replace").strip().lower()
    return comment if COMMIT.fullmatch(comment) else ""
