"""How fast submissions are accepted, with idle cores and with both cores busy, beside a bare insert and enqueue.

The whole service runs, but no worker: what is measured is the request, its transaction and the word to the queue store. Programs that only
calculate, with the nice value of builds, stand for builds. The rate in one process compares ``lifecycle.submit`` with one INSERT by Django
and one enqueue by RQ, in turn, by processor time.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.results import Aim, Result, report
from tests.e2e.conftest import SECRET, SUBMISSIONS, Service
from tests.standins import ArchiveHost, DesciServer
from tests.support.queue_server import LOCAL, server

REQUESTS = 400
IN_PROCESS, ROUNDS = 100, 5
DOCUMENT = {"title": "On builds", "authors": [{"name": "A. Author"}], "exports": [{"format": "meca", "output": "a.zip"}]}
URL = "https://github.com/a/b/blob/main/myst.yml"
NICE = 5
BUSY = 503
UNLIMITED = {"API_RATE": "1000000", "API_RATE_PER_CLIENT": "1000000"}
Send = Callable[[http.client.HTTPConnection, str], int]


def submit(connection: http.client.HTTPConnection, name: str) -> int:
    body = {"url": URL, "jobId": name, "uuid": f"{name}.", "parsedDocument": DOCUMENT}
    headers = {"X-Internal-Secret": SECRET, "Content-Type": "application/json"}
    connection.request("POST", SUBMISSIONS, json.dumps(body), headers)
    return _finish(connection)


def health(connection: http.client.HTTPConnection, name: str) -> int:
    """An answer that asks neither the database nor the queue store: what the web server and Django cost."""
    connection.request("GET", "/healthz")
    return _finish(connection)


def _finish(connection: http.client.HTTPConnection) -> int:
    response = connection.getresponse()
    response.read()
    return response.status


def one_connection(port: int, send: Send, prefix: str, count: int) -> list[float]:
    """The milliseconds of each of ``count`` requests, one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    times = []
    for number in range(count):
        started_at = time.perf_counter()
        while (code := send(connection, f"{prefix}-{number}")) == BUSY:  # as desci-server, which sends it again
            continue
        times.append((time.perf_counter() - started_at) * 1000)
        if code not in (200, 202):
            raise RuntimeError(f"answered {code}")
    connection.close()
    return times


def measure(port: int, send: Send, prefix: str, connections: int) -> tuple[float, float, float]:
    """The median and the 99th percentile in milliseconds, and requests per second, each connection in a separate process."""
    count = REQUESTS // connections
    with ProcessPoolExecutor(connections) as pool:
        list(pool.map(abs, range(connections)))  # the processes have started
        started_at = time.perf_counter()
        runs = [pool.submit(one_connection, port, send, f"{prefix}-{number}", count) for number in range(connections)]
        times = [each for run in runs for each in run.result()]
        seconds = time.perf_counter() - started_at
    return statistics.median(times), statistics.quantiles(times, n=100)[98], len(times) / seconds


@contextmanager
def busy_cores() -> Iterator[None]:
    """Keep both cores busy, as builds do."""
    command = ["nice", "-n", str(NICE), sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(command) for _core in range(2)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def through_the_service(service: Service) -> None:
    measure(service.port, submit, "warm-up", 4)
    one, one_bare = measure(service.port, submit, "one", 1), measure(service.port, health, "", 1)
    many, many_bare = measure(service.port, submit, "many", 16), measure(service.port, health, "", 16)
    with busy_cores():
        busy, busy_bare = measure(service.port, submit, "busy", 1), measure(service.port, health, "", 1)
        eight, eight_bare = measure(service.port, submit, "eight", 8), measure(service.port, health, "", 8)
    report(
        Result("accept, 1 connection, idle: median", one[0], "ms", one_bare[0], Aim(5)),
        Result("accept, 1 connection, idle: p99", one[1], "ms", one_bare[1], Aim(15)),
        Result("accept, 1 connection, cores busy: median", busy[0], "ms", busy_bare[0], Aim(8)),
        Result("accept, 8 connections, cores busy", eight[2], "/s", eight_bare[2], Aim(200, at_least=True)),
        Result("accept, 16 connections, idle: p99", many[1], "ms", many_bare[1], Aim(150)),
        Result("accept, 16 connections, idle", many[2], "/s", many_bare[2], Aim(300, at_least=True)),
    )


def in_one_process(folder: Path) -> None:
    """Accept submissions without the web server, and insert and enqueue as little as possible, in turn."""
    settings = {"DATA_DIR": str(folder / "data"), "SECRET_KEY": "any", "REDIS_URL": f"unix://{folder}/v.sock"}
    os.environ.update(settings, DJANGO_SETTINGS_MODULE="jobsite.settings", LOG_LEVEL="WARNING")
    import django  # noqa: PLC0415 - before any model is named

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415 - when Django is set up

    call_command("migrate", verbosity=0)
    with server(folder, *LOCAL):
        from builds.queue import store  # noqa: PLC0415 - when Django is set up

        rates: dict[Callable[[str], Any], list[float]] = {_accept: [], _bare: []}
        for number in range(ROUNDS):
            for call, found in rates.items():
                started_at = time.process_time()
                for each in range(IN_PROCESS):
                    call(f"{call.__name__}-{number}-{each}")
                store.finish_enqueueing()
                found.append(IN_PROCESS / (time.process_time() - started_at))
    ours, bare = (statistics.median(found) for found in rates.values())
    report(Result("accept in one process", ours, "per second of processor", bare, Aim(0.6, of_baseline=True, at_least=True)))


def _accept(name: str) -> None:
    from builds import lifecycle  # noqa: PLC0415 - when Django is set up

    lifecycle.submit(lifecycle.Request(name, f"{name}.", URL, "a/b", DOCUMENT))


def _bare(name: str) -> None:
    from builds.models import Submission  # noqa: PLC0415 - when Django is set up
    from builds.queue import jobs, store  # noqa: PLC0415 - when Django is set up

    Submission.objects.create(
        job_id=name, node_uuid=f"{name}.", url=URL, repository="a/b", title="On builds", authors="A. Author"
    )
    store.build_queue().enqueue(jobs.TASK, name, job_id=name, result_ttl=0, failure_ttl=3600)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ArchiveHost() as archive, DesciServer(SECRET, keep_files=False) as desci:
        service = Service(Path(folder) / "data", archive, desci, WORKERS="0", WEB_WORKERS="2", **UNLIMITED)
        service.start()
        try:
            through_the_service(service)
        finally:
            service.stop()
    with tempfile.TemporaryDirectory() as folder:
        in_one_process(Path(folder))


if __name__ == "__main__":
    main()
