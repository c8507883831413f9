"""Runs every benchmark, one after the other: ``python -m bench``, or ``python -m bench accept delivery`` for some."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> None:
    names = sys.argv[1:] or sorted({path.stem for path in FOLDER.glob("[a-z]*.py")} - {"record"})  # which others use
    for name in names:
        print(f"== bench.{name}", flush=True)
        subprocess.run([sys.executable, "-m", f"bench.{name}"], cwd=FOLDER.parent, check=True)


if __name__ == "__main__":
    main()
