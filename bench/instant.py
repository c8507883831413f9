"""What the service adds around a build that takes no time: seconds from the request to the final status, and jobs per second.

The repository's pixi task copies prepared exports, and ``pixi`` is a shell script, so that nearly all of the time is the service's own.
The baseline is the bare chain in RQ's own worker, without record, sandbox, checks and log: fetch the archive, unpack it, run the same
command, post the files and the status. ``python -m bench.instant --stages`` also prints how long each stage took.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import requests
from pypdf import PdfWriter
from redis import Redis
from rq import Queue

from bench.results import Aim, Result, report
from tests.e2e.conftest import SECRET, Service
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick
from tests.support.queue_server import LOCAL, server

ROUNDS, CROWD, WORKERS = 15, 30, 2
LIMIT_SECONDS = 300
EXPORTS = [{"format": "pdf", "output": "exports/article.pdf"}, *quick.EXPORTS]
MANIFEST = '[workspace]\nchannels = []\nplatforms = ["linux-64"]\n[tasks]\nbuild-meca = "sh make.sh"\n'
PIXI = (
    '#!/bin/sh\n[ "$1" = --version ] && echo "pixi 0.0 (bench)" && exit\n[ "$*" = "run build-meca" ] || exit 9\nexec sh make.sh\n'
)
FINAL = ("COMPLETED", "FAILED")


def repository() -> dict[str, str | bytes]:
    pdf = io.BytesIO()
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.write(pdf)
    files: dict[str, str | bytes] = {"pixi.toml": MANIFEST, "ready/article.pdf": pdf.getvalue()}
    return quick.repository("mkdir -p exports && cp ready/article.pdf exports/article.pdf", **files)


def bare_chain(archive: str, desci: str, job_id: str) -> None:
    """The job of the baseline, which RQ's own worker runs."""
    status = f"{desci}/v1/nodes/{job_id}./github-myst-import/{job_id}/updateStatus"
    receive = f"{desci}/v1/nodes/{job_id}./finalize-myst-import/{job_id}/receiveFiles"
    headers = {"X-Internal-Secret": SECRET}
    requests.post(status, json={"status": "IN_PROGRESS", "message": "started"}, headers=headers, timeout=60).raise_for_status()
    with tempfile.TemporaryDirectory() as folder:
        answer = requests.get(f"{archive}/bench/instant/archive/refs/heads/main.zip", timeout=60)
        zipfile.ZipFile(io.BytesIO(answer.content)).extractall(folder)
        [root] = Path(folder).iterdir()
        subprocess.run(["pixi", "run", "build-meca"], cwd=root, check=True, stdout=subprocess.DEVNULL)
        files = [("files", ("article.pdf", (root / "exports" / "article.pdf").read_bytes()))]
        meca = zipfile.ZipFile(root / "exports" / "article.meca.zip")
        files += [("files", (f"/exports/article.meca/{name}", meca.read(name))) for name in meca.namelist()]
        files.append(("files", ("index.json", (root / "_build" / "site" / "content" / "index.json").read_bytes())))
        fields = {"uuid": f"{job_id}.", "contextPath": "root"}
        requests.post(receive, data=fields, files=files, headers=headers, timeout=60).raise_for_status()
    requests.post(status, json={"status": "COMPLETED", "message": "done"}, headers=headers, timeout=60).raise_for_status()


class Ours:
    def __init__(self, service: Service, desci: DesciServer) -> None:
        self.service, self.desci = service, desci

    def submit(self, job_id: str) -> None:
        url = "https://github.com/bench/instant/blob/main/myst.yml"
        entry = {"url": url, "jobId": job_id, "uuid": f"{job_id}.", "parsedDocument": {"title": "T", "exports": EXPORTS}}
        self.service.post(entry)


class Bare:
    def __init__(self, queue: Queue, archive: ArchiveHost, desci: DesciServer) -> None:
        self.queue, self.archive, self.desci = queue, archive, desci

    def submit(self, job_id: str) -> None:
        self.queue.enqueue("bench.instant.bare_chain", self.archive.url, self.desci.url, job_id)


def seconds_to_the_end(way: Ours | Bare, name: str) -> float:
    started_at = time.perf_counter()
    way.submit(name)
    wait_for_final(way.desci, [name])
    return time.perf_counter() - started_at


def jobs_per_second(way: Ours | Bare, name: str) -> float:
    names = [f"{name}-{number}" for number in range(CROWD)]
    started_at = time.perf_counter()
    for each in names:
        way.submit(each)
    wait_for_final(way.desci, names)
    return CROWD / (time.perf_counter() - started_at)


def wait_for_final(desci: DesciServer, names: list[str]) -> None:
    """Wait until the final status of each job was received.

    Raises:
        RuntimeError: a job failed, or it took too long.
    """
    deadline = time.monotonic() + LIMIT_SECONDS
    for name in names:
        while not (ends := [update for update in desci.updates[name] if update.status in FINAL and update.accepted]):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not end: {desci.updates[name]}")
            time.sleep(0.002)
        if ends[-1].status != "COMPLETED":
            raise RuntimeError(f"{name} failed: {ends[-1].message}")


@contextmanager
def bare_workers(folder: Path, path: str) -> Iterator[Queue]:
    """RQ's own workers with a queue store of their own."""
    address = f"unix://{folder}/v.sock"
    command = [sys.executable, "-m", "rq.cli", "worker", "--quiet", "--url", address, "bare"]
    with server(folder, *LOCAL):
        workers = [subprocess.Popen(command, env={**os.environ, "PATH": path}) for _ in range(WORKERS)]
        try:
            yield Queue("bare", connection=Redis.from_url(address))
        finally:
            for process in workers:
                process.terminate()
                process.wait(60)


def print_stages(service: Service, names: list[str]) -> None:
    """The median of each stage, and of the time outside all of them."""
    statuses = [service.status(name) for name in names]
    stages = [[(s["name"], seconds(s)) for s in status["attempts"][-1]["stages"]] for status in statuses]
    for index, (name, _seconds) in enumerate(stages[0]):
        print(f"  stage {name:10} {statistics.median(each[index][1] for each in stages) * 1000:7.0f} ms")
    outside = [seconds(s, "createdAt") - sum(x for _name, x in each) for s, each in zip(statuses, stages, strict=True)]
    print(f"  outside them     {statistics.median(outside) * 1000:7.0f} ms")


def seconds(row: dict[str, Any], start: str = "startedAt") -> float:
    return (datetime.fromisoformat(row["finishedAt"]) - datetime.fromisoformat(row[start])).total_seconds()


def measure(ours: Ours, bare: Bare, *, stages: bool) -> None:
    for way in (ours, bare):
        seconds_to_the_end(way, f"warm-{type(way).__name__}")
    names = [f"one-{number}" for number in range(ROUNDS)]
    times = [(seconds_to_the_end(ours, name), seconds_to_the_end(bare, f"bare-{name}")) for name in names]
    own, other = (statistics.median(each) * 1000 for each in zip(*times, strict=True))
    if stages:
        print_stages(ours.service, names)
    report(
        Result("instant build, post to final status", own, "ms", other, Aim(250)),
        Result(
            f"instant builds with {WORKERS} workers",
            jobs_per_second(ours, "crowd"),
            "jobs/s",
            jobs_per_second(bare, "bare-crowd"),
            Aim(10, at_least=True),
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ArchiveHost() as archive, DesciServer(SECRET, keep_files=False) as desci:
        folder = Path(name)
        folder.chmod(0o755)  # builds run as another user if the service is root's
        pixi = folder / "bin" / "pixi"
        pixi.parent.mkdir()
        pixi.write_text(PIXI)
        pixi.chmod(0o755)
        archive.add("bench", "instant", repository())
        path = f"{pixi.parent}:{os.environ['PATH']}"
        # Each job has to be built.
        service = Service(folder / "data", archive, desci, WORKERS=str(WORKERS), PATH=path, BUILD_CACHE_DAYS="0")
        service.start()
        try:
            with bare_workers(folder, path) as queue:
                measure(Ours(service, desci), Bare(queue, archive, desci), stages=options.stages)
        finally:
            service.stop()


if __name__ == "__main__":
    main()
