"""What a job takes beyond its bare ``myst build``, and what the service's processes hold in memory.

Each round submits the sample to the running service (from the request to the final state) and, in turn with it, builds a fresh copy of
the sample by bare ``myst build`` with the same formats and environment.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from builds import toolchain
from jobsite.demo import SAMPLE
from tests.e2e.conftest import BASE_DIR, SECRET, Service
from tests.standins import ArchiveHost, DesciServer

ROUNDS = 7
FORMATS = ("--meca", "--jats", "--typst")


def bare_build(folder: Path) -> float:
    """Seconds of a bare ``myst build`` of the sample in a fresh copy."""
    copy = folder / "sample"
    shutil.copytree(BASE_DIR / "tests" / "sample", copy, ignore=shutil.ignore_patterns("_build", "exports"))
    environment = toolchain.environment(folder, extra={}, network=False)
    for name in ("home", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    started_at = time.perf_counter()
    subprocess.run(
        ["myst", "build", *FORMATS], cwd=copy, env=environment, capture_output=True, stdin=subprocess.DEVNULL, check=True
    )
    seconds = time.perf_counter() - started_at
    shutil.rmtree(copy)
    return seconds


def job(service: Service, number: int) -> dict[str, Any]:
    """The status of a job that has succeeded."""
    job_id = f"overhead-{number}"
    service.post({**SAMPLE, "jobId": job_id, "uuid": f"{job_id}."})
    return service.wait(job_id, "succeeded", timeout=120)


def seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def memory(service: Service) -> list[tuple[str, float]]:
    """The unique and the resident memory of each of the service's processes, in MB."""
    processes = psutil.Process(service.process.pid).children(recursive=True) if service.process else []
    return [(_name(process), process.memory_info().rss / 1e6) for process in processes]


def _name(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    names = ("gunicorn", "worker", "outbox", "reconciler", "valkey")
    return next((name for name in names if name in words), words[:40])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ArchiveHost() as archive, DesciServer(SECRET, keep_files=False) as desci:
        archive.add("jobsite", "sample", BASE_DIR / "tests" / "sample")
        service = Service(Path(folder) / "data", archive, desci, WORKERS="1", WEB_WORKERS="2")
        service.start()
        try:
            job(service, 0)
            bare, whole, stages = [], [], []
            for number in range(1, ROUNDS + 1):
                bare.append(bare_build(Path(folder)))
                status = job(service, number)
                whole.append(seconds_between(status["createdAt"], status["finishedAt"]))
                stages.append(
                    {s["name"]: seconds_between(s["startedAt"], s["finishedAt"]) for s in status["attempts"][-1]["stages"]}
                )
            print(f"bare myst build      median {statistics.median(bare):.2f} s")
            print(f"job, POST to final   median {statistics.median(whole):.2f} s")
            print(f"beyond it            median {statistics.median(w - b for w, b in zip(whole, bare, strict=True)):.2f} s")
            for name in stages[0]:
                print(f"  stage {name:14} median {statistics.median(stage[name] for stage in stages):.3f} s")
            print(f"  waiting for a worker, and between stages {_rest(whole, stages):.3f} s")
            for name, megabytes in memory(service):
                print(f"resident memory      {name:12} {megabytes:.0f} MB")
        finally:
            service.stop()


def _rest(whole: list[float], stages: list[dict[str, float]]) -> float:
    return statistics.median(total - sum(stage.values()) for total, stage in zip(whole, stages, strict=True))


if __name__ == "__main__":
    main()
