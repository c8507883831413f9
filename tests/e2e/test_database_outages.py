"""A PostgreSQL that stops twice during one submission: the build is interrupted and repeated, and nobody is told that it failed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import SECRET, Service
from tests.e2e.test_faults import SETTINGS, attempts, check_one_final, post, running_with
from tests.standins import ArchiveHost, DesciServer
from tests.support.postgres import postgres
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.own_database]

MARK = "6006"


def wait(holds: Callable[[], object], service: Service) -> None:
    """Wait, also while the service answers 503."""

    def answers_and_holds() -> object:
        with suppress(requests.RequestException, KeyError):
            return holds()
        return False

    wait_until(answers_and_holds, service.output)


def test_two_outages_of_the_database_in_a_row_are_not_the_builds_fault(tmp_path: Path) -> None:
    with postgres() as server, ArchiveHost() as archive, DesciServer(SECRET) as desci:
        database = {"DATABASE_URL": server.url}
        service = Service(tmp_path / "data", archive, desci, **{**SETTINGS, "LEASE_SECONDS": "2", **database})
        service.start()
        try:
            gate = service.gates / "outages"
            post(service, "outages", f"(while true; do sleep 7{MARK}; done) &\nuntil [ -e {gate} ]; do sleep 0.1; done")
            for outages in (1, 2):
                wait(lambda: running_with(MARK), service)
                server.stop()
                wait(lambda: not running_with(MARK), service)  # its lease has run out
                server.start()
                wait(lambda: len(attempts(service, "outages")) == outages + 1, service)  # noqa: B023 - called at once
            gate.touch()
            wait(lambda: service.status("outages")["state"] == "succeeded", service)
            causes = [(attempt["cause"] or {}).get("code") for attempt in attempts(service, "outages")]
            assert causes == ["database-away", "database-away", None]
            check_one_final(service, "outages")
        finally:
            service.stop()
