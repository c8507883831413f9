"""Runs the hostile cases with Landlock alone: ``python -m tests.hostile.alone [CASE...]``; without a name, all of them.

They need an ordinary user: if this is root, they run as nobody.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.nobody import BASE_DIR, as_nobody, folder_of_nobody

CORPUS = "tests/hostile/test_corpus.py"
SECONDS = 3600


def main(names: list[str]) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", CORPUS]
    chosen = {"HOSTILE_SANDBOX": "landlock", "HOSTILE_CASES": " ".join(names)}
    if os.geteuid() != 0:
        return subprocess.run(command, cwd=BASE_DIR, env={**os.environ, **chosen}, check=False).returncode
    with folder_of_nobody() as folder:
        command += ["--basetemp", str(folder / "tests")]
        return as_nobody(folder, *command, more=chosen, seconds=SECONDS, shown=True).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
