"""The zips of templates, kept for all builds: below DATA_DIR, which no build sees. What a build gets is a copy.

A file is named by its address and its content (``<sha256 of the address>.<sha256 of the zip>.zip``); when it was fetched is its time
of change, when it was last used its time of access, both set by us.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from builds.errors import TemplateFailed
from builds.stages import Stop

FRESH_SECONDS = 24 * 3600.0
# For so long a failure is believed: a host that is down holds up one build, not all.
FAILED_SECONDS = 300.0
UNUSED_SECONDS = 30 * 24 * 3600.0
UNFINISHED_SECONDS = 3600.0
UNFINISHED = ".part"


@dataclass(frozen=True)
class TemplateCache:
    folder: Path

    @contextmanager
    def held(self, address: str, fetch: Callable[[Path], None], stop: Stop) -> Iterator[Path]:
        """The zip of ``address``, while nobody changes it. ``fetch`` writes it anew where there is none, or an old one.

        Where several builds want it at once, one fetches and the others wait. An old one is better than none.

        Raises:
            TemplateFailed: there is none, and ``fetch`` raised this, now or a moment ago.
        """
        key = hashlib.sha256(address.encode()).hexdigest()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self.folder / f"{key[:2]}.lock", stop):
            kept = self._kept(key)
            if kept is None or _age(kept) > FRESH_SECONDS:
                kept = self._renewed(key, kept, fetch)
            os.utime(kept, (time.time(), kept.stat().st_mtime))
            yield kept

    def _kept(self, key: str) -> Path | None:
        """What is there and still is what was fetched."""
        for path in self.folder.glob(f"{key}.*.zip"):
            if path.name == f"{key}.{_digest(path)}.zip":
                return path
            path.unlink(missing_ok=True)
        return None

    def _renewed(self, key: str, kept: Path | None, fetch: Callable[[Path], None]) -> Path:
        failed = self.folder / f"{key}.failed"
        try:
            if failed.is_file() and _age(failed) < FAILED_SECONDS:
                raise TemplateFailed(failed.read_text())
            path = self._fetched(key, fetch, failed)
        except TemplateFailed:
            if kept is None:
                raise
            return kept
        if kept and kept != path:
            kept.unlink(missing_ok=True)
        failed.unlink(missing_ok=True)
        return path

    def _fetched(self, key: str, fetch: Callable[[Path], None], failed: Path) -> Path:
        descriptor, name = tempfile.mkstemp(suffix=UNFINISHED, dir=self.folder)
        os.close(descriptor)
        part = Path(name)
        try:
            fetch(part)
            return part.replace(self.folder / f"{key}.{_digest(part)}.zip")
        except TemplateFailed as error:
            failed.write_text(error.sentence)
            raise
        finally:
            part.unlink(missing_ok=True)

    def sweep(self, most_bytes: int) -> None:
        """Remove what nobody has used for long; of the rest what was used longest ago, where it is more than ``most_bytes``."""
        if not self.folder.is_dir():
            return
        left = most_bytes
        for path, used, size in sorted(self._files(), key=lambda file: file[1], reverse=True):
            unused = time.time() - used
            left -= size
            if unused > _longest(path) or (path.suffix == ".zip" and left < 0):
                path.unlink(missing_ok=True)

    def _files(self) -> Iterator[tuple[Path, float, int]]:
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                told = path.stat()
                yield path, max(told.st_atime, told.st_mtime), told.st_size


def _longest(path: Path) -> float:
    """For how long it is kept unused. A lock is never removed: somebody may wait for it."""
    return {".zip": UNUSED_SECONDS, ".lock": float("inf")}.get(path.suffix, UNFINISHED_SECONDS)


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(path: Path, stop: Stop) -> Iterator[None]:
    with path.open("wb") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                stop.wait(0.1)
        yield
