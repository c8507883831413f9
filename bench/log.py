"""Measures the log page in a browser: the delay of a new line, the first paint of 1,000,000 lines, and searches in them.

The baselines are what a reader could do without the page: request the log over the API fifty times a second, download the whole log,
and run ``grep`` on that file.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from builds.staff.roles import ADMINS
from tests.browser.conftest import CHROMIUM, FLAGS, MAKE_PEOPLE, PASSWORD, pk_of, submit
from tests.e2e.conftest import SECRET, Service, in_django
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick

WRITTEN = 100
LINES = 1_000_000
ROUNDS = 7
# The baseline sends more requests than the rate limit of a client allows.
UNLIMITED = {"API_RATE_PER_CLIENT": "1000000", "API_RATE": "1000000"}
# Each line contains its time of writing. The random pauses avoid synchronising with any polling interval.
WRITER = f"""
python3 -c 'import random, time
for n in range({WRITTEN}):
    print("written at", time.time(), flush=True)
    time.sleep(random.uniform(0.05, 0.75))'
"""
QUESTIONS = {
    "a text in one line": [f"{number * 111_111:07d} " for number in range(1, 8)],
    "a text in a third of the lines": ["figure", "parse", "resolve", "transform", "reference", "citation", "export"],
    "a text in no line": [f"nothing like {number}" for number in range(7)],
}
FILL = """
from builds.models import Build, LogBatch, Stage
build = Build.objects.get(submission={pk})
LogBatch.objects.filter(build=build).delete()
words = "parse resolve transform reference citation figure export chapter table abstract author equation".split()
rows, per = [], 350
def text(n):
    filler = " ".join(words[(n * 7 + k * k) % 12] for k in range(16))
    return f"{{n:07d}} {{'NEEDLE ' if n == 654_321 else ''}}{{filler}}"[:142]
for first in range(1, {lines} + 1, per):
    count = min(per, {lines} - first + 1)
    records = "".join(f"{{1_700_000_000_000 + n}}\\tbuild\\tstdout\\t{{text(n)}}\\n" for n in range(first, first + count))
    rows.append(LogBatch(build=build, first_line=first, line_count=count, records=records))
    if len(rows) == 200:
        LogBatch.objects.bulk_create(rows)
        rows = []
LogBatch.objects.bulk_create(rows)
Build.objects.filter(pk=build.pk).update(log_lines={lines}, cause_log_line=None)
Stage.objects.filter(build=build).update(first_log_line=1)
Stage.objects.filter(build=build).exclude(name="build").delete()
"""
# Records when each line was painted, which is two frames after it came into the page.
WATCH = """() => {
  window.seen = {}
  const look = rows => {
    const fresh = [...rows].map(row => row.querySelector?.('.t')?.textContent).filter(text => text?.startsWith('written at'))
    requestAnimationFrame(() => setTimeout(() => { for (const text of fresh) window.seen[text.slice(11)] ??= Date.now() / 1000 }))
  }
  new MutationObserver(changes => look(changes.flatMap(change => [...change.addedNodes])))
    .observe(document.getElementById('log'), { childList: true, subtree: true })
}"""
JUMP = """async part => {
  const log = document.getElementById('log'), box = log.getBoundingClientRect(), began = performance.now()
  log.scrollTop = log.scrollHeight * part
  const frame = () => new Promise(resolve => requestAnimationFrame(resolve))
  do await frame(); while (!document.elementFromPoint(box.left + 300, box.top + box.height / 2).closest('.line'))
  return performance.now() - began
}"""
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def show(name: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    print(
        f"{name:58} median {statistics.median(ordered):.3f} s   p95 {ordered[int(len(ordered) * 0.95)]:.3f} s   of {len(ordered)}"
    )


def signed_in(page: Page, service: Service) -> Page:
    page.goto(f"{service.url}/sign-in/")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/submissions/")
    return page


def log_of(service: Service, job_id: str) -> str:
    return f"{service.url}/submissions/{pk_of(service, job_id)}/attempts/1/log/"


def on_screen(page: Page, service: Service) -> list[float]:
    """Seconds from writing each line to painting it."""
    submit(service, "screen", WRITER)
    service.wait("screen", "running", timeout=60)
    page.goto(log_of(service, "screen"))
    page.evaluate(WATCH)
    page.locator("#log-state", has_text="succeeded").wait_for(timeout=180_000)
    return [at - float(text) for text, at in page.evaluate("window.seen").items()]


def over_the_api(service: Service) -> list[float]:
    """Seconds from writing each line to reading it over the API, with fifty requests a second."""
    submit(service, "api", WRITER)
    seen: dict[str, float] = {}
    while service.status("api")["state"] in ("queued", "running"):
        text = service.log("api")
        for line in text.splitlines():
            if "written at " in line:
                seen.setdefault(line.rpartition("written at ")[2], time.time())
        time.sleep(0.02)
    return [at - float(written) for written, at in seen.items() if at - float(written) < 30]


def timed(action: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    seconds = []
    for _ in range(rounds):
        started_at = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started_at)
    return seconds


def first_paint(page: Page, address: str) -> list[float]:
    seconds = []
    for _ in range(ROUNDS):
        page.goto("about:blank")
        page.goto(address)
        seconds.append(page.evaluate(PAINTED) / 1000)
    return seconds


def long_log(page: Page, service: Service, folder: Path) -> None:
    submit(service, "long", "exit 3")
    service.wait("long", "failed", timeout=60)
    in_django(service, FILL.format(pk=pk_of(service, "long"), lines=LINES))
    address = log_of(service, "long")
    file = folder / "log.txt"
    show("first paint of a log of 1,000,000 lines", first_paint(page, address))
    whole = timed(lambda: file.write_bytes(page.request.get(f"{address[:-1]}.txt", timeout=300_000).body()), 3)
    print(
        f"{'baseline: download the whole log, ' + f'{file.stat().st_size / 1e6:.0f} MB':58} median {statistics.median(whole):.3f} s"
    )
    nodes = page.evaluate("document.querySelectorAll('*').length")
    print(f"{'elements in the page':58} {nodes}")
    show("a jump with the scroll bar until the lines are visible", jumps(page))
    for name, texts in QUESTIONS.items():
        show(f"search for {name}", [seconds for text in texts for seconds in timed(lambda q=text: found(page, address, q), 1)])  # type: ignore[misc]
        greps = [["grep", "-ciF", text, str(file)] for text in texts]
        show("baseline: grep in the file", [seconds for grep in greps for seconds in timed(lambda g=grep: run(g), 1)])  # type: ignore[misc]
    show("the same search again", timed(lambda: found(page, address, "figure")))
    show("the first error", timed(lambda: page.request.get(f"{address}search/?error").body(), 1))


def found(page: Page, address: str, text: str) -> bytes:
    return page.request.get(f"{address}search/", params={"q": text}).body()


def run(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, check=False)


def jumps(page: Page) -> list[float]:
    """Seconds until lines are visible in the middle of the frame, for nine positions of the scroll bar."""
    return [page.evaluate(JUMP, number / 10) / 1000 for number in range(1, 10)]


def main() -> None:
    if CHROMIUM is None:
        print("Chromium is not installed.")
        return
    with tempfile.TemporaryDirectory() as folder, ArchiveHost() as archive, DesciServer(SECRET) as desci:
        service = Service(
            Path(folder) / "data", archive, desci, BUILD_COMMAND=quick.COMMAND, WORKERS="1", WEB_WORKERS="2", **UNLIMITED
        )
        service.start()
        in_django(service, MAKE_PEOPLE.format(roles=(ADMINS,), password=PASSWORD))
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                page = signed_in(browser.new_page(viewport={"width": 1280, "height": 900}), service)
                show("a line, from writing to painting", on_screen(page, service))
                show("baseline: a request to the API every 20 ms", over_the_api(service))
                long_log(page, service, Path(folder))
                browser.close()
        finally:
            service.stop()


if __name__ == "__main__":
    main()
