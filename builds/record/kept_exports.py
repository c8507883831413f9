"""The kept exports: moved out of the workspace when they are collected, so that they can be delivered again without a build.

They are in Django's storage ``exports``: a folder, or a bucket that several machines share. An attempt that delivers again has rows of
its own for the same files.
"""

from __future__ import annotations

import hashlib
import logging
import re
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import IO, Any
from uuid import UUID

from django.conf import settings
from django.core.files import File
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.db import transaction
from django.db.models import Sum

from builds.engine.manuscript.exports import Export
from builds.errors import BuildError, ExportOutside, ExportsUnavailable
from builds.models import FINAL, Artifact, Build, CachedResult, State, Submission, clock
from builds.record.patience import retry_while_away

logger = logging.getLogger(__name__)

# The folder of the build that made the file, and the file in it. An older row has the file alone.
STORED = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/[^/\\\0]{1,200}")
# Builds whose rows are looked up at once.
GROUP = 500
BLOCK = 1 << 20


def _storage() -> Any:
    """The storage that the settings name. Both kinds have ``problem()`` beside Django's methods."""
    return storages["exports"]


def problem() -> str:
    """Why no exports can be kept now; empty if they can."""
    return str(_storage().problem())


@dataclass(frozen=True)
class KeptExport(Export):
    """An export that is in the storage, under ``path``."""

    def is_regular(self) -> bool:
        return True

    def open(self) -> IO[bytes]:
        """Raises ExportsUnavailable also if the file was removed since: a retry builds it again."""
        try:
            return KeptFile(str(self.path)).open()
        except FileNotFoundError as error:
            raise ExportsUnavailable(f"The kept export {self.name} was removed before it was delivered.") from error

    def is_intact(self, check: Callable[[], None]) -> bool:
        """Whether the file is there and is what was collected. Reads all of it; ``check`` is called often and may raise to stop that.

        Raises:
            ExportsUnavailable: the storage does not answer.
        """
        digest = hashlib.sha256()
        try:
            with KeptFile(str(self.path)).open() as file:
                while block := file.read(BLOCK):
                    check()
                    digest.update(block)
        except OSError as error:  # it is gone, is a link, or its disk is damaged
            logger.warning("the kept export %s can't be read: %s", self.path, error)
            return False
        return digest.hexdigest() == self.sha256


@dataclass(frozen=True)
class KeptFile:
    """A file in the storage, by its name there."""

    stored: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.stored).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.stored).suffix

    def open(self) -> IO[bytes]:
        """The file, open for reading from any place.

        Raises:
            FileNotFoundError: it is gone.
            ExportsUnavailable: the storage does not answer.
        """
        file: IO[bytes] = _storage().open(self.stored)
        return file


class _Movable(File):  # type: ignore[type-arg]  # it is not generic when the program runs
    """A file that a storage may move instead of copying it: Django's storages do so if it has this method."""

    def temporary_file_path(self) -> str:
        return str(self.name)


def keep(build: Build, exports: Iterable[Export]) -> list[KeptExport]:
    """Move the files to the storage and record them. Returns the exports as they are there.

    Raises:
        ExportsUnavailable: the storage does not answer.
    """
    try:
        kept = [_move(export, str(build.pk), position) for position, export in enumerate(exports, 1)]
        retry_while_away(lambda: _record(build, kept))
    except BaseException:
        with suppress(BuildError, OSError):  # what is left goes with the old exports
            remove(str(build.pk))
        raise
    return kept


def _move(export: Export, folder: str, position: int) -> KeptExport:
    if not stat.S_ISREG(export.path.lstat().st_mode):
        raise ExportOutside(f"{export.name} is not a regular file.", file=export.name)
    name = f"{folder}/{position}-{export.role}{export.path.suffix[:16]}"
    with export.path.open("rb") as opened:
        stored = _storage().save(name, _Movable(opened, str(export.path)))
    export.path.unlink(missing_ok=True)
    return KeptExport(export.role, export.name, Path(stored), export.size, export.sha256, export.pages)


@transaction.atomic
def _record(build: Build, exports: list[KeptExport]) -> None:
    # There already, where the database was cut off after it had taken them and before it said so.
    if build.artifacts.exists() or not Build.objects.filter(pk=build.pk, state=State.RUNNING).exists():
        return
    Artifact.objects.bulk_create(
        Artifact(
            build=build,
            position=position,
            role=each.role,
            name=each.name,
            file=str(each.path),
            size=each.size,
            sha256=each.sha256,
            pages=each.pages,
        )
        for position, each in enumerate(exports, 1)
    )


def newest_build(submission: Submission) -> Build | None:
    """The newest build whose exports are still there to be delivered again."""
    made = submission.builds.filter(artifacts__isnull=False).distinct().order_by("-number")
    return next((build for build in made if has_exports(build)), None)


def has_exports(build: Build) -> bool:
    """Whether all exports of the build are still there, as far as :func:`is_kept` knows."""
    artifacts = list(build.artifacts.select_related("build"))
    return bool(artifacts) and all(map(is_kept, artifacts))


def is_kept(artifact: Artifact) -> bool:
    """Whether the artifact's file is still there. A bucket is not asked, because pages and submissions must not wait for it."""
    stored = _stored(artifact)
    if not stored:
        return False
    if isinstance(_storage(), FileSystemStorage):
        return bool(_storage().exists(stored))
    ended = artifact.build.finished_at
    return ended is None or ended > clock.now() - timedelta(days=settings.EXPORTS_KEPT_DAYS)


def find(artifact: Artifact) -> KeptFile | None:
    """The artifact's file in the storage, which is asked for it. None if it is gone, or if the row names anything else.

    Raises:
        ExportsUnavailable: the storage does not answer.
    """
    stored = _stored(artifact)
    return KeptFile(stored) if stored and _storage().exists(stored) else None


def _stored(artifact: Artifact) -> str:
    stored = artifact.file if "/" in artifact.file else f"{artifact.build_id}/{artifact.file}"
    return stored if STORED.fullmatch(stored) and PurePosixPath(stored).name not in (".", "..") else ""


def take_over(build: Build, source: Build, *, check: Callable[[], None] = lambda: None) -> list[KeptExport]:
    """Give the kept exports of ``source`` to ``build`` as well. Returns none, and changes nothing, if one of them is gone or damaged.

    ``check`` is called often while they are read, and may raise to stop that.

    Raises:
        ExportsUnavailable: the storage does not answer.
    """
    exports = []
    for artifact in source.artifacts.all():
        stored = Path(_stored(artifact))
        export = KeptExport(artifact.role, artifact.name, stored, artifact.size, artifact.sha256, artifact.pages)
        if not find(artifact) or not export.is_intact(check):
            return []
        exports.append(export)
    if exports:
        retry_while_away(lambda: _record(build, exports))
    return exports


def pin_as(build: Build, source: Build) -> None:
    """Record that a delivery has the commit of ``source``, and the warnings of an older release."""
    pinned = {"commit": source.commit, "ref": source.ref, "path": source.path, "warnings": source.warnings}
    retry_while_away(lambda: Build.objects.filter(pk=build.pk, state=State.RUNNING).update(**pinned))


def find_old() -> list[str]:
    """The folders for :func:`remove`: of builds that ended more than EXPORTS_KEPT_DAYS ago, and those that were not used for longest above
    EXPORTS_KEPT_MAX_BYTES. What a running build delivers is left alone.

    Lists everything that is kept.
    """
    before = clock.now() - timedelta(days=settings.EXPORTS_KEPT_DAYS)
    kept, in_use = _ended(), _being_delivered()
    over = sum(each.size for each in kept) - settings.EXPORTS_KEPT_MAX_BYTES if settings.EXPORTS_KEPT_MAX_BYTES else 0
    old = []
    for each in sorted(kept, key=lambda each: each.used_at):
        if each.folder not in in_use and (each.ended_at < before or over > 0):
            old.append(each.folder)
            over -= each.size
    return old


def is_being_delivered(folder: str) -> bool:
    """Whether a running build delivers files of this folder."""
    return folder in _being_delivered()


def _being_delivered() -> set[str]:
    files = Artifact.objects.filter(build__state=State.RUNNING).values_list("file", flat=True)
    return {file.partition("/")[0] for file in files}


@dataclass(frozen=True)
class _Folder:
    """The kept files of one build that has ended. ``size`` in bytes."""

    folder: str
    ended_at: datetime
    used_at: datetime
    size: int


def _ended() -> list[_Folder]:
    """The kept folders of builds that have ended."""
    try:
        folders = [name for name in _storage().listdir("")[0] if _is_id(name)]
    except FileNotFoundError:  # nothing was kept yet
        return []
    ended: list[_Folder] = []
    for start in range(0, len(folders), GROUP):
        builds = Build.objects.filter(pk__in=folders[start : start + GROUP], state__in=FINAL, finished_at__isnull=False)
        rows = builds.annotate(size=Sum("artifacts__size")).order_by()
        for pk, end, used, size in rows.values_list("pk", "finished_at", "cached_result__used_at", "size"):
            ended += [_Folder(str(pk), end, max(end, used or end), size or 0)] if end else []
    return ended


def remove(folder: str) -> None:
    """Remove the files of one build, and its entry in the build cache. No effect if another host has done so."""
    CachedResult.objects.filter(build_id=UUID(folder)).delete()
    storage: Storage = _storage()
    with suppress(FileNotFoundError):
        for name in storage.listdir(folder)[1]:
            storage.delete(f"{folder}/{name}")
    if isinstance(storage, FileSystemStorage):
        storage.delete(folder)


def _is_id(text: str) -> bool:
    with suppress(ValueError):
        return str(UUID(text)) == text
    return False
