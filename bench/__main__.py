"""Runs every benchmark, one after the other: ``python -m bench``, or ``python -m bench accept delivery`` for some.

Prints one table of all figures at the end, and writes it to ``data/bench.json``. ``--profile`` runs each under cProfile instead, and prints
where its own process spent its time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import results

FOLDER = Path(__file__).parent
REPORT = FOLDER.parent / "data" / "bench.json"
HELPERS = {"record", "results"}  # which the benchmarks use
PROFILE = ("-m", "cProfile", "-s", "cumulative")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", help="benchmarks; all without a name")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    names = options.names or sorted({path.stem for path in FOLDER.glob("[a-z]*.py")} - HELPERS)
    with tempfile.TemporaryDirectory() as folder:
        collected = Path(folder) / "results"
        collected.touch()
        failed = [name for name in names if not run(name, collected, PROFILE if options.profile else ())]
        finish(results.read(collected), failed)


def run(name: str, collected: Path, profile: tuple[str, ...]) -> bool:
    print(f"== bench.{name}", flush=True)
    environment = {**os.environ, results.RESULTS_VARIABLE: str(collected)}
    command = [sys.executable, *profile, "-m", f"bench.{name}"]
    return subprocess.run(command, cwd=FOLDER.parent, env=environment).returncode == 0


def finish(found: list[results.Result], failed: list[str]) -> None:
    REPORT.parent.mkdir(exist_ok=True)
    results.write(found, REPORT)
    print(f"\n{results.table(found)}\n\nwritten to {REPORT.relative_to(FOLDER.parent)}")
    if failed:
        sys.exit(f"these benchmarks failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
