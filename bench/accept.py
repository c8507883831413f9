"""How long a submission takes to be accepted, at 1 and at 16 connections; beside it an answer that only reads (``/readyz``).

The whole service runs, but no worker: what is measured is the request, its transaction and the word to the queue store.
"""

from __future__ import annotations

import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.e2e.conftest import SECRET, SUBMISSIONS, Service
from tests.standins import ArchiveHost, DesciServer

REQUESTS = 600
CONNECTIONS = (1, 16)
Send = Callable[[http.client.HTTPConnection, str], int]


def submit(connection: http.client.HTTPConnection, name: str) -> int:
    document = {"title": "On builds", "authors": [{"name": "A. Author"}], "exports": [{"format": "meca", "output": "a.zip"}]}
    body = {"url": "https://github.com/a/b/blob/main/myst.yml", "jobId": name, "uuid": f"{name}.", "parsedDocument": document}
    headers = {"X-Internal-Secret": SECRET, "Content-Type": "application/json"}
    connection.request("POST", SUBMISSIONS, json.dumps(body), headers)
    return _finish(connection)


def ready(connection: http.client.HTTPConnection, name: str) -> int:
    connection.request("GET", "/readyz")
    return _finish(connection)


def _finish(connection: http.client.HTTPConnection) -> int:
    response = connection.getresponse()
    response.read()
    return response.status


def one_connection(port: int, send: Send, prefix: str, count: int) -> list[float]:
    """The seconds of each of ``count`` requests, one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    seconds = []
    for number in range(count):
        started_at = time.perf_counter()
        code = send(connection, f"{prefix}-{number}")
        seconds.append(time.perf_counter() - started_at)
        if code not in (200, 202):
            raise RuntimeError(f"answered {code}")
    connection.close()
    return seconds


def measure(port: int, send: Send, prefix: str, connections: int) -> list[float]:
    """The seconds of REQUESTS requests over so many connections, each in a process of its own."""
    count = REQUESTS // connections
    with ProcessPoolExecutor(connections) as pool:
        runs = [pool.submit(one_connection, port, send, f"{prefix}-{number}", count) for number in range(connections)]
        return [seconds for run in runs for seconds in run.result()]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ArchiveHost() as archive, DesciServer(SECRET, keep_files=False) as desci:
        service = Service(Path(folder) / "data", archive, desci, WORKERS="0", WEB_WORKERS="2")
        service.start()
        try:
            print(f"{'answer':24}{'connections':>12}{'median ms':>12}{'p99 ms':>12}{'requests/s':>12}")
            measure(service.port, submit, "warm-up", 4)
            for connections in CONNECTIONS:
                for name, send in (("reads only (/readyz)", ready), ("submission accepted", submit)):
                    started_at = time.perf_counter()
                    seconds = measure(service.port, send, f"{name[:4]}-{connections}", connections)
                    rate = len(seconds) / (time.perf_counter() - started_at)
                    median, p99 = statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]
                    print(f"{name:24}{connections:>12}{median * 1000:>12.1f}{p99 * 1000:>12.1f}{rate:>12.0f}")
        finally:
            service.stop()


if __name__ == "__main__":
    main()
