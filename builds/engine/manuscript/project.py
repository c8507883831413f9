"""A repository on its way to a build: the archive that was downloaded, and the project that was unpacked from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Archive:
    """A downloaded repository.

    ``path`` is the zip file, ``commit`` the commit it holds, ``project_path`` the project file's place in it (POSIX, relative).
    """

    path: Path
    commit: str
    ref: str
    project_path: str


@dataclass(frozen=True)
class Project:
    """An unpacked repository: ``root`` is its folder, ``file`` the absolute path of the project file inside it."""

    root: Path
    file: Path

    @property
    def folder(self) -> Path:
        return self.file.parent
