"""How much longer a submission takes than a bare ``myst build``, and how much memory the service's processes use.

Each round submits the sample to the running service (from the request to the final state) and, in turn with it, builds a fresh copy of
the sample by bare ``myst build`` with the same formats, in an environment of an ordinary installation. The same is done with the real
manuscripts in the folder that MANUSCRIPTS names (zips ``owner__repository.zip`` as GitHub serves them), by default ``shared/manuscripts``
beside this checkout. They declare no exports, so Jobsite delivers a MECA and the page's content, and one bare ``myst build`` makes both.

Beside the time, the processor time is reported: that of a bare build with all that it starts, and that of an attempt's commands. On a
machine that is busy with other work it says more. The service's builds get the same share of the processors as the bare ones.
"""

from __future__ import annotations

import io
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from bench.results import Aim, Result, report
from builds.engine.myst import toolchain
from builds.engine.tools import TOOLS
from jobsite.demo import SAMPLE
from tests.e2e.conftest import BASE_DIR, SECRET, Service
from tests.standins import ArchiveHost, DesciServer

ROUNDS = int(os.environ.get("ROUNDS", "7"))
MANUSCRIPTS = Path(os.environ.get("MANUSCRIPTS", BASE_DIR.parent / "shared" / "manuscripts"))
SAMPLE_SECONDS = 0.5  # what the sample may take beyond a bare build
OF_BARE = Aim(1.15, of_baseline=True)


@dataclass(frozen=True)
class Manuscript:
    """A manuscript, its submission, and what ``myst`` makes the same exports with."""

    name: str
    folder: Path
    submission: dict[str, Any]
    command: Sequence[str]


@dataclass(frozen=True)
class Times:
    """Seconds on the clock and of processors."""

    clock: float
    processor: float


def bare_build(folder: Path, manuscript: Manuscript) -> Times:
    """A bare ``myst build`` of a fresh copy, without what Jobsite puts before the programs of an installation."""
    copy = folder / "copy"
    shutil.copytree(manuscript.folder, copy, ignore=shutil.ignore_patterns("_build", "exports"))
    for name in ("article-theme", "book-theme"):  # myst would fetch them
        shutil.copytree(toolchain.SITE_THEME, copy / "_build" / "templates" / "site" / "myst" / name)
    environment = toolchain.environment(folder, extra={}, network=False)
    environment["PATH"] = f"{TOOLS / 'bin'}:{Path(sys.executable).parent}:{toolchain.SYSTEM_PATH}"
    for name in ("home", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    before, started_at = _children_seconds(), time.perf_counter()
    command = ["myst", "build", *manuscript.command]
    subprocess.run(command, cwd=copy, env=environment, capture_output=True, stdin=subprocess.DEVNULL, check=True)
    times = Times(time.perf_counter() - started_at, _children_seconds() - before)
    shutil.rmtree(copy)
    return times


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def job(service: Service, manuscript: Manuscript, number: int) -> dict[str, Any]:
    """The status of a submission that has succeeded."""
    job_id = f"overhead-{manuscript.name}-{number}"
    service.post({**manuscript.submission, "jobId": job_id, "uuid": f"{job_id}."})
    return service.wait(job_id, "succeeded", timeout=600)


def seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def memory(service: Service) -> list[tuple[str, float]]:
    """The resident memory of each of the service's processes, in MB."""
    processes = psutil.Process(service.process.pid).children(recursive=True) if service.process else []
    return [(_name(process), process.memory_info().rss / 1e6) for process in processes]


def _name(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    names = ("web", "worker", "outbox", "reconciler", "valkey")
    return next((name for name in names if name in words), words[:40])


def manuscripts(archive: ArchiveHost, folder: Path) -> list[Manuscript]:
    """The sample and the real manuscripts, which the archive host then serves."""
    sample = BASE_DIR / "tests" / "sample"
    archive.add("jobsite", "sample", sample)
    found = [Manuscript("sample", sample, SAMPLE, ("--meca", "--jats", "--typst"))]
    for path in sorted(MANUSCRIPTS.glob("*__*.zip")):
        owner, name = path.stem.split("__")
        data = path.read_bytes()
        archive.add_zip(owner, name, "main", data)
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            zipped.extractall(folder / path.stem)
        [top] = (folder / path.stem).iterdir()
        submission = {"url": f"https://github.com/{owner}/{name}/blob/main/myst.yml", "parsedDocument": {"title": name}}
        found.append(Manuscript(name, top, submission, ("myst.yml", "--meca", "-o", "_build/own.zip", "--all")))
    return found


def measure(service: Service, manuscript: Manuscript, folder: Path) -> None:
    """Build the manuscript in turn with the service and bare, and report the medians."""
    job(service, manuscript, 0)
    bare, statuses = [], []
    for number in range(1, ROUNDS + 1):
        bare.append(bare_build(folder, manuscript))
        statuses.append(job(service, manuscript, number))
    whole = [seconds_between(status["createdAt"], status["finishedAt"]) for status in statuses]
    used = [status["attempts"][-1]["processorSeconds"] for status in statuses]
    clock = statistics.median(times.clock for times in bare)
    aim = Aim(clock + SAMPLE_SECONDS) if manuscript.name == "sample" else OF_BARE
    processor = statistics.median(times.processor for times in bare)
    report(
        Result(f"{manuscript.name}, request to final", statistics.median(whole), "s", clock, aim),
        Result(f"{manuscript.name}, processor of its commands", statistics.median(used), "s", processor, OF_BARE),
    )
    stages = [_stages(status) for status in statuses]
    for name in stages[0]:
        print(f"  stage {name:14} median {statistics.median(stage[name] for stage in stages):.3f} s")
    print(f"  waiting for a worker, and between stages {_rest(whole, stages):.3f} s")


def _stages(status: dict[str, Any]) -> dict[str, float]:
    return {stage["name"]: seconds_between(stage["startedAt"], stage["finishedAt"]) for stage in status["attempts"][-1]["stages"]}


def _rest(whole: list[float], stages: list[dict[str, float]]) -> float:
    return statistics.median(total - sum(stage.values()) for total, stage in zip(whole, stages, strict=True))


def main() -> None:
    with tempfile.TemporaryDirectory() as name, ArchiveHost() as archive, DesciServer(SECRET, keep_files=False) as desci:
        folder = Path(name)
        found = manuscripts(archive, folder / "manuscripts")
        service = Service(
            folder / "data",
            archive,
            desci,
            WORKERS="1",
            WEB_WORKERS="2",
            BUILD_CACHE_DAYS="0",
            BUILD_NICE="0",
        )
        service.start()
        try:
            for manuscript in found:
                measure(service, manuscript, folder)
            for process, megabytes in memory(service):
                print(f"resident memory      {process:12} {megabytes:.0f} MB")
        finally:
            service.stop()


if __name__ == "__main__":
    main()
