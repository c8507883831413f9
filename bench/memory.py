"""How much memory the service's processes use while they are idle, with two web processes and two workers.

Proportional memory (Pss) counts a page that several processes share once. The baseline is as many processes that have loaded Django and the
application, and do nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil

from bench.results import Aim, Result, report
from tests.e2e.conftest import BASE_DIR, SECRET, Service
from tests.standins import ArchiveHost, DesciServer

SETTLE_SECONDS = 15
NAMES = ("web", "worker", "outbox", "reconciler", "valkey")
LOADED = "import django, sys; django.setup(); print('ready', flush=True); sys.stdin.read()"
MAX_MB, MAX_RESIDENT_MB = 250, 75


def measure(pid: int) -> tuple[float, float]:
    """The proportional and the resident memory of a process, in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: int(rest.split()[0]) for name, rest in (line.split(":", 1) for line in lines)}
    return kilobytes["Pss"] / 1000, kilobytes["Rss"] / 1000


def processes(service: Service) -> list[psutil.Process]:
    root = psutil.Process(service.process.pid if service.process else None)
    return [root, *root.children(recursive=True)]


def name_of(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    return next((name for name in NAMES if name in words), "supervisor")


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
        return sum(measure(process.pid)[0] for process in idle)
    finally:
        for process in idle:
            process.communicate()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ArchiveHost() as archive, DesciServer(SECRET, keep_files=False) as desci:
        service = Service(Path(folder) / "data", archive, desci, WORKERS="2", WEB_WORKERS="2")
        service.start()
        try:
            time.sleep(SETTLE_SECONDS)
            resident, total = defaultdict[str, list[float]](list), 0.0
            for process in processes(service):
                proportional, whole = measure(process.pid)
                resident[name_of(process)].append(whole)
                total += proportional
            pythons = sum(len(sizes) for name, sizes in resident.items() if name != "valkey")
            bare = baseline(service, pythons)
        finally:
            service.stop()
    report(
        Result("idle service, proportional", total, "MB", bare, Aim(MAX_MB)),
        *(
            Result(f"idle {name}, resident", max(sizes), "MB", None, Aim(MAX_RESIDENT_MB) if name in ("web", "worker") else None)
            for name, sizes in sorted(resident.items())
        ),
    )


if __name__ == "__main__":
    main()
