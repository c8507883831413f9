"""What each kind of sandbox costs: a command that does nothing and the sample's ``myst build``, without a sandbox, in each kind that
works here, and in the best kind with control groups, in turn. Landlock alone needs an ordinary user."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.results import Result, report
from builds.engine.myst import toolchain
from builds.engine.process.ceilings import Ceilings
from builds.engine.process.cgroup_probe import choose as choose_groups
from builds.engine.process.cgroups import Groups
from builds.engine.process.command import Command
from builds.engine.process.run import run_command
from builds.engine.process.tree import adopt_orphans
from builds.engine.sandbox.probe import KINDS, choose
from builds.engine.sandbox.sandbox import Policy, Sandbox
from builds.lib.stop import Stop

SAMPLE = Path(__file__).resolve().parent.parent / "tests" / "sample"
CEILINGS = Ceilings(memory=4_000_000_000, processes=1024, workspace=10_000_000_000, files=500_000)
NOTHING, MYST = ["/bin/true"], ["myst", "build", "--meca", "--jats", "--typst"]


def measure(argv: list[str], cwd: Path, sandbox: Sandbox | None, groups: Groups) -> tuple[float, float]:
    """The seconds from the start until all of it has ended, and the peak memory of all its processes in MB."""
    environment = toolchain.environment(cwd.parent, extra={}, network=False)
    started_at = time.perf_counter()
    if sandbox:
        environment = sandbox.extend_environment(environment)
        sandbox.hand_over()
    command = Command(argv, cwd, environment, marker="bench", sandbox=sandbox, ceilings=CEILINGS, groups=groups)
    completed = run_command(command, deadline_seconds=120, stop=Stop(), on_lines=lambda stream, lines: None)
    if completed.exit_code != 0:
        sys.exit(f"{argv} ended with {completed}")
    return time.perf_counter() - started_at, completed.peak_memory_bytes / 1e6


def run_once(argv: list[str], kind: str, groups: Groups) -> tuple[float, float]:
    """Measure in a fresh workspace. ``kind`` is empty for no sandbox."""
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        for folder in ("home", "tmp"):
            (workspace / folder).mkdir()
        cwd = shutil.copytree(SAMPLE, workspace / "sample", ignore=shutil.ignore_patterns("_build", "exports"))
        limits = CEILINGS.per_file if groups else CEILINGS.per_process
        sandbox = choose(kind, Policy()).sandbox(workspace, "bench", limits=limits) if kind else None
        return measure(argv, cwd, sandbox, groups)


def main() -> None:
    adopt_orphans()
    none, groups = choose_groups("no"), choose_groups("auto")
    kinds = [str(each.kind) for each in KINDS if choose(each.kind, Policy()).allowed]
    ways: dict[str, tuple[str, Groups]] = {"no sandbox": ("", none), **{kind: (kind, none) for kind in kinds}}
    if kinds and groups:
        ways[f"{kinds[0]} and a control group ({groups.version})"] = (kinds[0], groups)
    for name, argv, rounds in (("nothing", NOTHING, 30), ("myst build of the sample", MYST, 7)):
        turns = [[run_once(argv, *way) for way in ways.values()] for _ in range(rounds)]
        for index, way in enumerate(ways):
            (seconds, memory), (bare, bare_memory) = (_medians([turn[each] for turn in turns]) for each in (index, 0))
            report(
                Result(f"{name}, {way}, beside no sandbox", seconds * 1000, "ms", bare * 1000),
                Result(f"{name}, {way}: peak memory", memory, "MB", bare_memory),
            )


def _medians(rounds: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(r[0] for r in rounds), statistics.median(r[1] for r in rounds)


if __name__ == "__main__":
    main()
