"""Of the hostile cases those whose protection is another where Landlock alone shuts builds in; ``tests.hostile.alone`` runs all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from builds import syscalls
from builds.sandbox import landlock_version
from builds.sandbox_choice import LANDLOCK_ALONE
from tests.hostile.corpus import CASES
from tests.nobody import BASE_DIR, as_nobody, folder_of_nobody

NAMES = [
    *("environment", "processes", "database", "neighbour", "memory-of-the-worker", "ptrace"),
    *("rights-of-files", "lowered-worker", "watched-folders", "shared-memory"),
    *("queue-store-and-loopback", "sent-without-connecting", "names", "signal-storm", "memory-hogs-that-leave"),
]
SECONDS = 300


@pytest.mark.e2e
@pytest.mark.skipif(landlock_version() < LANDLOCK_ALONE or bool(syscalls.problem()), reason="Landlock alone is not enough here")
def test_they_get_nothing_and_harm_nobody_where_landlock_alone_shuts_them_in() -> None:
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
    assert answer.returncode == 0, answer.stdout[-5000:]
    assert f"{len(NAMES) + 2} passed" in answer.stdout


def test_the_cases_exist() -> None:
    assert set(NAMES) <= {case.name for case in CASES}
