"""A rolling restart under load: no request is refused, no build is aborted."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import SECRET, Service
from tests.e2e.test_faults import attempts, check_one_final
from tests.e2e.test_stories import submission
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

PROGRAMS = ["outbox", "reconciler", "web", "web", "worker", "worker"]
BUILDS = 20


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    settings = {"BUILD_COMMAND": quick.COMMAND, "WEB_WORKERS": "2", "WORKERS": "2", "STOP_GRACE": "60"}
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        running = Service(tmp_path / "data", archive, desci, **settings)
        running.start()
        yield running
        running.stop()


def renewable(service: Service) -> dict[int, str]:
    """The programs that a renewal replaces, by process id."""
    assert service.process is not None
    found = {}
    for child in psutil.Process(service.process.pid).children():
        with suppress(psutil.Error):
            found[child.pid] = "".join(child.cmdline()[2:3])  # a zombie has none
    return {pid: name for pid, name in found.items() if name in PROGRAMS}


def test_a_rolling_restart_under_load_refuses_no_request_and_aborts_no_build(service: Service) -> None:
    before = renewable(service)
    assert sorted(before.values()) == PROGRAMS
    service.archive.add("roll", "it", quick.repository("sleep 0.7"))
    codes: dict[str, int] = {}
    asked: Counter[int] = Counter()
    done = threading.Event()

    def load() -> None:
        """Many requests, but no more builds than a slow machine can end soon."""
        while not done.is_set():
            name = f"rolling-{len(codes)}"
            if len(codes) < BUILDS:
                codes[name] = service.call("POST", json=submission(name, "roll/it", exports=quick.EXPORTS)).status_code
            asked[service.call("GET", "/rolling-0").status_code] += 1
            time.sleep(0.2)

    sender = threading.Thread(target=load)
    sender.start()
    try:
        assert service.process is not None
        service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(renewable(service)) == len(before) and not set(renewable(service)) & set(before), service.output)
    finally:
        done.set()
        sender.join()
    assert set(codes.values()) == {202}
    assert set(asked) == {200}
    for name in codes:
        service.wait(name, "succeeded")
        assert len(attempts(service, name)) == 1
        check_one_final(service, name)
