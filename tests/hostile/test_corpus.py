"""Every hostile manuscript through the real service with its real sandbox, and honest ones beside them."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from builds import process
from tests import quick
from tests.e2e.conftest import BASE_DIR, FINAL, SECRET, Service
from tests.hostile.case import Case, Target
from tests.hostile.corpus import CASES
from tests.standins import ArchiveHost, DesciServer

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("hostile")]

TOKEN = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"
KEY = "a-key-of-the-tests-that-signs-nothing-of-value"
NEIGHBOURS = "what-the-neighbour-keeps-for-itself"
LIMITS = {
    "GITHUB_TOKEN": TOKEN,
    "BUILD_COMMAND": "sh make.sh",
    "BUILD_TIMEOUT": "20",
    "BUILD_SANDBOX": "bubblewrap",
    "BUILD_MEMORY_MAX_BYTES": "1500000000",
    "BUILD_PROCESSES_MAX": "150",
    "BUILD_DISK_MAX_BYTES": "300000000",
    "BUILD_FILES_MAX": "20000",
    "BUILD_FILE_MAX_BYTES": "200000000",
    "LOG_MAX_BYTES": "1000000",
    "UNPACKED_MAX_BYTES": "150000000",
    "EXPORTS_MAX_BYTES": "100000000",
    "WORKERS": "2",
}
HONEST = ("honest-first", "honest-last")
WAIT_SECONDS = 300


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with every case submitted, between two honest manuscripts."""
    with ArchiveHost() as archive, DesciServer(SECRET) as desci, socket.create_server(("127.0.0.1", 0)) as listening:
        service = Service(tmp_path_factory.mktemp("hostile") / "data", archive, desci, **LIMITS)
        service.start()
        assert service.process is not None
        target = Target(
            service.data_dir,
            BASE_DIR,
            service.port,
            service.process.pid,
            listening.getsockname()[1],
            str(service.data_dir.parent / "private.txt"),
        )
        (service.data_dir.parent / "private.txt").write_text(NEIGHBOURS)
        honest = quick.repository("sleep 2", **{"private.txt": NEIGHBOURS})
        for name in HONEST:
            archive.add("hostile", name, honest)
        submit(service, HONEST[0])
        for case in CASES:
            archive.add_zip("hostile", case.name, "main", case.archive(target))
            submit(service, case.name, case.exports)
        submit(service, HONEST[1])
        yield service
        service.stop()


def submit(service: Service, name: str, exports: Sequence[dict[str, str]] = quick.EXPORTS) -> None:
    service.post(
        {
            "url": f"https://github.com/hostile/{name}/blob/main/myst.yml",
            "jobId": name,
            "uuid": f"{name}.",
            "parsedDocument": {"title": "=cmd|'/C calc'!A0 <script>\u202e", "exports": list(exports)},
        }
    )


def left_the_sandbox(service: Service, name: str) -> Iterator[str]:
    """Everything of a build that anyone but the service gets to see."""
    yield json.dumps(service.status(name))
    yield service.log(name)
    yield from (update.message for update in service.desci.updates[name])
    for delivery in service.desci.deliveries[name]:
        yield from (Path(part.path).read_text(errors="replace") for part in delivery.parts if part.path)


def ended(service: Service, name: str) -> dict[str, Any]:
    """The status of a submission that has ended, however."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (status := service.status(name))["state"] not in FINAL:
        assert time.monotonic() < deadline, f"{name} has not ended: {status}"
        time.sleep(0.2)
    return status


def check(case: Case, status: dict[str, Any]) -> None:
    assert status["state"] == case.state, status["cause"]
    cause = status["cause"] or {"code": "", "fault": "", "sentence": ""}
    assert cause["code"].startswith(case.code) if case.code else cause["code"] == ""
    assert cause["fault"] == case.fault
    assert case.words in cause["sentence"]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_it_ends_as_it_should_and_takes_nothing_along(attacked: Service, case: Case) -> None:
    check(case, ended(attacked, case.name))
    for text in left_the_sandbox(attacked, case.name):
        for secret in (TOKEN, KEY, NEIGHBOURS, "SQLite format 3", "MIDDLEWARE = [", "root:x:0:0", "root:*:", "REACHED", "uid=0("):
            assert secret not in text
        assert f"INTERNAL_SERVICE_SECRET={SECRET}" not in text


@pytest.mark.parametrize("name", HONEST)
def test_honest_builds_beside_them_are_delivered(attacked: Service, name: str) -> None:
    attacked.wait(name, "succeeded", timeout=WAIT_SECONDS)
    attacked.desci.wait_for(lambda server: "COMPLETED" in server.statuses(name), timeout=30)
    assert len(attacked.desci.deliveries[name]) == 1


def test_nothing_is_left_behind_and_the_service_is_up(attacked: Service) -> None:
    for case in CASES:
        ended(attacked, case.name)
    assert list(attacked.data_dir.glob("workspaces/*")) == []
    assert [pid for marker, pids in process.strays().items() if is_of(attacked, marker) for pid in pids] == []
    assert attacked.process is not None
    assert psutil.Process(attacked.process.pid).is_running()
    assert attacked.status(HONEST[0])["state"] == "succeeded"
    assert not Path("/etc/cron.d/evil").exists()
    assert os.getuid() != 0 or Path("/etc/shadow").stat().st_uid == 0


def is_of(service: Service, marker: str) -> bool:
    return (service.data_dir / "exports" / marker).exists()
