"""The templates that a manuscript names, from a cache that all builds share and none can write to.

What is not there, or has grown old, is fetched once, in the build's sandbox and through its proxy, before anything of the build's runs:
so the same hosts are asked that a build may ask. A build gets a copy, where ``myst`` looks before it asks the network.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

from builds import network, own_tools
from builds.errors import (
    ArchiveBroken,
    ArchiveTooLarge,
    ArchiveUnsafe,
    ExportOutside,
    ExportUnwritable,
    ProjectFileMissing,
    SandboxUnavailable,
)
from builds.export_templates import Template, named
from builds.exports import place
from builds.sandbox import Sandbox
from builds.stages import Archive, Context, Limits, NoReport, Project, Stop
from builds.stages.unpack import unpack

FRESH_SECONDS = 24 * 3600
# Who could not be had is not asked for again by every build that comes.
FAILURE_SECONDS = 600
FETCH_SECONDS = 90
# For all the templates of a build; one that has been begun may go on.
ALL_SECONDS = 180
LIMITS = Limits(archive_bytes=50 << 20, unpacked_bytes=100 << 20, entry_bytes=50 << 20, entries=2000)
OUTPUT_BYTES = 10_000
UNUSED_SECONDS = 90 * 24 * 3600
LEFT_SECONDS = 3600
CACHE_BYTES, MOST_KEPT = 2 << 30, 2000
# Of the room that a file or folder takes beside its content.
ENTRY_BYTES = 512
WHY = {
    ArchiveUnsafe: "its archive holds what can't be unpacked safely",
    ArchiveTooLarge: "it is too large",
    ArchiveBroken: "its archive is damaged",
    ProjectFileMissing: "it holds no template.yml",
}


class _OwnTrouble(Exception):
    """Why this build could not fetch it, which is nothing to other builds."""


def provide(ctx: Context, project: Project, *, site: bool = False) -> None:
    """Put the project's templates into its ``_build/templates``. The build goes on without one that can't be had, with a warning.

    With ``site`` also the one of its site, which the bundled recipe does without.
    """
    if ctx.template_cache is None or ctx.sandbox is None:  # without a sandbox there is no proxy either
        return
    ends_at = time.monotonic() + ALL_SECONDS
    for template in named(project, ctx.template_service, site=site, check=ctx.stop.check):
        try:
            late = time.monotonic() > ends_at
            problem = "others took too long" if late else _provide(ctx, ctx.template_cache, project, template)
        except (ExportOutside, ExportUnwritable):
            problem = f"the repository has something else at {template.folder}"
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            problem = f"the service can't keep it ({error.strerror})"
        if problem:
            ctx.log.warning(f"The template {template.reference} could not be had: {problem}.")


def _provide(ctx: Context, cache: Path, project: Project, template: Template) -> str:
    """Why it could not be put in its place; empty where it was, or where the author has one there."""
    target = place(project, str(template.folder))
    if target.exists() or target.is_symlink():
        return ""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    entry = cache / hashlib.sha256(template.address.encode()).hexdigest()
    with _locked(entry, ctx.stop):
        _remove_changed(entry)
        problem = "" if _is_fresh(entry) else _renew(ctx, entry, template)
        if not entry.is_dir():
            return problem
        if problem:
            ctx.log.warning(
                f"The template {template.reference} is taken as it was kept, because a newer one could not be had: {problem}."
            )
        os.utime(entry)  # it was used now
        _copy(entry / "repository", target)
        ctx.log.line(f"Template {template.reference}: kept since its download (sha256 {_source(entry)['sha256']}).")
    return ""


def _copy(folder: Path, target: Path) -> None:
    """Whole or not at all: half a template would be taken for one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(folder, target, symlinks=True)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        # Of all that could not be copied copytree tells only the words.
        if isinstance(error, shutil.Error) and os.strerror(errno.ENOSPC) in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


@contextmanager
def _locked(entry: Path, stop: Stop) -> Iterator[None]:
    """The entry for this build alone: of many that need it at once, one fetches it."""
    while True:
        with _lock(entry) as is_ours:
            if is_ours:
                yield
                return
        stop.wait(0.1)


@contextmanager
def _lock(entry: Path) -> Iterator[bool]:
    """Whether the entry is ours for now. A lock goes with its holder: what is locked may be a file that has gone meanwhile."""
    path = entry.with_suffix(".lock")
    with path.open("w") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = path.stat().st_ino == os.fstat(file.fileno()).st_ino
        except (BlockingIOError, FileNotFoundError):
            is_ours = False
        try:
            yield is_ours
        finally:
            if is_ours:
                path.unlink(missing_ok=True)


def _source(entry: Path) -> dict[str, str]:
    """Where the entry is from, the sums of its zip and of what was unpacked, its room in bytes, and when it was fetched, in seconds since
    1970."""
    with suppress(OSError, ValueError):
        return dict(json.loads((entry / "source.json").read_text()))
    return {}


def _remove_changed(entry: Path) -> None:
    """What is no more what was unpacked, whoever changed it, is fetched anew."""
    if entry.is_dir() and _source(entry).get("unpacked") != _sum(entry / "repository"):
        shutil.rmtree(entry, ignore_errors=True)


def _sum(folder: Path) -> str:
    """The SHA-256 of all names, links, rights and contents in it."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name, mode = os.fsencode(path.relative_to(folder)), path.lstat().st_mode
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        whole.update(b"%s\0%o\0%d\0%s" % (name, mode, len(content), content))
    return whole.hexdigest()


def _is_fresh(entry: Path) -> bool:
    return time.time() - float(_source(entry).get("at", 0)) < FRESH_SECONDS


def _renew(ctx: Context, entry: Path, template: Template) -> str:
    """Fetch it anew; why that failed, if it did. What was kept stays then."""
    failed = entry.with_suffix(".failed")
    with suppress(OSError):
        if time.time() - failed.stat().st_mtime < FAILURE_SECONDS:
            return f"{failed.read_text()} (found out a while ago)"
    try:
        problem = _fetch(ctx, ctx.sandbox, entry, template) if ctx.sandbox else "builds are not shut in"
    except (_OwnTrouble, SandboxUnavailable) as error:
        return str(error).removesuffix(".")
    if problem:
        failed.write_text(problem)
    else:
        failed.unlink(missing_ok=True)
    return problem


def _fetch(ctx: Context, sandbox: Sandbox, entry: Path, template: Template) -> str:
    zipped = ctx.workspace / "template.zip"
    folder = Path(tempfile.mkdtemp(prefix=f"{entry.name[:16]}-", dir=entry.parent))
    try:
        sum_, problem = _download(ctx, sandbox, template.address, zipped)
        if problem:
            return problem
        unpack(replace(ctx, workspace=folder, limits=LIMITS, report=NoReport()), Archive(zipped, "", "", "template.yml"))
        unpacked = _sum(folder / "repository")
        room = sum(path.lstat().st_blocks * 512 + ENTRY_BYTES for path in folder.rglob("*"))
        source = {"address": template.address, "sha256": sum_, "unpacked": unpacked, "at": str(time.time()), "room": str(room)}
        (folder / "source.json").write_text(json.dumps(source))
        shutil.rmtree(entry, ignore_errors=True)
        folder.rename(entry)
    except (ArchiveUnsafe, ArchiveTooLarge, ArchiveBroken, ProjectFileMissing) as error:
        return WHY[type(error)]
    finally:
        zipped.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    return ""


def _download(ctx: Context, sandbox: Sandbox, address: str, target: Path) -> tuple[str, str]:
    """The sum of what is at ``target`` now, and why nothing is, if so."""
    with network.proxied(ctx.build_hosts.listed, ctx.build_hosts.private) as proxy:
        told = own_tools.run(
            ctx,
            replace(sandbox, proxy=proxy.socket),
            ("download.py", address, str(target), str(LIMITS.archive_bytes)),
            seconds=FETCH_SECONDS,
            most_bytes=OUTPUT_BYTES,
            env=network.variables(sandbox.port),
        )
        refusals = proxy.refusals()
    if told.ended.exit_code == 0:
        return "".join(told.lines[:1]), ""
    told.check_service("a template was fetched")
    if told.ended.hit:
        raise _OwnTrouble(f"fetching it {told.ended.hit.text}")
    if told.ended.timed_out:
        return "", f"{address} did not answer within {FETCH_SECONDS} s"
    if refusals:
        return "", f"the network refused {refusals[0]}"
    return "", told.last_complaint[:300].removesuffix(".")


# --- kept in bounds


def sweep(cache: Path) -> None:
    """Remove what no build has used for long, the longest unused of too much, and what a killed worker left."""
    if not cache.is_dir():
        return
    now, room, left = time.time(), CACHE_BYTES, MOST_KEPT
    for path, changed_at in sorted(_changes(cache), key=itemgetter(1), reverse=True):
        age = now - changed_at
        if path.suffix == ".failed" and age > LEFT_SECONDS:
            path.unlink(missing_ok=True)
        if path.suffix == ".lock" and age > LEFT_SECONDS:
            with _lock(path):  # which takes it along, unless it is held
                pass
        if not path.is_dir():
            continue
        if "-" in path.name:
            if age > LEFT_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
            continue
        room -= int(_source(path).get("room", LIMITS.unpacked_bytes))  # not looked for: there may be very many files
        left -= 1
        if age > UNUSED_SECONDS or room < 0 or left < 0:
            _remove_unless_in_use(path)


def _changes(cache: Path) -> Iterator[tuple[Path, float]]:
    """What is in it, and when that was changed; builds take locks away meanwhile."""
    for path in cache.iterdir():
        with suppress(FileNotFoundError):
            yield path, path.lstat().st_mtime


def _remove_unless_in_use(entry: Path) -> None:
    with _lock(entry) as is_ours:
        if is_ours:
            shutil.rmtree(entry, ignore_errors=True)
