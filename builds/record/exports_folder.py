"""The storage of kept exports in a folder of this machine, or in one that several machines mount."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage


class ExportsFolder(FileSystemStorage):
    """``DATA_DIR/exports``, for the service only. A file that is a link does not exist."""

    def __init__(self) -> None:
        super().__init__(file_permissions_mode=0o600, directory_permissions_mode=0o700)

    @property
    def base_location(self) -> str:
        return str(Path(settings.DATA_DIR) / "exports")

    @property
    def location(self) -> str:
        return self.base_location

    def exists(self, name: str) -> bool:
        path = Path(self.path(name))
        return path.is_file() and not path.is_symlink()

    def problem(self) -> str:
        """Why no exports can be kept now; empty if they can."""
        return ""

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        """Django's hook for what :meth:`open` returns."""
        return File(os.fdopen(os.open(self.path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb"), name)
