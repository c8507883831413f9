"""How much memory the service's processes use while they are idle, with two web processes and two workers, and one running build more.

Proportional memory (Pss) counts a page that several processes share once; private memory counts only what a process shares with no other.
Resident memory also counts what it shares, which is most of a program that was forked after the application was loaded. The baseline is
as many processes that have loaded Django and the application, and do nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.results import Aim, Result, report
from tests.e2e.conftest import BASE_DIR, SECRET, Service
from tests.e2e.test_stories import submission
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick

SETTLE_SECONDS = 15
NAMES = ("web", "worker", "outbox", "reconciler", "valkey")
LOADED = "import django, sys; django.setup(); print('ready', flush=True); sys.stdin.read()"
MAX_MB, MAX_RESIDENT_MB, MAX_JOB_MB = 250, 75, 15
HELD = "held"


@dataclass(frozen=True)
class Memory:
    """The memory of a process, in MB."""

    proportional: float
    private: float
    resident: float


def measure(pid: int) -> Memory:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    megabytes = {name: int(rest.split()[0]) / 1000 for name, rest in (line.split(":", 1) for line in lines)}
    return Memory(megabytes["Pss"], megabytes["Private_Clean"] + megabytes["Private_Dirty"], megabytes["Rss"])


def processes(service: Service) -> list[psutil.Process]:
    root = psutil.Process(service.process.pid if service.process else None)
    return [root, *root.children(recursive=True)]


def name_of(process: psutil.Process) -> str:
    """What the process is in the service. A forked program has its whole command line in one text."""
    program, *words = " ".join(process.cmdline()).split()
    return next((name for name in NAMES if name in words or name in Path(program).name), "supervisor")


def job(service: Service) -> float:
    """The private memory of the work-horse of a running build, in MB. The programs that it starts are the build's."""
    workers = [process for process in processes(service) if name_of(process) == "worker"]
    held = f"echo held; while [ ! -e {service.gates / HELD} ]; do sleep 0.1; done"
    service.archive.add("bench", HELD, quick.repository(held))
    service.post(submission(HELD, f"bench/{HELD}", exports=quick.EXPORTS))
    while "held" not in service.log(HELD):
        time.sleep(0.1)
    # Not the children of a work-horse: one that has not yet become its program looks like a worker too.
    horses = [child for worker in workers for child in worker.children() if name_of(child) == "worker"]
    sizes = [measure(horse.pid).private for horse in horses]
    (service.gates / HELD).touch()
    service.wait(HELD, "succeeded")
    [size] = sizes
    return size


def baseline(service: Service, count: int) -> float:
    """The proportional memory of ``count`` processes that have loaded the application and do nothing, in MB."""
    environment = {**service.environment(), "DJANGO_SETTINGS_MODULE": "jobsite.settings"}
    idle = [
        subprocess.Popen(
            [sys.executable, "-c", LOADED], cwd=BASE_DIR, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(count)
    ]
    try:
        for process in idle:
            if process.stdout:
                process.stdout.readline()
        return sum(measure(process.pid).proportional for process in idle)
    finally:
        for process in idle:
            process.communicate()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ArchiveHost() as archive, DesciServer(SECRET, keep_files=False) as desci:
        settings = {"WORKERS": "2", "WEB_WORKERS": "2", "BUILD_COMMAND": quick.COMMAND}
        service = Service(Path(folder) / "data", archive, desci, **settings)
        service.start()
        try:
            time.sleep(SETTLE_SECONDS)
            found = defaultdict[str, list[Memory]](list)
            for process in processes(service):
                found[name_of(process)].append(measure(process.pid))
            bare = baseline(service, sum(len(sizes) for name, sizes in found.items() if name != "valkey"))
            running = job(service)
        finally:
            service.stop()
    report(
        Result(
            "idle service, proportional",
            sum(size.proportional for sizes in found.values() for size in sizes),
            "MB",
            bare,
            Aim(MAX_MB),
        ),
        Result("one running job, private", running, "MB", None, Aim(MAX_JOB_MB)),
        *(of_each for name, sizes in sorted(found.items()) for of_each in results(name, sizes)),
    )


def results(name: str, sizes: list[Memory]) -> tuple[Result, Result]:
    aim = Aim(MAX_RESIDENT_MB) if name in ("web", "worker") else None
    private, resident = max(size.private for size in sizes), max(size.resident for size in sizes)
    return Result(f"idle {name}, private", private, "MB"), Result(f"idle {name}, resident", resident, "MB", None, aim)


if __name__ == "__main__":
    main()
