"""What the sandbox costs: a command that does nothing, and the sample's ``myst build``, without it, with it, and with control groups
too, in turn."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from builds import process, process_tree, toolchain
from builds.ceilings import Ceilings
from builds.cgroup_choice import choose as choose_groups
from builds.cgroups import Groups
from builds.sandbox import Policy, Sandbox
from builds.sandbox_choice import choose
from builds.stages import Stop

SAMPLE = Path(__file__).resolve().parent.parent / "tests" / "sample"
CEILINGS = Ceilings(memory=4_000_000_000, processes=1024, workspace=10_000_000_000, files=500_000)
NOTHING, MYST = ["/bin/true"], ["myst", "build", "--meca", "--jats", "--typst"]


def timed(argv: list[str], cwd: Path, sandbox: Sandbox | None, groups: Groups) -> tuple[float, float]:
    """Seconds from start to proof of its end, and the tree's peak memory in MB."""
    environment = toolchain.environment(cwd.parent, extra={}, network=False)
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
        groups=groups,
    )
    if completed.exit_code != 0:
        sys.exit(f"{argv} ended with {completed}")
    return time.perf_counter() - started_at, completed.peak_memory_bytes / 1e6


def one(argv: list[str], groups: Groups, *, shut_in: bool = True) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        for folder in ("home", "tmp"):
            (workspace / folder).mkdir()
        cwd = shutil.copytree(SAMPLE, workspace / "sample", ignore=shutil.ignore_patterns("_build", "exports"))
        limits = CEILINGS.per_file if groups else CEILINGS.per_process
        sandbox = choose("require", Policy()).sandbox(workspace, "bench", limits=limits) if shut_in else None
        return timed(argv, cwd, sandbox, groups)


def main() -> None:
    process_tree.take_in_orphans()
    none, groups = choose_groups("no"), choose_groups("auto")
    print(f"sandbox: {choose('require', Policy()).mode}, control groups: {groups.version}")
    for name, argv, rounds in (("nothing", NOTHING, 30), ("myst build of the sample", MYST, 7)):
        turns = [(one(argv, none, shut_in=False), one(argv, none), one(argv, groups)) for _ in range(rounds)]
        for index, way in enumerate(("without", "in the sandbox", "in the sandbox and a control group")):
            beyond = statistics.median(turn[index][0] - turn[0][0] for turn in turns) * 1000
            print(f"{name}, {way}: {_figures([turn[index] for turn in turns])}; beyond none: median {beyond:.0f} ms")


def _figures(rounds: list[tuple[float, float]]) -> str:
    return f"{statistics.median(r[0] for r in rounds) * 1000:.0f} ms, {statistics.median(r[1] for r in rounds):.0f} MB"


if __name__ == "__main__":
    main()
