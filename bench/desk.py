"""Measures response times and queries of the desk's pages on a large record. The sign-in page, which reads nothing, is the baseline.

``python -m bench.desk 1000000`` first makes the record (five to eight minutes), in a temporary folder or in the database of DATABASE_URL.
``--keep FOLDER`` keeps it for another run. If Chromium is installed, the first paint is measured too.

The last column counts the queries that read all rows of a large table because no index suits them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from tests.e2e.conftest import BASE_DIR
from tests.support.ports import free_port

PASSWORD = "a long password, with spaces"
TIMES = 40
# The server makes more parts of a download for up to two seconds after its reader has hung up.
PAUSE_SECONDS = 3
LOG_LINES = 1_000_000
# A step of a plan that reads a whole table, as PostgreSQL and SQLite say it. A table of few rows is read whole even if it has an index.
WHOLE = re.compile(r"Seq Scan on (builds_\w+)|SCAN (builds_\w+)$")
MANY = 10_000
BASELINE = "/sign-in/"
PAGES = {
    "the list": "/submissions/",
    "needs attention": "/submissions/?view=needs-me",
    "manuscript failures": "/submissions/?state=failed&fault=manuscript",
    "a page in the middle": "/submissions/?before={middle}",
    "ten days": "/submissions/?start={start}&end={end}",
    "a word of a title": "/submissions/?q=glaciers",
    "an author and a word": "/submissions/?q=ada+coral",
    "an ORCID": "/submissions/?q=0000-0002-1825",
    "a repository": "/submissions/?q=lab-5/paper-{middle}",
    "an error": "/submissions/?q=repository+not+found",
    "a word of every title": "/submissions/?q=part",
    "a cause": "/submissions/?cause=worker-lost",
    "with problems": "/submissions/?problems=yes",
    "a common finding": "/submissions/?finding=image-missing",
    "a finding that no attempt has": "/submissions/?finding=none",
    "a finding and a word": "/submissions/?finding=own-template-used&q=glaciers",
    "a word and a rare state": "/submissions/?q=glaciers&state=cancelled",
    "no match": "/submissions/?q=xylophone",
    "one submission": "/submissions/{middle}/",
    "the queue": "/queue/",
    "overview, 30 days": "/overview/",
    "overview, 90 days": "/overview/?days=90",
    "admin, submissions": "/admin/builds/submission/",
    "admin, a finding": "/admin/builds/submission/?code=image-missing",
    "admin, with problems": "/admin/builds/submission/?problems=1",
    "admin, two words": "/admin/builds/submission/?q=ada+coral",
    "admin, builds of a cause": "/admin/builds/build/?cause_code=worker-lost",
    "admin, builds of a mode": "/admin/builds/build/?mode=clean",
    "admin, stages that failed": "/admin/builds/stage/?state=failed",
    "admin, events": "/admin/builds/event/",
    "admin, not sent": "/admin/builds/statusupdate/?pending=1",
    "admin, a submission": "/admin/builds/submission/{middle}/change/",
    "live rows": "/submissions/live/?first=1&shown={shown}",
    "tail of a log": "/submissions/{newest}/attempts/1/log/lines/?after=0",
    "end of a log's page": "/submissions/{newest}/attempts/1/log/?from={lines}",
}
# Measured up to the line of the first submission: the line above it, with the names of the columns, needs no query.
CSV = {
    "CSV, first line": "/submissions/csv/",
    "CSV of a word, first line": "/submissions/csv/?q=glaciers",
    "CSV of failures, first line": "/submissions/csv/?state=failed",
}


def environment(folder: Path) -> dict[str, str]:
    own = {"SECRET_KEY": "any", "INTERNAL_SERVICE_SECRET": "any", "DATA_DIR": str(folder), "REDIS_URL": "redis://127.0.0.1:1/0"}
    return {**os.environ, **own, "DJANGO_SETTINGS_MODULE": "jobsite.settings", "HOST": "127.0.0.1", "WEB_WORKERS": "1"}


def run(folder: Path, *command: str) -> None:
    subprocess.run([sys.executable, *command], env=environment(folder), cwd=BASE_DIR, check=True)


def make(folder: Path, count: int) -> None:
    """Make the record, with all indexes."""
    for name, command in {
        "tables": ("manage.py", "migrate", "-v0"),
        "record": ("-m", "bench.record", str(count)),
        "log": ("-m", "bench.record", str(LOG_LINES), "--log-of", str(count)),
    }.items():
        started_at = time.monotonic()
        run(folder, *command)
        print(f"{name}: {time.monotonic() - started_at:.0f} s", flush=True)
    user = f"User.objects.create_superuser('bench', password={PASSWORD!r})"
    run(folder, "manage.py", "shell", "--no-imports", "-c", f"from django.contrib.auth.models import User; {user}")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "manage.py", "web"]
    server = subprocess.Popen(command, env={**environment(folder), "PORT": str(port)}, cwd=BASE_DIR)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address)
        yield address
    finally:
        server.terminate()
        server.wait()


def wait_for(address: str) -> None:
    while True:
        try:
            requests.get(f"{address}{BASELINE}", timeout=5).raise_for_status()
        except requests.RequestException:
            time.sleep(0.1)
        else:
            return


def signed_in(address: str) -> requests.Session:
    session = requests.Session()
    # The server closes a connection whose budget of time is spent, and a browser asks again.
    session.mount("http://", HTTPAdapter(max_retries=Retry(total=3, read=3)))
    session.get(f"{address}/sign-in/", timeout=30)
    fields = {"username": "bench", "password": PASSWORD, "csrfmiddlewaretoken": session.cookies["csrftoken"]}
    session.post(f"{address}/sign-in/", fields, timeout=30).raise_for_status()
    return session


@dataclass(frozen=True)
class Measured:
    """Response times in milliseconds, and the number of bytes read."""

    times: list[float]
    size: int

    def __str__(self) -> str:
        ordered = sorted(self.times)
        shown = (statistics.median(ordered), ordered[int(len(ordered) * 0.95)], ordered[-1])
        return "".join(f"{milliseconds:>7.1f} ms" for milliseconds in shown)


def read_whole(answer: requests.Response) -> int:
    return len(answer.content)


def read_first_line(answer: requests.Response) -> int:
    """Read the line of the first submission, and hang up."""
    with answer:
        lines = answer.iter_lines(chunk_size=512)
        return len(next(lines)) + len(next(lines))


def measure(
    session: requests.Session, address: str, read: Callable[[requests.Response], int] = read_whole, *, pause: float = 0
) -> Measured:
    times, size = [], 0
    for _ in range(TIMES):
        time.sleep(pause)
        started_at = time.perf_counter()
        answer = session.get(address, timeout=120, allow_redirects=False, stream=True)
        answer.raise_for_status()
        size = read(answer)
        times.append((time.perf_counter() - started_at) * 1000)
    return Measured(times, size)


def queries(folder: Path, pages: dict[str, str]) -> dict[str, str]:
    """How many database queries each page needs, and how many of them read a large table whole. Counted in a separate process."""
    answer = subprocess.run(
        [sys.executable, "-m", "bench.desk", "--count-queries", *pages.values()],
        env={**environment(folder), "DEBUG": "yes"},
        cwd=BASE_DIR,
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(zip(pages, answer.stdout.splitlines(), strict=True))


def count_queries(addresses: list[str]) -> None:
    import django  # noqa: PLC0415 - only in the separate process

    django.setup()
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415
    from django.http import StreamingHttpResponse  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    client = Client()
    client.force_login(User.objects.get(username="bench"), backend="django.contrib.auth.backends.ModelBackend")
    for address in addresses:
        with CaptureQueriesContext(connection) as asked:
            answer = client.get(address, headers={"host": "localhost"})
            if isinstance(answer, StreamingHttpResponse):
                _header, _first = islice(iter(answer), 2)
        print(f"{len(asked):>9}{sum(_reads_whole_table(query['sql']) for query in asked.captured_queries):>9}")


def _reads_whole_table(sql: str) -> bool:
    from django.db import connection  # noqa: PLC0415 - only in the separate process

    if not sql.startswith("SELECT"):
        return False
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{sql}")
        tables = [found[1] or found[2] for *_, step in cursor.fetchall() if (found := WHOLE.search(step))]
        return any(_is_large(cursor, table) for table in tables)


def _is_large(cursor: Any, table: str) -> bool:
    cursor.execute(f"SELECT 1 FROM {table} LIMIT 1 OFFSET {MANY}")  # noqa: S608 - the name of one of our tables
    return cursor.fetchone() is not None


def first_paints(address: str, pages: dict[str, str]) -> dict[str, float]:
    """Milliseconds from the request to the first contentful paint, each in a new browser context that has loaded only the sign-in page."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return {}
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only if there is a browser

    paints: dict[str, float] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic"])
        for name, path in pages.items():
            taken = [_paint(browser, address, path) for _ in range(5)]
            paints[name] = statistics.median(taken)
        browser.close()
    return paints


def _paint(browser: Any, address: str, path: str) -> float:
    context = browser.new_context(base_url=address)
    page = context.new_page()
    page.goto("/sign-in/")
    page.fill("#id_username", "bench")
    page.fill("#id_password", PASSWORD)
    page.click("main button")
    page.wait_for_url("**/submissions/**")
    page.goto(path)
    paint: float | None = None
    while paint is None:  # the page's policy forbids wait_for_function
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null")
    context.close()
    return paint


def addresses(named: dict[str, str], count: int) -> dict[str, str]:
    """The paths of pages, with the ids and days of a record of ``count`` submissions."""
    now = time.time()
    days = {"start": now - 40 * 86400, "end": now - 30 * 86400}
    values = {name: time.strftime("%Y-%m-%d", time.gmtime(at)) for name, at in days.items()}
    shown = ",".join(str(count - number) for number in range(50))
    return {
        name: path.format(middle=count // 2, newest=count, lines=LOG_LINES, shown=shown, **values) for name, path in named.items()
    }


def report(folder: Path, count: int) -> None:
    pages, tables = addresses(PAGES, count), addresses(CSV, count)
    asked = queries(folder, {**pages, **tables})
    with served(folder) as address:
        session = signed_in(address)
        print(f"{'page':<30}{'median':>10}{'p95':>10}{'worst':>10}{'kB':>8}{'queries':>9}{'scans':>9}")
        print(f"{'(sign-in page)':<30}{measure(requests.Session(), address + BASELINE)}")
        for read, pause, paths in ((read_whole, 0, pages), (read_first_line, PAUSE_SECONDS, tables)):
            for name, path in paths.items():
                found = measure(session, address + path, read, pause=pause)
                print(f"{name:<30}{found}{found.size / 1000:>8.0f}{asked[name]}", flush=True)
        painted = {name: pages[name] for name in ("the list", "needs attention", "a word of a title", "one submission")}
        for name, paint in first_paints(address, painted).items():
            print(f"first paint of {name}: {paint:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    parser.add_argument("--keep", type=Path, help="a folder for the record; reused if it already contains one")
    parser.add_argument("--count-queries", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.count_queries:
        return count_queries(asked.count_queries)
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="bench-desk-"))
    if not (folder / "made").exists():
        folder.mkdir(exist_ok=True)
        make(folder, asked.count)
        (folder / "made").touch()
    report(folder, asked.count)
    if not asked.keep:
        shutil.rmtree(folder)
    return None


if __name__ == "__main__":
    main()
