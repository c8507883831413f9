"""The build cache: a manuscript that was built before, from its submission to its final state, beside its build.

Each round builds the manuscript with the retry ``clean``, and then submits it under a new jobId. The service is the real one, with one
worker. The manuscripts are the sample, and one whose command takes 10 s, as a short one of real authors does. Processor time is that of
all processes of the service and its builds.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from bench.results import Aim, Result, report
from jobsite.demo import SAMPLE
from tests.e2e.conftest import BASE_DIR, SECRET, Service
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick

ROUNDS = 3
TWENTIETH = Aim(0.05, of_baseline=True)


def build_again(service: Service, job_id: str) -> None:
    answer = service.call("POST", f"/{job_id}/retry", json={"mode": "clean"})
    answer.raise_for_status()


def seconds(service: Service, job_id: str, *, reused: bool) -> float:
    """How long the newest attempt took, from its request to its end."""
    attempt = service.wait(job_id, "succeeded")["attempts"][-1]
    if bool(attempt["reused"]) != reused:
        raise RuntimeError(f"{job_id} was {'built' if reused else 'not built'}")
    start, end = (datetime.fromisoformat(attempt[name]) for name in ("createdAt", "finishedAt"))
    return (end - start).total_seconds()


def used(service: Service) -> float:
    """The processor time of the service so far, in seconds."""
    total = 0.0
    supervisor = psutil.Process(service.process.pid if service.process else None)
    for process in (supervisor, *supervisor.children(recursive=True)):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def measure(folder: Path, name: str, files: Any, body: dict[str, Any], **settings: str) -> list[Result]:
    with ArchiveHost() as archive, DesciServer(SECRET, keep_files=False) as desci:
        archive.add("jobsite", "sample", files)
        service = Service(folder / name, archive, desci, WORKERS="1", BUILD_CACHE_DAYS="7", **settings)
        service.start()
        try:
            service.post({**body, "jobId": "first", "uuid": "first."})
            seconds(service, "first", reused=False)
            return rounds(service, body)
        finally:
            service.stop()


def rounds(service: Service, body: dict[str, Any]) -> list[Result]:
    built, reused = [], []
    for number in range(ROUNDS):
        job_id = f"again-{number}"
        built.append(both(service, lambda: build_again(service, "first"), "first", reused=False))
        again = {**body, "jobId": job_id, "uuid": f"{job_id}."}
        reused.append(both(service, lambda again=again: service.post(again), job_id, reused=True))  # type: ignore[misc]
    baseline, ours = ([statistics.median(each) for each in zip(*way, strict=True)] for way in (built, reused))
    return [
        Result("a result from the build cache, beside the build", ours[0], "s", baseline[0], TWENTIETH),
        Result("its processor time, the whole service", ours[1], "s", baseline[1]),
    ]


def both(service: Service, ask: Callable[[], object], job_id: str, *, reused: bool) -> tuple[float, float]:
    before = used(service)
    ask()
    return seconds(service, job_id, reused=reused), used(service) - before


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-cache-") as made:
        cases: list[tuple[str, Any, dict[str, Any], dict[str, str]]] = [
            ("sample", BASE_DIR / "tests" / "sample", SAMPLE, {}),
            ("ten-seconds", quick.repository("sleep 10"), ten_seconds(), {"BUILD_COMMAND": quick.COMMAND}),
        ]
        for name, files, body, settings in cases:
            for result in measure(Path(made), name, files, body, **settings):
                report(Result(f"{name}: {result.figure}", result.ours, result.unit, result.baseline, result.aim))


def ten_seconds() -> dict[str, Any]:
    return {**SAMPLE, "parsedDocument": {"title": "Ten seconds", "exports": quick.EXPORTS}}


if __name__ == "__main__":
    main()
