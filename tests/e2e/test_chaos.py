"""Short, seeded runs of chaos. ``make chaos`` is the long run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.chaos import SETTINGS, Chaos
from tests.e2e.chaos_faults import FAULTS
from tests.e2e.clock import Clock
from tests.e2e.conftest import SECRET, Service
from tests.standins import ArchiveHost, DesciServer

pytestmark = pytest.mark.e2e

QUICK_ENDS = ("killed", "flushed", "500", "slow", "never answers", "down")
KILLS = ("work-horse stopped for longer than a lease", *(name for name in FAULTS if name.endswith(QUICK_ENDS)))
# One fault of each other kind. The rest wait for so long that only the long run has them.
OTHERS = (
    "clock stepped",
    "database locked for longer than a lease",
    "desci-server answers 200 with a page",
    "desci-server drips headers to an update",
    "two work-horses hung and cancelled",
    "worker stopped for longer than a lease",
)
A_DAY = 24 * 3600


@pytest.mark.parametrize(("seed", "faults", "submissions"), [(2, KILLS, 20), (3, OTHERS, 0)], ids=["kills", "others"])
def test_every_invariant_holds(tmp_path: Path, seed: int, faults: tuple[str, ...], submissions: int) -> None:
    clock = None if Clock.missing() else Clock(tmp_path)
    with ArchiveHost() as archive, DesciServer(SECRET, keep_files=False) as desci:
        service = Service(tmp_path / "data", archive, desci, **SETTINGS, **(clock.environment if clock else {}))
        service.start()
        chaos = Chaos(service, count=submissions, seed=seed, clock=clock, faults=faults)
        try:
            chaos.run()
            assert chaos.broken_invariants() == []
            assert chaos.faults.total() == (chaos.count + 1) // 3
        finally:
            service.stop()


@pytest.mark.skipif(bool(Clock.missing()), reason=Clock.missing() or "there is a clock")
def test_the_clock_shifts_only_the_wall_clock(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    script = "import sys, time\nfor _ in sys.stdin: print(time.time(), time.monotonic(), flush=True)"
    environment = {**os.environ, **clock.environment}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, text=True, **pipes) as program:  # type: ignore[call-overload]
        for shift in (0, A_DAY, -A_DAY, 0):
            clock.step_to(shift)
            program.stdin.write("\n")
            program.stdin.flush()
            wall, monotonic = map(float, program.stdout.readline().split())
            assert wall - time.time() == pytest.approx(shift, abs=A_DAY / 2)
            assert monotonic == pytest.approx(time.monotonic(), abs=A_DAY / 2)
        program.stdin.close()
