"""How many instant builds a second 2 and 8 workers finish, compared with as many bare RQ workers that fork for each job and do nothing.

The builds fail at once, in the work-horse and after the claim, because they declare no exports: what is measured is all that a worker does
between two builds. The rate is over the time from the first start to the last end. ``python -m bench.many 100`` makes 100 builds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.results import Aim, Result, report
from tests.e2e.conftest import BASE_DIR, SECRET, Service, in_django
from tests.standins import ArchiveHost, DesciServer
from tests.support.queue_server import LOCAL, server

WORKERS = (2, 8)
LIMIT_SECONDS = 1800.0
SPAN = """
from django.db.models import Count, Max, Min
from builds.models import Build
found = Build.objects.filter(cause_code="exports-not-declared").aggregate(Count("pk"), Min("started_at"), Max("finished_at"))
count, first, last = found.values()
print(count, (last - first).total_seconds() if count else 0)
"""
SUBMIT = """
import logging
from builds import lifecycle
logging.disable()
for number in range({count}):
    address = f"https://github.com/owner-{{number % 10}}/paper/blob/main/myst.yml"
    lifecycle.submit(lifecycle.Request(f"many-{{number}}", f"many-{{number}}.", address, f"owner-{{number % 10}}/paper", {{"title": "T"}}))
"""
BARE = """
import json, subprocess, sys, time
from redis import Redis
from rq import Queue
url, workers, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
queue = Queue(connection=Redis.from_url(url))
jobs = [queue.enqueue("builtins.len", "", result_ttl=3600) for _ in range(count)]
command = [sys.executable, "-m", "rq.cli", "worker", "--burst", "--quiet", "--url", url]
for process in [subprocess.Popen(command) for _ in range(workers)]:
    process.wait()
for job in jobs:
    job.refresh()
print((max(job.ended_at for job in jobs) - min(job.started_at for job in jobs)).total_seconds())
"""


def ours(workers: int, count: int) -> tuple[float, int]:
    """Builds per second, and how often the database was locked."""
    with tempfile.TemporaryDirectory() as folder, ArchiveHost() as archive, DesciServer(SECRET, keep_files=False) as desci:
        service = Service(
            Path(folder) / "data", archive, desci, WORKERS=str(workers), REQUIRE_DECLARED_EXPORTS="yes", LOG_FORMAT="json"
        )
        service.start()
        try:
            in_django(service, SUBMIT.format(count=count))
            deadline = time.monotonic() + LIMIT_SECONDS
            done, seconds = 0, 0.0
            while done < count and time.monotonic() < deadline:
                time.sleep(2)
                words = in_django(service, SPAN).split()
                done, seconds = int(words[0]), float(words[1])
        finally:
            service.stop()
        return done / seconds, service.whole_output().count("database is locked")


def bare(workers: int, count: int) -> float:
    """Jobs per second of RQ's own workers."""
    with tempfile.TemporaryDirectory() as folder, server(Path(folder), *LOCAL):
        command = [sys.executable, "-c", BARE, f"unix://{folder}/v.sock", str(workers), str(count)]
        done = subprocess.run(command, cwd=BASE_DIR, capture_output=True, text=True, check=True)
    return count / float(json.loads(done.stdout.split()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1000)
    count = parser.parse_args().count
    for workers in WORKERS:
        rate, locked = ours(workers, count)
        report(
            Result(
                f"instant builds, {workers} workers", rate, "/s", bare(workers, count), Aim(0.5, of_baseline=True, at_least=True)
            ),
            Result(f"database is locked, {workers} workers", locked, "lines", None, Aim(0)),
        )


if __name__ == "__main__":
    main()
