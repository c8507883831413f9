"""Keeps the archives of commits for later attempts: a commit never changes, so its archive is downloaded once.

Each archive has a note beside it, with its checksum and the host's ETag. The note is written last. An archive without a note, or with
another checksum, is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from builds.engine.clients.archive import Downloaded
from builds.engine.clients.git_refs import COMMIT

MAX_AGE_SECONDS = 7 * 24 * 3600
CHUNK = 1 << 20


@dataclass(frozen=True)
class KeptArchive:
    """An archive that is kept, and what was downloaded then."""

    path: Path
    downloaded: Downloaded

    def copy_to(self, path: Path) -> bool:
        """Copy it to ``path``. Returns whether it is there and is what was downloaded; if not, nothing is at ``path``."""
        with suppress(OSError):
            _link(self.path, path)
            if _sha256(path) == self.downloaded.sha256:
                return True
        path.unlink(missing_ok=True)
        return False


@dataclass(frozen=True)
class KeptArchives:
    """The archives in ``folder`` that came from ``host``: at most ``max_bytes`` together, those that were not used for longest go first.

    They also go if less than ``min_free`` bytes of the disk are free.
    """

    folder: Path
    host: str
    max_bytes: int
    min_free: int = 0

    def find(self, repository: str, commit: str) -> KeptArchive | None:
        """The archive of a commit of ``repository`` (``owner/name``); None if it is not kept. It counts as used."""
        note = self._note(repository, commit)
        try:
            if not COMMIT.fullmatch(commit) or _is_old(note.with_suffix(".zip")):
                return None
            downloaded = Downloaded(**json.loads(note.read_text()))
            os.utime(note)
            return KeptArchive(note.with_suffix(".zip"), downloaded)
        except (OSError, ValueError, TypeError):
            return None

    def keep(self, repository: str, commit: str, path: Path, downloaded: Downloaded) -> None:
        """Keep the archive at ``path``. Does nothing if there is no room, or if it is larger than all kept archives may be together."""
        if not COMMIT.fullmatch(commit) or path.stat().st_size > self.max_bytes:
            return
        note = self._note(repository, commit)
        with suppress(OSError):
            note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace(note.with_suffix(".zip"), lambda new: _link(path, new))
            text = json.dumps(asdict(downloaded))
            _replace(note, lambda new: new.write_text(text))
        self.sweep()

    def drop(self, repository: str, commit: str) -> None:
        """Remove the archive of a commit."""
        _remove(self._note(repository, commit))

    def forget(self, repository: str) -> None:
        """Remove all archives of a repository."""
        shutil.rmtree(self._note(repository, "").parent, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what is too old, and what is too much. Any number of processes may do so at once."""
        for path in self.folder.glob("*/*.*.*"):  # of a process that was killed
            with suppress(OSError):
                if _is_old(path):
                    path.unlink()
        kept = sorted(self._notes(), reverse=True)
        left = 0 if kept and shutil.disk_usage(self.folder).free < self.min_free else self.max_bytes
        for _used_at, size, note in kept:
            left -= size
            if left < 0 or _is_old(note.with_suffix(".zip")):
                _remove(note)

    def _notes(self) -> Iterator[tuple[float, int, Path]]:
        """When each archive was used last, its size, and its note."""
        for archive in self.folder.glob("*/*.zip"):
            note = archive.with_suffix(".json")
            with suppress(OSError):
                used = note if note.exists() else archive
                yield used.stat().st_mtime, archive.stat().st_size, note

    def _note(self, repository: str, commit: str) -> Path:
        """GitHub ignores the case of names."""
        name = hashlib.sha256(f"{self.host.rstrip('/')}/{repository.lower()}".encode()).hexdigest()
        return self.folder / name[:32] / f"{commit}.json"


def _is_old(archive: Path) -> bool:
    """Whether it was downloaded too long ago. Raises FileNotFoundError."""
    return time.time() - archive.stat().st_mtime > MAX_AGE_SECONDS


def _link(path: Path, to: Path) -> None:
    """Make ``to`` the same file. A copy, where the file system has no links."""
    try:
        os.link(path, to)
    except OSError:
        shutil.copy2(path, to)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Replace ``path`` atomically with what ``write`` writes: nobody sees a partial file."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    write(new)
    new.replace(path)


def _remove(note: Path) -> None:
    for path in (note, note.with_suffix(".zip")):
        path.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
