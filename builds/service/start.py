"""What every program of the service does before it starts."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.core.management import CommandError

from builds.record import schema
from builds.record.patience import DATABASE_AWAY

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def prepare() -> None:
    """Close the data folder to other users, and check that the database's schema is this release's.

    A database that can't be read does not prevent the start: every program can wait for it.

    Raises:
        CommandError: the program can't start here; the message says why and what to do.
    """
    make_private(Path(settings.DATA_DIR))
    with suppress(*DATABASE_AWAY):
        if problem := schema.problem():
            raise CommandError(problem)


def make_private(folder: Path) -> None:
    """Let only the owner use the folder, and what is in it. The folder is enough, but a backup may copy its files one by one.

    Folders deeper than one level keep their modes, because there may be very many. Files that are made later are private, too.

    Raises:
        CommandError: it belongs to another user, or its file system keeps no modes.
    """
    os.umask(OTHERS)
    folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    for path in (folder, *folder.iterdir(), *folder.glob("queue/*")):
        with suppress(FileNotFoundError):  # SQLite and the queue store remove files of theirs
            _close(path)


def _close(path: Path) -> None:
    if path.is_symlink() or not path.stat().st_mode & OTHERS:
        return
    with suppress(PermissionError):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~OTHERS)
    if path.stat().st_mode & OTHERS:
        raise CommandError(
            f"Other users can use {path}, and that can't be changed. Run as root: chmod -R go= {path}; or set DATA_DIR."
        )
