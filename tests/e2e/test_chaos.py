"""A short, seeded run of chaos; ``make chaos`` runs it long."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.chaos import SETTINGS, Chaos
from tests.e2e.conftest import SECRET, Service
from tests.standins import ArchiveHost, DesciServer

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("seed", [2])
def test_every_invariant_holds_through_kills_flushes_and_silence(tmp_path: Path, seed: int) -> None:
    with ArchiveHost() as archive, DesciServer(SECRET, keep_files=False) as desci:
        service = Service(tmp_path / "data", archive, desci, **SETTINGS)
        service.start()
        chaos = Chaos(service, count=20, seed=seed)
        try:
            chaos.run()
            assert chaos.broken_invariants() == []
            assert chaos.faults.total() == 7
        finally:
            service.stop()
