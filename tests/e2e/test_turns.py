"""Fair turns of the real service: an author with many nodes delays another by one build for each worker at most."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e.conftest import SECRET, Service
from tests.e2e.test_faults import flush_queue_store
from tests.e2e.test_stories import submission
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick
from tests.support.waiting import SECONDS, wait_until

pytestmark = pytest.mark.e2e

WORKERS = 2
NODES = 100


@pytest.fixture
def turning(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Service]:
    """A service with two workers, and the settings of the test."""
    settings = {"BUILD_COMMAND": quick.COMMAND, "WORKERS": str(WORKERS), **getattr(request, "param", {})}
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        running = Service(tmp_path_factory.mktemp("turns") / "data", archive, desci, **settings)
        running.start()
        yield running
        running.stop()


def post(service: Service, owner: str, name: str, before: str = "") -> None:
    service.archive.add(owner, name, quick.repository(before))
    service.post(submission(name, f"{owner}/{name}", exports=quick.EXPORTS))


def started(service: Service, *names: str) -> dict[str, datetime]:
    """When the builds of those that have started did so."""
    found: dict[str, Any] = {name: service.status(name)["startedAt"] for name in names}
    return {name: datetime.fromisoformat(at) for name, at in found.items() if at}


def test_an_author_with_many_nodes_delays_another_by_one_build_for_each_worker(turning: Service) -> None:
    many = [f"node-{number}" for number in range(NODES)]
    for name in many:
        post(turning, "ada", name)
    turning.wait("node-0", "succeeded")
    post(turning, "ben", "other")
    posted = datetime.now(UTC)
    turning.wait("other", "succeeded")
    times = started(turning, "other", *many)
    before = [name for name, at in times.items() if posted < at < times["other"]]
    assert len(before) <= WORKERS
    assert len(times) < NODES, "they were not all built before"


def state(service: Service, name: str) -> str:
    return str(service.status(name)["state"])


@pytest.mark.parametrize("turning", [{"BUILDS_PER_OWNER": "1"}], indirect=True)
def test_a_build_that_is_held_back_says_so_and_starts_when_another_ends(turning: Service) -> None:
    """Also if the queue store has lost everything meanwhile."""
    gates = turning.gates
    for name in ("one", "two", "three"):
        post(turning, "ada", name, f"while [ ! -e {gates / name} ]; do sleep 0.1; done")
    turning.wait("one", "running")
    wait_until(lambda: turning.status("two")["heldBack"], turning.output)
    assert turning.status("two")["heldBack"].startswith("1 build of ada is running, and one owner may have 1 build")
    post(turning, "ben", "other")
    turning.wait("other", "succeeded")
    flush_queue_store(turning)
    time.sleep(5)  # some rounds of the reconciler, which must not start it
    assert [state(turning, name) for name in ("one", "two", "three")] == ["running", "queued", "queued"]
    for name in ("one", "two", "three"):
        turning.wait(name, "running", timeout=SECONDS)
        assert turning.status(name)["heldBack"] == ""
        (gates / name).touch()
        turning.wait(name, "succeeded", timeout=SECONDS)
