"""A cache of the templates that manuscripts name. All builds share it, and none can write to it.

A missing or old template is fetched once, inside the build's sandbox and through its proxy, before any code of the build runs. So only
hosts that the build may reach are contacted. Each build gets a copy, in the folder where ``myst`` looks before it uses the network.
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
from operator import itemgetter
from pathlib import Path

from builds.engine.context import Context
from builds.engine.findings.catalogue import exports as catalogue
from builds.engine.manuscript.paths import resolve_output
from builds.engine.manuscript.project import Project
from builds.engine.manuscript.templates import Template, find_templates
from builds.engine.myst import own_tools
from builds.engine.sandbox import proxy as network
from builds.engine.sandbox.sandbox import Sandbox
from builds.errors import (
    ArchiveBroken,
    ArchiveTooLarge,
    ArchiveUnsafe,
    ExportOutside,
    ExportUnwritable,
    ProcessesFull,
    SandboxUnavailable,
)
from builds.lib.stop import Stop
from builds.lib.unzip import UnzipLimits, unzip

# A cached copy older than this is fetched again.
MAX_AGE_SECONDS = 24 * 3600
# After a failed fetch no build tries again for this long.
RETRY_AFTER_SECONDS = 600
MAX_FETCH_SECONDS = 90
# For all templates of a build; a fetch that has started may finish.
MAX_BUILD_SECONDS = 180
MAX_ARCHIVE_BYTES = 50 << 20
UNZIP_LIMITS = UnzipLimits(unpacked_bytes=100 << 20, entry_bytes=50 << 20, entries=2000)
MAX_OUTPUT_BYTES = 10_000
MAX_UNUSED_SECONDS = 90 * 24 * 3600
MAX_LEFTOVER_SECONDS = 3600
MAX_CACHE_BYTES, MAX_TEMPLATES = 2 << 30, 2000
# Disk space of a file or folder beside its content.
INODE_BYTES = 512
TEMPLATE_FILE = "template.yml"
REASONS = {
    ArchiveUnsafe: "its archive can't be unpacked safely",
    ArchiveTooLarge: "it is too large",
    ArchiveBroken: "its archive is damaged",
}


class _FailedForThisBuild(Exception):
    """This build could not fetch the template. Other builds may try at once."""


def provide(ctx: Context, project: Project, *, site: bool = False) -> None:
    """Copy the project's templates into its ``_build/templates``. If one is not available, warn and go on without it.

    ``site`` adds the template of the project's site, which the bundled recipe does not need.
    """
    if ctx.template_cache is None or ctx.sandbox is None:  # without a sandbox there is no proxy either
        return
    ends_at = time.monotonic() + MAX_BUILD_SECONDS
    for template in find_templates(project, ctx.template_service, site=site, check=ctx.stop.check):
        try:
            if time.monotonic() > ends_at:
                problem = "fetching the other templates took too long"
            else:
                problem = _provide(ctx, ctx.sandbox, ctx.template_cache, project, template)
        except (ExportOutside, ExportUnwritable):
            problem = f"{template.folder} in the repository can't be written"
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            problem = f"the service can't store it ({error.strerror})"
        if problem:
            ctx.find(catalogue.TEMPLATE_UNAVAILABLE, template=template.reference, problem=problem)


def _provide(ctx: Context, sandbox: Sandbox, cache: Path, project: Project, template: Template) -> str:
    """Copy one template, unless the author has put one in its place. Returns the problem, or an empty string."""
    target = resolve_output(project, str(template.folder))
    if target.exists() or target.is_symlink():
        return ""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    entry = cache / hashlib.sha256(template.address.encode()).hexdigest()
    with _locked(entry, ctx.stop):
        _remove_changed(entry)
        is_fresh = _is_fresh(entry)
        ctx.report.looked_up("template", hits=int(is_fresh), misses=int(not is_fresh))
        problem = "" if is_fresh else _renew(ctx, sandbox, entry, template)
        if not entry.is_dir():
            return problem
        if problem:
            ctx.find(catalogue.TEMPLATE_OLD, template=template.reference, problem=problem)
        os.utime(entry)  # the time of its last use
        _copy(entry / "repository", target)
        ctx.log.line(f"Template {template.reference} is in place (sha256 {_source(entry)['sha256']}).")
    return ""


def _copy(folder: Path, target: Path) -> None:
    """Copy the folder completely or not at all: myst would use an incomplete template."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(folder, target, symlinks=True)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        # copytree reports the errors of single files only as text.
        if isinstance(error, shutil.Error) and os.strerror(errno.ENOSPC) in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


@contextmanager
def _locked(entry: Path, stop: Stop) -> Iterator[None]:
    """Wait for the entry's lock: of many builds that need a template at once, one fetches it."""
    while True:
        with _lock(entry) as is_ours:
            if is_ours:
                yield
                return
        stop.wait(0.1)


@contextmanager
def _lock(entry: Path) -> Iterator[bool]:
    """Try to lock the entry; yields whether that worked. The holder removes the lock file, so a locked file may be gone already."""
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
    """What is recorded of an entry; empty if it can't be read.

    ``address`` is where it was fetched from, and ``at`` when (seconds since 1970). ``sha256`` is the sum of its zip, ``unpacked`` that
    of the unpacked files, ``room`` their disk space in bytes.
    """
    with suppress(OSError, ValueError):
        return dict(json.loads((entry / "source.json").read_text()))
    return {}


def _remove_changed(entry: Path) -> None:
    """Remove an entry whose files are not those that were unpacked, so that it is fetched again."""
    if entry.is_dir() and _source(entry).get("unpacked") != _sum(entry / "repository"):
        shutil.rmtree(entry, ignore_errors=True)


def _sum(folder: Path) -> str:
    """The SHA-256 of the names, links, modes and contents of all files in the folder."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name, mode = os.fsencode(path.relative_to(folder)), path.lstat().st_mode
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        whole.update(b"%s\0%o\0%d\0%s" % (name, mode, len(content), content))
    return whole.hexdigest()


def _is_fresh(entry: Path) -> bool:
    return 0 <= time.time() - float(_source(entry).get("at", 0)) < MAX_AGE_SECONDS


def _renew(ctx: Context, sandbox: Sandbox, entry: Path, template: Template) -> str:
    """Fetch the template again. Returns the problem, or an empty string; after a problem the old entry stays."""
    failed = entry.with_suffix(".failed")
    with suppress(OSError):
        # Not negative: after a step back of the clock, a failure that seems to come from the future must not hold for long.
        if 0 <= time.time() - failed.stat().st_mtime < RETRY_AFTER_SECONDS:
            return f"{failed.read_text()} (tried a few minutes ago)"
    try:
        problem = _fetch(ctx, sandbox, entry, template)
    except (_FailedForThisBuild, SandboxUnavailable, ProcessesFull) as error:
        return str(error).removesuffix(".")
    if problem:
        failed.write_text(problem)
    else:
        failed.unlink(missing_ok=True)
    return problem


def _fetch(ctx: Context, sandbox: Sandbox, entry: Path, template: Template) -> str:
    """Download and unpack the template, and replace the entry with it. Returns the problem, or an empty string."""
    zipped = ctx.workspace / "template.zip"
    folder = Path(tempfile.mkdtemp(prefix=f"{entry.name[:16]}-", dir=entry.parent))
    repository = folder / "repository"
    try:
        sha256, problem = _download(ctx, sandbox, template.address, zipped)
        if problem:
            return problem
        unzip(zipped, repository, UNZIP_LIMITS, check=ctx.stop.check)
        if not (repository / TEMPLATE_FILE).is_file():
            return f"it has no {TEMPLATE_FILE}"
        _write_source(folder, address=template.address, sha256=sha256)
        shutil.rmtree(entry, ignore_errors=True)
        folder.rename(entry)
    except (ArchiveUnsafe, ArchiveTooLarge, ArchiveBroken) as error:
        return REASONS[type(error)]
    finally:
        zipped.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    return ""


def _write_source(folder: Path, **source: str) -> None:
    unpacked = _sum(folder / "repository")
    room = sum(path.lstat().st_blocks * 512 + INODE_BYTES for path in folder.rglob("*"))
    source |= {"unpacked": unpacked, "at": str(time.time()), "room": str(room)}
    (folder / "source.json").write_text(json.dumps(source))


def _download(ctx: Context, sandbox: Sandbox, address: str, target: Path) -> tuple[str, str]:
    """Download a template's zip to ``target``. Returns its SHA-256 and an empty string, or an empty string and the problem."""
    with network.proxied(sandbox, ctx.build_hosts.listed, ctx.build_hosts.private) as proxy:
        result = own_tools.run(
            ctx,
            proxy.sandbox,
            ("download.py", address, str(target), str(MAX_ARCHIVE_BYTES)),
            seconds=MAX_FETCH_SECONDS,
            max_bytes=MAX_OUTPUT_BYTES,
            env=proxy.variables(),
        )
        refusals = proxy.refusals()
    if result.ended.exit_code == 0:
        return "".join(result.lines[:1]), ""
    result.check_service("a template was fetched")
    if result.ended.hit:
        raise _FailedForThisBuild(f"fetching it {result.ended.hit.text}")
    if result.ended.timed_out:
        return "", f"{address} did not answer within {MAX_FETCH_SECONDS} s"
    if refusals:
        return "", f"the proxy refused access to {refusals[0]}"
    return "", result.last_error[:300].removesuffix(".")


# --- kept within its limits


def sweep(cache: Path) -> None:
    """Remove entries unused for long, the longest unused of too many or too large ones, and what killed workers left behind."""
    if not cache.is_dir():
        return
    now, room, left = time.time(), MAX_CACHE_BYTES, MAX_TEMPLATES
    for path, changed_at in sorted(_changes(cache), key=itemgetter(1), reverse=True):
        age = now - changed_at
        if path.suffix == ".failed" and age > MAX_LEFTOVER_SECONDS:
            path.unlink(missing_ok=True)
        if path.suffix == ".lock" and age > MAX_LEFTOVER_SECONDS:
            with _lock(path):  # removes the file, unless a build holds it
                pass
        if not path.is_dir():
            continue
        if "-" in path.name:
            if age > MAX_LEFTOVER_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
            continue
        room -= int(_source(path).get("room", UNZIP_LIMITS.unpacked_bytes))  # measuring many files again would take long
        left -= 1
        if age > MAX_UNUSED_SECONDS or room < 0 or left < 0:
            _remove_unless_in_use(path)


def _changes(cache: Path) -> Iterator[tuple[Path, float]]:
    """Every path in the cache and the time of its last change. Builds may remove locks meanwhile."""
    for path in cache.iterdir():
        with suppress(FileNotFoundError):
            yield path, path.lstat().st_mtime


def _remove_unless_in_use(entry: Path) -> None:
    with _lock(entry) as is_ours:
        if is_ours:
            shutil.rmtree(entry, ignore_errors=True)
