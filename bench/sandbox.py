"""What the sandbox costs: a command that does nothing, and the sample's ``myst build``, without and with it, in turn."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from builds import process, toolchain
from builds.ceilings import Ceilings
from builds.sandbox import Policy, Sandbox, choose
from builds.stages import Stop

SAMPLE = Path(__file__).resolve().parent.parent / "tests" / "sample"
CEILINGS = Ceilings(memory=4_000_000_000, processes=1024, workspace=10_000_000_000, files=500_000)
NOTHING, MYST = ["/bin/true"], ["myst", "build", "--meca", "--jats", "--typst"]


def timed(argv: list[str], workspace: Path, cwd: Path, sandbox: Sandbox | None) -> tuple[float, float]:
    """Seconds from start to proof of its end, and the tree's peak memory in MB."""
    environment = toolchain.environment(workspace, extra={}, network=False)
    started_at = time.perf_counter()
    if sandbox:
        sandbox.hand_over()
    completed = process.run(
        argv,
        cwd=cwd,
        env=environment,
        on_line=lambda stream, text: None,
        deadline_seconds=120,
        stop=Stop(),
        marker="bench",
        sandbox=sandbox,
        ceilings=CEILINGS,
    )
    if completed.exit_code != 0:
        sys.exit(f"{argv} ended with {completed}")
    return time.perf_counter() - started_at, completed.peak_memory_bytes / 1e6


def one(argv: list[str], *, shut_in: bool) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        for folder in ("home", "tmp"):
            (workspace / folder).mkdir()
        cwd = shutil.copytree(SAMPLE, workspace / "sample", ignore=shutil.ignore_patterns("_build", "exports"))
        sandbox = choose("require", Policy()).sandbox(workspace, "bench", limits=CEILINGS.per_process) if shut_in else None
        return timed(argv, workspace, cwd, sandbox)


def main() -> None:
    process.take_in_orphans()
    print(f"sandbox: {choose('require', Policy()).mode}")
    for name, argv, rounds in (("nothing", NOTHING, 30), ("myst build of the sample", MYST, 7)):
        pairs = [(one(argv, shut_in=False), one(argv, shut_in=True)) for _ in range(rounds)]
        bare, inside = zip(*pairs, strict=True)
        print(f"{name}: {_figures(bare)} without, {_figures(inside)} with")
        print(f"  beyond it: median {statistics.median(w[0] - b[0] for b, w in pairs) * 1000:.0f} ms")


def _figures(rounds: tuple[tuple[float, float], ...]) -> str:
    return f"{statistics.median(r[0] for r in rounds) * 1000:.0f} ms, {statistics.median(r[1] for r in rounds):.0f} MB"


if __name__ == "__main__":
    main()
