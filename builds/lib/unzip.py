"""Unpacks an untrusted zip archive into a new folder, entry by entry, within limits. Refuses an archive with a harmful entry."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from builds.errors import ArchiveBroken, ArchiveTooLarge, ArchiveUnsafe
from builds.lib import units, zips

CHUNK = 1 << 20
MAX_LINK_TARGET_BYTES = 4096
DRIVE = re.compile(r"[A-Za-z]:(?!\s)")
# Longer paths can't be written below a workspace.
MAX_PATH_BYTES, MAX_NAME_BYTES, MAX_DEPTH = 3000, 255, 200
MAX_SHOWN_NAME = 300


@dataclass(frozen=True)
class UnzipLimits:
    """What an archive may unpack to. ``entry_bytes`` is for one file, ``ratio`` compares its unpacked size with its packed size."""

    unpacked_bytes: int = 4 << 30
    entry_bytes: int = 2 << 30
    entries: int = 100_000
    ratio: int = 200
    ratio_from_bytes: int = 100 << 20  # smaller files may have any ratio: a blank image has an extreme one


@dataclass
class Entries:
    """The contents of an archive, by path in the repository (without the archive's top folder)."""

    files: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    links: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


def unzip(
    archive: Path,
    folder: Path,
    limits: UnzipLimits,
    *,
    check: Callable[[], None] = lambda: None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> tuple[Entries, int]:
    """Unpack ``archive`` into ``folder``, which must not exist yet. Returns its entries and the bytes written.

    ``check`` is called often and may raise to stop the unpacking. ``progress`` gets the bytes written and expected.

    Raises:
        ArchiveUnsafe: an entry can't be unpacked safely; the message names it.
        ArchiveTooLarge: the archive exceeds a limit.
        ArchiveBroken: the archive can't be read.
    """
    folder.mkdir()
    try:
        with zips.opened(archive, limits.entries) as zipped:
            entries = _read_entries(zipped, limits)
            written = _Unpacking(zipped, folder, limits, check, progress).run(entries)
    except zips.TooManyEntries as error:
        raise _too_many(limits) from error
    except zips.NotAnArchive as error:
        raise ArchiveBroken(f"The repository's archive can't be read: {error}.") from error
    progress(written, written)
    return entries, written


def _read_entries(zipped: zipfile.ZipFile, limits: UnzipLimits) -> Entries:
    """Check every entry before anything is written."""
    infos = zipped.infolist()
    if sum(info.file_size for info in infos) > limits.unpacked_bytes:
        raise _too_large(limits)
    paths = [_path(info) for info in infos]
    skipped = _top_folder_length(paths, infos)
    entries = Entries()
    for path, info in zip(paths, infos, strict=True):
        if path[skipped:]:
            _add(entries, info, path[skipped:], limits)
    _check_names(entries)
    _check_tree(entries, limits)
    return entries


def _top_folder_length(paths: Sequence[str], infos: Sequence[zipfile.ZipInfo]) -> int:
    """The length of the folder's name and its slash if all entries are in one folder, as in GitHub's archives; otherwise 0."""
    tops = {path.partition("/")[0] for path in paths}
    if len(tops) != 1 or not all("/" in path or info.is_dir() for path, info in zip(paths, infos, strict=True)):
        return 0
    return len(tops.pop()) + 1


def _path(info: zipfile.ZipInfo) -> str:
    """Check each name of an entry. Returns the one that is used, without empty parts."""
    used, *_others = [_checked_path(name) for name in zips.names(info)]
    return used


def _checked_path(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith(("/", "\\")):
        raise _unsafe(name, "its path is absolute")
    if ".." in re.split(r"[/\\]", name):
        raise _unsafe(name, "its path contains '..'")
    if any(DRIVE.match(part) for part in parts[:2]):
        raise _unsafe(name, "its path begins with a drive letter")
    if "\0" in name or not parts:
        raise _unsafe(name, "its name can't be used")
    size = len(os.fsencode(name))
    if size > MAX_PATH_BYTES or (size > MAX_NAME_BYTES and any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts)):
        raise _unsafe(name, "its name is too long")
    if len(parts) > MAX_DEPTH:
        raise _unsafe(name, f"it is more than {MAX_DEPTH} folders deep")
    return "/".join(parts)


def _add(entries: Entries, info: zipfile.ZipInfo, path: str, limits: UnzipLimits) -> None:
    mode = info.external_attr >> 16 if info.create_system == 3 else 0
    kind = stat.S_IFMT(mode)
    if info.flag_bits & 0x1:
        raise _unsafe(path, "it is encrypted")
    if info.compress_type not in zips.METHODS:
        raise _unsafe(path, "it uses an unsupported compression method (only Deflate is accepted)")
    if info.is_dir() or kind == stat.S_IFDIR:
        entries.folders.add(path)
    elif kind not in (0, stat.S_IFREG, stat.S_IFLNK):
        raise _unsafe(path, "it is a device, a pipe or a socket")
    elif path in entries.files or path in entries.links:
        raise _unsafe(path, "the archive contains it twice")
    elif info.file_size > limits.entry_bytes:
        raise ArchiveTooLarge(f"{path} is larger than {units.size(limits.entry_bytes)}, the limit for one file.", file=path)
    else:
        (entries.links if kind == stat.S_IFLNK else entries.files)[path] = info


def _check_names(entries: Entries) -> None:
    """Refuse a name for a file and a folder.

    Names that differ only by case are two files, as in the repository. A disk that ignores case refuses to create the second.
    """
    for path in entries.folders:
        if path in entries.files or path in entries.links:
            raise _unsafe(path, "it is a file and a folder at once")


def _check_tree(entries: Entries, limits: UnzipLimits) -> None:
    """Refuse a file inside another file, and too many folders: one name may stand for hundreds of them."""
    count, before, is_file = 0, list[str](), False
    # Depth first, so that a path shares its longest beginning with the path before it.
    for path in sorted([*entries.files, *entries.links, *entries.folders], key=lambda path: path.replace("/", "\0")):
        parts = path.split("/")
        shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(before, parts, strict=False))))
        if is_file and shared == len(before):
            raise _unsafe(path, f"{'/'.join(before)!r} is not a folder")
        count += len(parts) - shared
        if count > limits.entries:
            raise _too_many(limits)
        before, is_file = parts, path not in entries.folders


class _Unpacking:
    """Writes checked entries below ``root``. Counts the bytes itself, because an archive can lie about its sizes."""

    def __init__(
        self,
        zipped: zipfile.ZipFile,
        root: Path,
        limits: UnzipLimits,
        check: Callable[[], None],
        progress: Callable[[int, int | None], None],
    ) -> None:
        self._zipped, self._root, self._limits = zipped, root, limits
        self._check, self._progress = check, progress
        self._written = 0
        self._total = 0
        self._made = {""}

    def run(self, entries: Entries) -> int:
        """Write all entries and return the bytes written."""
        self._total = sum(info.file_size for info in entries.files.values())
        for path, info in entries.files.items():
            self._check()
            with _errors_naming(path):
                self._write(path, info)
        for path in entries.folders:
            self._make_folder(path)
        self._make_links(entries)
        return self._written

    def _make_folder(self, path: str) -> None:
        """Make a folder once: most files are in one that exists."""
        if path not in self._made:
            (self._root / path).mkdir(parents=True, exist_ok=True)
            self._made.add(path)

    def _write(self, path: str, info: zipfile.ZipInfo) -> None:
        self._make_folder(path.rpartition("/")[0])
        target = self._root / path
        executable = info.create_system == 3 and (info.external_attr >> 16) & 0o111
        written = 0
        with self._zipped.open(info) as source, target.open("xb") as file:
            while chunk := source.read(CHUNK):
                self._check()
                written += len(chunk)
                self._check_sizes(path, info, len(chunk), written)
                file.write(chunk)
            os.fchmod(file.fileno(), 0o755 if executable else 0o644)

    def _check_sizes(self, path: str, info: zipfile.ZipInfo, more: int, written: int) -> None:
        limits = self._limits
        self._written += more
        if self._written > limits.unpacked_bytes or written > limits.entry_bytes:
            raise _too_large(limits)
        if written > limits.ratio_from_bytes and written > limits.ratio * max(info.compress_size, 1):
            raise _unsafe(path, f"it unpacks to more than {limits.ratio} times its packed size")
        self._progress(self._written, max(self._total, self._written))

    def _make_links(self, entries: Entries) -> None:
        """Make links last, so that nothing is written through one; then follow each to see where it leads."""
        for path, info in entries.links.items():
            with _errors_naming(path):
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
        if info.file_size > MAX_LINK_TARGET_BYTES:
            raise _unsafe(path, "it is a link whose target is too long")
        target = os.fsdecode(self._zipped.read(info))
        if not target or "\0" in target:
            raise _unsafe(path, "it is a link without a usable target")
        if target.startswith("/"):
            raise _unsafe(path, "it is a link that leads out of the repository")
        return target


@contextmanager
def _errors_naming(path: str) -> Iterator[None]:
    """Name the entry in the errors of reading and writing it. A full disk is the service's fault and passes as it is."""
    try:
        yield
    except NotImplementedError as error:
        raise _unsafe(path, f"it uses a zip feature that is not supported ({error})") from error
    except zips.DAMAGED as error:
        raise ArchiveBroken(f"The repository's archive is damaged at {path!r}: {error}.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _unsafe(path, f"it can't be written ({error.strerror})") from error


def _unsafe(name: str, why: str) -> ArchiveUnsafe:
    shown = name[:MAX_SHOWN_NAME]
    return ArchiveUnsafe(f"The repository can't be unpacked: {shown!r}: {why}.", file=shown)


def _too_many(limits: UnzipLimits) -> ArchiveTooLarge:
    return ArchiveTooLarge(f"The repository has more than {limits.entries} files and folders, the limit of this service.")


def _too_large(limits: UnzipLimits) -> ArchiveTooLarge:
    return ArchiveTooLarge(f"The repository unpacks to more than {units.size(limits.unpacked_bytes)}, the limit of this service.")
