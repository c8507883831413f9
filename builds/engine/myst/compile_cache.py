"""V8's compile cache of mystmd: without it, Node compiles its 13 MB at each start.

It is filled once, when Jobsite is installed (``python -m builds.engine.myst.compile_cache``), beside the packages that builds can read
and not write. Node checks an entry against its own version and the program's text, and compiles as usual if it does not fit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from builds.engine.myst import toolchain
from builds.engine.sandbox.bubblewrap import INSIDE_UID

FOLDER = Path(sys.prefix) / "var" / "jobsite" / "compile-cache"
VARIABLE = "NODE_COMPILE_CACHE"
FILL_SECONDS = 120


def fill(folder: Path = FOLDER) -> None:
    """Fill a new cache by starting mystmd once, without a manuscript. Does nothing unless Node and mystmd are Python packages.

    Raises:
        OSError, subprocess.SubprocessError: that failed.
    """
    programs = toolchain.node_programs()
    if not programs:
        return
    with tempfile.TemporaryDirectory(prefix="jobsite-compile-cache-") as made:
        subprocess.run(
            [programs["JOBSITE_NODE"], programs["JOBSITE_MYST"], "--version"],
            cwd=made,
            env={VARIABLE: made, "PATH": toolchain.SYSTEM_PATH},  # mystmd fails without a PATH
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FILL_SECONDS,
            check=True,
        )
        shutil.rmtree(folder, ignore_errors=True)
        for entry in _entries(Path(made)):
            shutil.copytree(entry, folder / entry.name.rpartition("-")[0], copy_function=shutil.copyfile)  # readable for all


def provide(place: Path, uids: Iterable[int | None], folder: Path = FOLDER) -> dict[str, str]:
    """Lead Node from ``place``, a new folder, to the cache. Returns the variables that it needs; none without a cache.

    Node reads only what is named after its user, which is one of ``uids``.
    """
    entries = _entries(folder)
    if not entries:
        return {}
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700, parents=True)
    for entry in entries:
        for uid in {os.getuid(), INSIDE_UID, *uids} - {None}:
            (place / f"{entry.name}-{uid}").symlink_to(entry)
    return {VARIABLE: str(place)}


def _entries(folder: Path) -> list[Path]:
    """The folders of Node's cache: one for each version of it that filled it."""
    return sorted(path for path in folder.glob("v*") if path.is_dir())


if __name__ == "__main__":
    fill()
