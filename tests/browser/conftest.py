"""A real Chromium from the system's packages and the real service. Without Chromium these tests are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from builds.staff.roles import ADMINS, EDITORS, VIEWERS
from tests.e2e.conftest import SECRET, Service, in_django
from tests.e2e.test_stories import submission
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
]
PASSWORD = "a long password, with spaces"
PATIENCE = 60_000  # ms

Open = Callable[..., Page]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser/" in item.nodeid:
            item.add_marker(pytest.mark.e2e)
            if not CHROMIUM:
                item.add_marker(pytest.mark.skip(reason="no Chromium on this machine"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Closed with the module: while it runs, Django mistakes this thread for an asynchronous one."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with a user for each role. Each build runs a script of its repository."""
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        service = Service(
            tmp_path_factory.mktemp("desk") / "data", archive, desci, BUILD_COMMAND=quick.COMMAND, WORKERS="1", LEASE_SECONDS="5"
        )
        service.start()
        in_django(service, MAKE_PEOPLE.format(roles=(VIEWERS, EDITORS, ADMINS), password=PASSWORD))
        yield service
        service.stop()


MAKE_PEOPLE = """
from django.contrib.auth.models import Group, User
for role in {roles!r}:
    user = User.objects.create_user(role[:-1], password={password!r}, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
"""


@pytest.fixture
def open_as(browser: Browser, desk: Service) -> Iterator[Open]:
    """A function that signs a user in through the page, in a separate browser context."""
    contexts: list[BrowserContext] = []

    def opened(person: str, **options: Any) -> Page:
        context = browser.new_context(base_url=desk.url, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.goto("/submissions/")
        page.get_by_label("User name").fill(person)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/submissions/")
        return page

    yield opened
    for context in contexts:
        context.close()


def submit(
    service: Service,
    job_id: str,
    before: str = "",
    *,
    once: str = "",
    title: str = "",
    author: str = "Ada Lovelace",
    node: str = "",
    **files: str | bytes,
) -> None:
    """Submit a repository whose build runs ``before``. It runs ``once`` only until :func:`tests.e2e.test_faults.not_again`."""
    if once:
        before = f"if [ ! -e {service.gates / job_id} ]; then\n{once}\nfi\n{before}"
    service.archive.add("lab", job_id, quick.repository(before, **files))
    asked = submission(job_id, f"lab/{job_id}", **({"uuid": node} if node else {}))
    described = {"title": title or f"On {job_id}", "authors": [{"name": author}], "exports": quick.EXPORTS}
    service.post({**asked, "parsedDocument": described})


def pk_of(service: Service, job_id: str) -> int:
    return int(service.status(job_id)["link"].rstrip("/").rpartition("/")[2])


def serious(page: Page) -> list[str]:
    """The serious and critical accessibility problems that axe finds on a page."""
    found = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
