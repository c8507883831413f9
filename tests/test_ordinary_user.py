"""The sandbox where the service runs as an ordinary user. Root's tests do it in a process of their own, as nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from builds.sandbox import landlock_version
from builds.sandbox_choice import LANDLOCK_ALONE

BASE_DIR = Path(__file__).parents[1]
NOBODY = 65534
LOOK = """
from builds.sandbox import Policy
from builds.sandbox_choice import choose
for wanted in ("bubblewrap", "landlock"):
    print(choose(wanted, Policy()).problems[:1] or wanted)
"""
TESTS = ["tests/test_sandbox.py", "tests/test_syscalls.py", "tests/stages/test_landlock.py"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Nobody's, as pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="jobsite-nobody-") as name:
        os.chown(name, NOBODY, NOBODY)
        (Path(name) / "kept").mkdir()
        yield Path(name)


def as_nobody(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    script = "\n".join(["set -e", *_opened(), f'exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups "$@"'])
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "as-nobody", *command],
        cwd=BASE_DIR,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _opened() -> Iterator[str]:
    """Commands that put others in the place of folders that are root's alone, which hold no more than this Python and ours: in a view
    of files that is the command's own."""
    needed = sorted({Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), BASE_DIR})
    for closed, paths in groupby(needed, _closed):
        if closed:
            yield f'mount --rbind {closed} "$TMPDIR/kept"; mount -t tmpfs -o mode=755 opened {closed}'
            for path in paths:
                yield f'mkdir -p {path}; mount --rbind "$TMPDIR/kept/{path.relative_to(closed)}" {path}'
            yield 'umount -l "$TMPDIR/kept"'


def _closed(path: Path) -> Path | None:
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001), None)


@pytest.fixture
def possible(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the tests run as an ordinary user already")
    if as_nobody(folder, "true").returncode:
        pytest.skip("unshare, mount and setpriv can't be used here")


@pytest.mark.usefixtures("possible")
def test_builds_of_an_ordinary_user_are_shut_in_in_both_ways(folder: Path) -> None:
    answer = as_nobody(folder, sys.executable, "-c", LOOK)
    assert answer.stderr == ""
    assert answer.stdout.splitlines()[:1] == ["bubblewrap"]
    assert landlock_version() < LANDLOCK_ALONE or answer.stdout.splitlines()[1:] == ["landlock"]


@pytest.mark.usefixtures("possible")
def test_the_sandbox_holds_for_an_ordinary_user(folder: Path) -> None:
    # What takes its time, or is the same whoever runs it, is not tried again.
    others = "not (hog or disk or many_files or too_large or missing or sandbox_that or numbers or kernel or machine_is_told)"
    options = ["-q", "-p", "no:cacheprovider", "--basetemp", str(folder / "tests"), "-k", others]
    answer = as_nobody(folder, sys.executable, "-m", "pytest", *options, *TESTS)
    assert answer.returncode == 0, answer.stdout[-5000:]
