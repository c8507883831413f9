"""The service on a small disk that becomes full, and free again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import SECRET, Service
from tests.e2e.test_faults import check_one_final
from tests.e2e.test_stories import submission
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.any_database]

# A mount namespace in which the data folder is a small disk. Without root it is in a user namespace.
UNSHARE = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
MEGABYTES, RESERVE = 300, 50
MOUNT = f'mount -t tmpfs -o size={MEGABYTES}m none "$0" && exec "$@"'


def can_mount() -> bool:
    if not shutil.which("unshare"):
        return False
    command = [*UNSHARE, "sh", "-c", MOUNT, "/tmp", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not can_mount(), reason="no namespace for a small disk can be made here (unshare --mount)")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Service]:
    """A service whose data folder is a small disk."""
    data = tmp_path / "data"
    data.mkdir()
    wrapper = [*UNSHARE, "sh", "-c", MOUNT, str(data)]
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        settings = {
            "BUILD_COMMAND": quick.COMMAND,
            "DISK_RESERVE": str(RESERVE * 1_000_000),
            "BUILD_DISK_MAX_BYTES": str(MEGABYTES * 1_000_000),
            "WORKERS": "2",
            "AUTOMATIC_RETRIES": "0",
        }
        service = Service(data, archive, desci, wrapper=wrapper, **settings)
        service.start()
        try:
            yield service
        finally:
            service.stop()


def inside(service: Service) -> Path:
    """The path of the small disk outside the mount namespace."""
    assert service.process is not None
    return Path(f"/proc/{service.process.pid}/root{service.data_dir}")


def post(service: Service, job_id: str, before: str = "") -> requests.Response:
    service.archive.add("disk", job_id, quick.repository(before))
    return service.call("POST", json=submission(job_id, f"disk/{job_id}", exports=quick.EXPORTS))


@needs_mounts
def test_a_full_disk_refuses_submissions_and_loses_none(small: Service) -> None:
    assert post(small, "before").status_code == 202
    small.wait("before", "succeeded")
    filler = inside(small) / "filler"
    with filler.open("wb") as file:
        free = shutil.disk_usage(inside(small)).free
        file.write(b"x" * (free - RESERVE * 500_000))
    refused = post(small, "during")
    assert (refused.status_code, refused.json()["ok"]) == (503, False)
    assert int(refused.headers["Retry-After"]) > 0
    assert "free disk space" in refused.json()["message"]
    ready = requests.get(f"{small.url}/readyz", timeout=120)
    assert ready.status_code == 503
    assert "free disk space" in ready.json()["message"]
    assert small.status("before")["state"] == "succeeded"
    filler.unlink()
    assert post(small, "during").status_code == 202
    small.wait("during", "succeeded")
    check_one_final(small, "during")


@needs_mounts
def test_a_build_that_fills_the_disk_fails_as_disk_full(small: Service) -> None:
    post(small, "filling", "dd if=/dev/zero of=big bs=1M count=2000 || exit 1")
    cause = small.wait("filling", "failed")["cause"]
    assert "space" in cause["sentence"]
    check_one_final(small, "filling", "FAILED")
    wait_until(lambda: requests.get(f"{small.url}/readyz", timeout=120).status_code == 200, small.output)
    assert post(small, "after").status_code == 202
    small.wait("after", "succeeded")
    assert not list((inside(small) / "workspaces").iterdir())


@needs_mounts
def test_the_build_that_fills_the_disk_ends_before_the_modest_one(small: Service) -> None:
    """Both run when too little is free. The modest one continues until the other has ended."""
    post(small, "modest", "until test -e go; do sleep 0.1; done")
    small.wait("modest", "running")
    post(small, "greedy", f"dd if=/dev/zero of=big bs=1M count={MEGABYTES - RESERVE + 10}; sleep 60")
    assert small.wait("greedy", "failed")["cause"]["code"] == "disk-full"
    for script in (inside(small) / "workspaces").rglob("make.sh"):
        (script.parent / "go").touch()
    assert small.wait("modest", "succeeded")["cause"] is None
    check_one_final(small, "modest")
