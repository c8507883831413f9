"""The stage unpack: a stranger's zip archive into an empty folder, entry by entry, with limits; what could do harm is refused."""

from __future__ import annotations

import errno
import lzma
import os
import re
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from builds import units, zip_end
from builds.errors import ArchiveBroken, ArchiveTooLarge, ArchiveUnsafe, ProjectFileMissing
from builds.stages import Archive, Context, Project

CHUNK = 1 << 20
LINK_BYTES = 4096
# What the list of entries may take for each of them; names are at most a few hundred bytes.
LIST_BYTES_PER_ENTRY = 1024
DRIVE = re.compile(r"[A-Za-z]:(?!\s)")
LFS_HEAD = b"version https://git-lfs.github.com/spec/v1"
LFS_BYTES = 1024
PROJECT_NAMES = ("myst.yml", "myst.yaml", "curvenote.yml", "curvenote.yaml")
NAMED = 10
# Longer ones can't be written below a workspace.
LONGEST_PATH, LONGEST_NAME, DEEPEST = 3000, 255, 200


@dataclass
class Entries:
    """What is to be unpacked, by path in the repository (without the archive's top folder)."""

    files: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    links: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


def unpack(ctx: Context, archive: Archive) -> Project:
    """Unpack the repository.

    Raises:
        ArchiveUnsafe: an entry can't be unpacked safely; the message names it.
        ArchiveTooLarge: it is larger, or has more entries, than the limits allow.
        ArchiveBroken: it can't be read.
        ProjectFileMissing: the project file is not in it.
    """
    root = ctx.workspace / "repository"
    root.mkdir()
    _check_list(ctx, archive.path)
    try:
        with zipfile.ZipFile(archive.path) as zipped:
            entries = _sorted_out(zipped, ctx)
            pointers = _Unpacking(ctx, zipped, root).run(entries)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error) as error:
        raise ArchiveBroken(f"The archive of the repository can't be read: {error}.") from error
    _warn_of_absent(ctx, root, pointers)
    return Project(root, _project_file(root, archive, entries))


def _check_list(ctx: Context, path: Path) -> None:
    try:
        end = zip_end.read(path)
    except zip_end.NotAnArchive as error:
        raise ArchiveBroken("What the host sent is no zip archive.") from error
    if max(end.entries, end.list_bytes // LIST_BYTES_PER_ENTRY) > ctx.limits.entries:
        raise ArchiveTooLarge(f"The repository has more than the {ctx.limits.entries} files and folders that this service takes.")


def _sorted_out(zipped: zipfile.ZipFile, ctx: Context) -> Entries:
    """Look at every entry before anything is written."""
    infos = zipped.infolist()
    if len(infos) > ctx.limits.entries:
        raise ArchiveTooLarge(f"The repository has more than the {ctx.limits.entries} files and folders that this service takes.")
    if sum(info.file_size for info in infos) > ctx.limits.unpacked_bytes:
        raise _too_large(ctx)
    skipped = _top_folder_length(infos)
    entries = Entries()
    for info in infos:
        path = "/".join(_parts(info)[skipped:])
        if path:
            _add(entries, info, path, ctx)
    _check_clashes(entries)
    return entries


def _top_folder_length(infos: Iterable[zipfile.ZipInfo]) -> int:
    """1 where everything is in one folder, as in GitHub's archives, whatever its name; otherwise 0."""
    tops = {(_parts(info)[0], len(_parts(info)) > 1 or info.is_dir()) for info in infos}
    return 1 if len(tops) == 1 and next(iter(tops))[1] else 0


def _parts(info: zipfile.ZipInfo) -> list[str]:
    """The segments of an entry's path, checked."""
    name = info.orig_filename
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith(("/", "\\")):
        raise _unsafe(name, "its path is absolute")
    if ".." in re.split(r"[/\\]", name):
        raise _unsafe(name, "its path leads upwards ('..')")
    if any(DRIVE.match(part) for part in parts[:2]):
        raise _unsafe(name, "its path begins with a drive letter")
    if "\0" in name or not parts:
        raise _unsafe(name, "its name can't be used")
    if len(os.fsencode(name)) > LONGEST_PATH or any(len(os.fsencode(part)) > LONGEST_NAME for part in parts):
        raise _unsafe(name, "its name is too long")
    if len(parts) > DEEPEST:
        raise _unsafe(name, f"it is in more than {DEEPEST} folders in one another")
    return parts


def _add(entries: Entries, info: zipfile.ZipInfo, path: str, ctx: Context) -> None:
    mode = info.external_attr >> 16 if info.create_system == 3 else 0
    kind = stat.S_IFMT(mode)
    if info.flag_bits & 0x1:
        raise _unsafe(path, "it is encrypted")
    if info.compress_type not in zip_end.METHODS:
        raise _unsafe(path, "it is packed in another way than by Deflate")
    if info.is_dir() or kind == stat.S_IFDIR:
        entries.folders.add(path)
    elif kind not in (0, stat.S_IFREG, stat.S_IFLNK):
        raise _unsafe(path, "it is a device, a pipe or a socket")
    elif path in entries.files or path in entries.links:
        raise _unsafe(path, "the archive holds it twice")
    elif info.file_size > ctx.limits.entry_bytes:
        raise ArchiveTooLarge(f"{path} is larger than the {units.size(ctx.limits.entry_bytes)} that a file may have.", file=path)
    else:
        (entries.links if kind == stat.S_IFLNK else entries.files)[path] = info


def _check_clashes(entries: Entries) -> None:
    """Names that would meet in one file: on another system, or as a file and a folder at once."""
    seen: dict[str, str] = {}
    for path in [*entries.files, *entries.links]:
        other = seen.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
        if other != path:
            raise _unsafe(path, f"its name differs from {other!r} only by case")
    for path in [*entries.files, *entries.links, *entries.folders]:
        for parent in PurePosixPath(path).parents:
            if str(parent) in entries.files or str(parent) in entries.links:
                raise _unsafe(path, f"{str(parent)!r} is no folder")
        if path in entries.folders and (path in entries.files or path in entries.links):
            raise _unsafe(path, "it is a file and a folder at once")


class _Unpacking:
    """Writes sorted entries below ``root`` and counts what is written: what an archive says of sizes is not believed."""

    def __init__(self, ctx: Context, zipped: zipfile.ZipFile, root: Path) -> None:
        self._ctx, self._zipped, self._root = ctx, zipped, root
        self._written = 0
        self._total = 0

    def run(self, entries: Entries) -> list[str]:
        """Returns the files that are Git LFS pointers."""
        self._total = sum(info.file_size for info in entries.files.values())
        pointers = []
        for path, info in entries.files.items():
            self._ctx.stop.check()
            with _naming(path):
                self._file(path, info)
            if info.file_size < LFS_BYTES and (self._root / path).read_bytes().startswith(LFS_HEAD):
                pointers.append(path)
        for path in entries.folders:
            (self._root / path).mkdir(parents=True, exist_ok=True)
        self._make_links(entries)
        self._ctx.report.progress(self._written, self._written)
        self._ctx.report.detail(f"{len(entries.files)} files, {len(entries.links)} links, {units.size(self._written)}")
        return pointers

    def _file(self, path: str, info: zipfile.ZipInfo) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        executable = info.create_system == 3 and (info.external_attr >> 16) & 0o111
        written = 0
        with self._zipped.open(info) as source, target.open("xb") as file:
            while chunk := source.read(CHUNK):
                self._ctx.stop.check()
                written += len(chunk)
                self._check_sizes(path, info, len(chunk), written)
                file.write(chunk)
            os.fchmod(file.fileno(), 0o755 if executable else 0o644)

    def _check_sizes(self, path: str, info: zipfile.ZipInfo, more: int, written: int) -> None:
        self._written += more
        if self._written > self._ctx.limits.unpacked_bytes or written > self._ctx.limits.entry_bytes:
            raise _too_large(self._ctx)
        if written > self._ctx.limits.ratio_from_bytes and written > self._ctx.limits.ratio * max(info.compress_size, 1):
            raise _unsafe(path, f"it unpacks to more than {self._ctx.limits.ratio} times its size")
        self._ctx.report.progress(self._written, max(self._total, self._written))

    def _make_links(self, entries: Entries) -> None:
        """After all else, so that nothing is ever written through one; then each is followed to see where it really leads."""
        for path, info in entries.links.items():
            with _naming(path):
                target = self._target(path, info)
                link = self._root / path
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(target)
        root = os.path.realpath(self._root)
        for path in entries.links:
            if not Path(os.path.realpath(self._root / path)).is_relative_to(root):
                shutil.rmtree(self._root)
                raise _unsafe(path, "it is a link that leads out of the repository")

    def _target(self, path: str, info: zipfile.ZipInfo) -> str:
        if info.file_size > LINK_BYTES:
            raise _unsafe(path, "it is a link with too long a target")
        target = os.fsdecode(self._zipped.read(info))
        if not target or "\0" in target:
            raise _unsafe(path, "it is a link without a usable target")
        if target.startswith("/"):
            raise _unsafe(path, "it is a link that leads out of the repository")
        return target


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Tell which entry it was that could not be read or written."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise ArchiveBroken(f"The archive of the repository is damaged at {path!r}: {error}.") from error
    except NotImplementedError as error:
        raise _unsafe(path, f"it is packed in a way that can't be read ({error})") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _unsafe(path, f"it can't be written ({error.strerror})") from error


def _unsafe(name: str, why: str) -> ArchiveUnsafe:
    return ArchiveUnsafe(f"The repository can't be unpacked: {name[:300]!r}: {why}.", file=name[:300])


def _too_large(ctx: Context) -> ArchiveTooLarge:
    return ArchiveTooLarge(
        f"The repository unpacks to more than the {units.size(ctx.limits.unpacked_bytes)} that this service takes."
    )


def _warn_of_absent(ctx: Context, root: Path, pointers: list[str]) -> None:
    """What GitHub's archive leaves out, and a build may miss: files in Git LFS, and submodules."""
    if pointers:
        ctx.log.warning(
            f"{_named(pointers)}: only pointers to Git LFS, not the files themselves, which GitHub leaves out of its archive. "
            "Commit them as ordinary files where the manuscript needs them."
        )
    modules = [path for path in _submodules(root) if not any((root / path).glob("*"))]
    if modules:
        ctx.log.warning(f"{_named(modules)}: submodules, which GitHub leaves out of its archive. Their folders are empty.")


def _named(paths: list[str]) -> str:
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(paths[:NAMED]) + more


def _submodules(root: Path) -> list[str]:
    """The paths of submodules that stay inside, from .gitmodules (git-config(1), gitmodules(5))."""
    listing = root / ".gitmodules"
    if listing.is_symlink() or not listing.is_file():
        return []
    paths = re.findall(r"^\s*path\s*=\s*(\S.*?)\s*$", listing.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    return [path for path in paths if not path.startswith("/") and ".." not in path.split("/")]


def _project_file(root: Path, archive: Archive, entries: Entries) -> Path:
    path = root / archive.project_path
    if path.is_file():
        return path
    others = sorted(name for name in entries.files if PurePosixPath(name).name in PROJECT_NAMES)
    hint = f" It has {_named(others)}." if others else " It has no MyST project file at all."
    at = f" at {archive.ref}" if archive.ref else ""
    raise ProjectFileMissing(f"{archive.project_path} was not found in the repository{at}.{hint}", file=archive.project_path)
