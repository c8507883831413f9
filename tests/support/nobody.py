"""Runs a command as the user nobody if the tests run as root, in a mount namespace in which nobody can read this Python and project."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

BASE_DIR = Path(__file__).parents[2]
NOBODY = 65534


@contextmanager
def folder_of_nobody() -> Iterator[Path]:
    """A temporary folder that belongs to nobody, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="jobsite-nobody-") as name:
        os.chown(name, NOBODY, NOBODY)
        (Path(name) / "kept").mkdir()
        yield Path(name)


def as_nobody(
    folder: Path, *command: str, more: Mapping[str, str] | None = None, seconds: int = 300, shown: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` as nobody. ``more`` is added to its environment; with ``shown`` it writes to this program's output."""
    script = "\n".join(["set -e", *_opened(), f'exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups "$@"'])
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "as-nobody", *command],
        cwd=BASE_DIR,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "LC_ALL": "C.UTF-8", **(more or {})},
        stdin=subprocess.DEVNULL,
        capture_output=not shown,
        text=True,
        timeout=seconds,
        check=False,
    )


def _opened() -> Iterator[str]:
    """Shell commands that make this Python and this project readable in the command's mount namespace.

    They mount a folder with only these two over each parent folder that only root may enter.
    """
    needed = sorted({Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), BASE_DIR})
    for closed, paths in groupby(needed, _closed):
        if closed:
            yield f'mount --rbind {closed} "$TMPDIR/kept"; mount -t tmpfs -o mode=755 opened {closed}'
            for path in paths:
                yield f'mkdir -p {path}; mount --rbind "$TMPDIR/kept/{path.relative_to(closed)}" {path}'
            yield 'umount -l "$TMPDIR/kept"'


def _closed(path: Path) -> Path | None:
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001), None)
