"""The hostile cases against which Landlock alone protects differently; ``tests.hostile.alone`` runs all of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from builds.engine.sandbox import landlock, seccomp
from builds.engine.sandbox.landlock_alone.sandbox import MIN_LANDLOCK
from tests.hostile.corpus import CASES
from tests.support.nobody import BASE_DIR, as_nobody, folder_of_nobody

NAMES = [
    *("environment", "processes", "database", "neighbour", "memory-of-the-worker", "ptrace"),
    *("rights-of-files", "lowered-worker", "watched-folders", "shared-memory"),
    *("queue-store-and-loopback", "sent-without-connecting", "names", "signal-storm", "memory-hogs-that-leave"),
]
SECONDS = 300


@pytest.mark.e2e
@pytest.mark.skipif(landlock.version() < MIN_LANDLOCK or bool(seccomp.find_problem()), reason="Landlock alone does not work here")
def test_with_landlock_alone_they_get_nothing_and_do_no_harm() -> None:
    if os.geteuid() == 0:
        with folder_of_nobody() as folder:
            if as_nobody(folder, "true").returncode:
                pytest.skip("unshare, mount and setpriv can't be used here")
    answer = subprocess.run(
        [sys.executable, "-m", "tests.hostile.alone", *NAMES],
        cwd=BASE_DIR,
        stdout=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout[-20_000:]
    assert f"{len(NAMES) + 2} passed" in answer.stdout


def test_the_cases_exist() -> None:
    assert set(NAMES) <= {case.name for case in CASES}
