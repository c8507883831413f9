"""The sandbox where the service runs as an ordinary user. Root's tests do it in a process of their own, as nobody."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from builds.sandbox import landlock_version
from builds.sandbox_choice import LANDLOCK_ALONE
from tests.nobody import as_nobody, folder_of_nobody

LOOK = """
from builds.sandbox import Policy
from builds.sandbox_choice import choose
for wanted in ("bubblewrap", "landlock"):
    print(choose(wanted, Policy()).problems[:1] or wanted)
"""
TESTS = ["tests/test_sandbox.py", "tests/test_syscalls.py", "tests/test_keep.py", "tests/stages/test_landlock.py"]


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_of_nobody() as made:
        yield made


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
