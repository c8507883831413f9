"""``python -m tests.browser.screenshots`` takes a screenshot of each page in both themes, on a wide screen and a phone.

The real web server serves the pages. The lifecycle functions make the record, on top of some weeks of ``bench.record``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Page, sync_playwright

from tests.e2e.conftest import BASE_DIR
from tests.support.ports import free_port

FOLDER = BASE_DIR / "docs" / "screenshots"
PASSWORD = "a long password, with spaces"
SIZES = {"wide": {"width": 1240, "height": 800}, "phone": {"width": 390, "height": 800}}
PAGES = {
    "sign-in": "/sign-in/",
    "submissions": "/submissions/",
    "needs-me": "/submissions/?view=needs-me",
    "failed": "/submissions/{failed}/",
    "running": "/submissions/{running}/",
    "succeeded": "/submissions/{succeeded}/",
    "problems": "/submissions/{problems}/",
    "with-problems": "/submissions/?problems=yes&finding=image-missing",
    "retry": "/submissions/{failed}/act/retry/",
    "letter": "/submissions/{failed}/letter/",
    "log": "/submissions/{failed}/attempts/1/log/",
    "bundle": "/submissions/{succeeded}/attempts/1/exports/2/preview/",
    "article": "/submissions/{succeeded}/attempts/1/exports/2/article/",
    "queue": "/queue/",
    "overview": "/overview/",
    "failures": "/failures/",
    "settings": "/settings/",
    "api": "/v1/docs",
    "admin": "/admin/builds/submission/",
    "not-found": "/nothing/",
}
RECORD = """
from datetime import timedelta
from django.contrib.auth.models import User
from django.utils import timezone
from bench.record import fill
from builds import lifecycle
from builds.record.logs import LogWriter
from builds.models import Build, Stage, Submission
from dataclasses import replace
from builds.engine.manuscript.built_article import BuiltArticle
from builds.record import articles
from tests.support import jats, made
from tests.support.kept import path_of
from tests.support.found import CHECKS, MISSING, NO_DOI, OWN, write_findings

fill(400, days=30)
User.objects.create_superuser("irene", password={password!r})
lasting = timezone.now() + timedelta(days=1)

def logged(build):
    log = LogWriter(build, lambda text: text)
    log.stage = "build"
    for number in range(120):
        if number == made.CAUSE.log_line - 1:
            log.line("\\x1b[31mERROR\\x1b[0m paper.md:118 Could not link citation with label hopper1953", stream="stderr")
        log.line(f"\\x1b[32mok\\x1b[0m  read chapter-{{number:03}}.md in 0.{{number % 9 + 1}} s", stream="stdout")
    log.flush()

def take(build, minutes):
    at = timezone.now() - timedelta(minutes=minutes)
    ended = at + timedelta(seconds=103) if build.finished_at else None
    Build.objects.filter(pk=build.pk).update(created_at=at, started_at=at, finished_at=ended, lease_expires_at=lasting)
    Submission.objects.filter(pk=build.submission_id).update(created_at=at)
    build.submission.events.update(at=at)
    build.submission.status_updates.update(created_at=at)
    for stage, begins, lasts in zip(build.stages.order_by("id"), [0, 22, 31, 93, 95], [21, 9, 62, 2, 8]):
        begin = at + timedelta(seconds=begins)
        end = begin + timedelta(seconds=lasts) if stage.finished_at else None
        Stage.objects.filter(pk=stage.pk).update(started_at=begin, finished_at=end)

done = made.succeeded("corals", title="Sea-surface temperature and the growth of Porites corals, 1950–2020", author="Zoë Ångström")
path_of(done.artifacts.get(position=2)).write_bytes(jats.meca())
zoe = {{"name": "Zoë Ångström", "orcid": "0000-0002-1825-0097", "affiliations": ["Reef Institute, Aarhus, Denmark"]}}
abstract = "Corals record the temperature of the sea in which they grew. We read seventy years of it from forty cores of Porites."
articles.keep(done.submission, BuiltArticle("", [zoe], abstract, ["corals", "sea-surface temperature"], "CC BY 4.0"))
take(done, 6)
damaged = made.running("glaciers", title="Surges of two glaciers seen from orbit", author="Mary Somerville")
logged(damaged)
write_findings(damaged, MISSING, NO_DOI, OWN, *CHECKS, *(replace(MISSING, line=line) for line in range(20, 31)))
take(made.delivered(damaged), 5)
broken = made.running("prime-gaps", title="A short note on prime gaps", author="Grace Hopper")
logged(broken)
take(broken, 3)
lifecycle.fail(broken, made.CAUSE, stage="build")
made.refused(broken, 3)
runs = made.running("tides", title="Reproducible notebooks for tidal energy", author="Ada Yonath")
logged(runs)
take(runs, 2)
made.submitted("graphene", title="Graphene under strain: a data paper", author="Mary Somerville")
print(broken.submission_id, runs.submission_id, done.submission_id, damaged.submission_id)
"""


def main() -> None:
    data = Path(tempfile.mkdtemp(prefix="jobsite-screenshots-"))
    port = free_port()
    environment = {
        **os.environ,
        **{"SECRET_KEY": "any", "INTERNAL_SERVICE_SECRET": "any", "DATA_DIR": str(data), "REDIS_URL": "redis://127.0.0.1:1/0"},
        **{"DJANGO_SETTINGS_MODULE": "jobsite.settings", "HOST": "127.0.0.1", "PORT": str(port), "LOG_LEVEL": "ERROR"},
    }

    def python(*command: str) -> str:
        return subprocess.run(
            [sys.executable, *command], env=environment, cwd=BASE_DIR, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    python("manage.py", "migrate", "-v0")
    made = python("manage.py", "shell", "--no-imports", "-c", RECORD.format(password=PASSWORD)).split()[-4:]
    named = dict(zip(("failed", "running", "succeeded", "problems"), made, strict=True))
    server = subprocess.Popen([sys.executable, "manage.py", "web"], env=environment, cwd=BASE_DIR)
    try:
        take_all(f"http://127.0.0.1:{port}", named)
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(data)


def take_all(address: str, named: dict[str, str]) -> None:
    while True:
        with suppress(requests.RequestException):
            requests.get(f"{address}/sign-in/", timeout=5).raise_for_status()
            break
        time.sleep(0.1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        for theme in ("light", "dark"):
            for size, viewport in SIZES.items():
                options: Any = {
                    "color_scheme": theme,
                    "viewport": viewport,
                    "base_url": address,
                    "reduced_motion": "reduce",
                    "locale": "en-GB",
                }
                page = browser.new_context(**options).new_page()
                take(page, f"{theme}-{size}", named)
        browser.close()


def take(page: Page, name: str, named: dict[str, str]) -> None:
    page.goto("/sign-in/")
    page.screenshot(path=FOLDER / f"sign-in-{name}.png")
    page.fill("#id_username", "irene")
    page.fill("#id_password", PASSWORD)
    page.click("main button")
    page.wait_for_url("**/submissions/")
    for title, path in PAGES.items():
        if title != "sign-in":
            page.goto(path.format(**named))
            page.wait_for_timeout(700)  # for the scripts to finish
            page.screenshot(path=FOLDER / f"{title}-{name}.png")


if __name__ == "__main__":
    main()
