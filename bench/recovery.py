"""How fast the service recovers: after a worker's death, after a cancel, after desci-server's return.

Beside each figure stands what bounds it from below: the lease (LEASE_SECONDS) that must lapse before a worker counts as lost, and the
pause of the outbox.
"""

from __future__ import annotations

import signal
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from bench.results import Result, report
from builds.engine.process.tree import strays
from tests.e2e.conftest import SECRET, Service
from tests.standins import ArchiveHost, DesciServer

ROUNDS = 10
PENDING = 30
LEASE_SECONDS = 10
GRACE_SECONDS = 10  # that a tree has to end after SIGTERM
STUBBORN = "trap '' TERM; for n in 1 2 3 4 5; do setsid sh -c \"trap '' TERM; sleep 300\" & done; echo ready; sleep 300"


def submission(job_id: str) -> dict[str, Any]:
    url = "https://github.com/jobsite/slow/blob/main/myst.yml"
    return {"url": url, "jobId": job_id, "uuid": f"{job_id}.", "parsedDocument": {"title": job_id}}


def start_build(service: Service, job_id: str) -> None:
    """Submit, and wait until its command has written a line."""
    service.post(submission(job_id))
    while "ready" not in service.log(job_id):
        time.sleep(0.05)


def after_a_workers_death(service: Service, number: int) -> float:
    """Seconds from the SIGKILL of a worker to the start of the next attempt."""
    job_id = f"lost-{number}"
    start_build(service, job_id)
    worker = _worker_of(service)
    killed_at = time.time()
    worker.send_signal(signal.SIGKILL)
    while len(attempts := service.status(job_id)["attempts"]) < 2 or not attempts[-1]["startedAt"]:
        time.sleep(0.05)
    seconds = time.time() - killed_at
    service.call("POST", f"/{job_id}/cancel", json={})
    service.wait(job_id, "cancelled", timeout=60)
    return seconds


def _worker_of(service: Service) -> psutil.Process:
    """The worker whose work-horse runs the build."""
    children = psutil.Process(service.process.pid).children() if service.process else []
    for child in children:
        with suppress(psutil.Error):
            if "worker" in child.cmdline() and child.children():
                return child
    raise RuntimeError("no worker is busy")


def after_a_cancel(service: Service, number: int) -> float:
    """Seconds from the request until no process of a build that ignores SIGTERM runs and the state is shown."""
    job_id = f"cancel-{number}"
    start_build(service, job_id)
    markers = _markers(service)
    asked_at = time.time()
    service.call("POST", f"/{job_id}/cancel", json={})
    service.wait(job_id, "cancelled", timeout=60)
    seconds = time.time() - asked_at
    if not markers or markers & set(strays()):
        raise RuntimeError("shown as cancelled while something ran")
    return seconds


def _markers(service: Service) -> set[str]:
    """The processes of this service's builds, without those of other services on the machine."""
    children = psutil.Process(service.process.pid).children(recursive=True) if service.process else []
    ours = {child.pid for child in children}
    return {marker for marker, pids in strays().items() if ours & set(pids)}


def after_desci_servers_return(service: Service, number: int) -> float:
    """Seconds from the return of desci-server until it has the last of PENDING final statuses."""
    names = [f"back-{number}-{count}" for count in range(PENDING)]
    service.desci.down()
    for name in names:
        body = {**submission(name), "url": "https://github.com/jobsite/none/blob/main/myst.yml"}
        service.post(body)
    for name in names:
        service.wait(name, "failed", timeout=120)
    service.desci.up()
    back_at = time.time()
    service.desci.wait_for(lambda server: all(server.statuses(name)[-1:] == ["FAILED"] for name in names), timeout=400)
    return time.time() - back_at


def main() -> None:
    settings = {"BUILD_COMMAND": STUBBORN, "LEASE_SECONDS": str(LEASE_SECONDS), "WORKERS": "2"}
    with tempfile.TemporaryDirectory() as folder, ArchiveHost() as archive, DesciServer(SECRET, keep_files=False) as desci:
        archive.add("jobsite", "slow", {"myst.yml": "version: 1\n", "index.md": "# P\n"})
        service = Service(Path(folder) / "data", archive, desci, **settings)
        service.start()
        try:
            deaths = [after_a_workers_death(service, n) for n in range(ROUNDS)]
            tell("a worker's death to its attempt running again, beside the lease", deaths, LEASE_SECONDS)
            cancels = [after_a_cancel(service, n) for n in range(ROUNDS)]
            tell("a cancel to an empty tree that ignores TERM, beside its grace", cancels, GRACE_SECONDS)
            returns = [after_desci_servers_return(service, n) for n in range(4)]
            tell(f"desci-server's return to {PENDING} final statuses heard", returns)
        finally:
            service.stop()


def tell(name: str, seconds: list[float], bound: float | None = None) -> None:
    """Report the median and the 95th percentile, beside what bounds them from below."""
    p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
    report(Result(f"{name}: median", statistics.median(seconds), "s", bound), Result(f"{name}: p95", p95, "s", bound))


if __name__ == "__main__":
    main()
