"""No page has a serious accessibility problem in either theme on any screen, is cut off, or logs anything to the console."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import Browser, ConsoleMessage, Page

from tests.browser.conftest import PASSWORD, PATIENCE, Open, pk_of, serious, submit
from tests.e2e.conftest import Service, in_django
from tests.support import quick

# The admin's pages are in test_axe_admin.py.
PAGES = {
    "list": "/submissions/",
    "needs attention": "/submissions/?view=needs-me",
    "filtered": "/submissions/?q=nothing+like+it&state=failed&start=yesterday",
    "failed": "/submissions/{failed}/",
    "succeeded": "/submissions/{succeeded}/",
    "with problems": "/submissions/{problems}/",
    "filtered by a finding": "/submissions/?problems=yes&finding=image-lfs-pointer",
    "retry": "/submissions/{failed}/act/retry/",
    "letter": "/submissions/{failed}/letter/",
    "give": "/submissions/{failed}/act/give/",
    "cancel": "/submissions/{running}/act/cancel/",
    "deliver": "/submissions/{succeeded}/act/deliver/",
    "push": "/submissions/{failed}/act/push/",
    "refused": "/submissions/{failed}/act/cancel/",
    "many": "/submissions/act/?act=retry&id={failed}&id={succeeded}&id={running}",
    "log": "/submissions/{failed}/attempts/1/log/",
    "running log": "/submissions/{running}/attempts/1/log/",
    "running": "/submissions/{running}/",
    "bundle": "/submissions/{succeeded}/attempts/1/exports/1/preview/",
    "article": "/submissions/{succeeded}/attempts/1/exports/1/article/",
    "compare": "/submissions/{succeeded}/compare/",
    "xml": "/submissions/{succeeded}/attempts/1/exports/1/preview/?entry=manifest.xml",
    "json": "/submissions/{succeeded}/attempts/1/exports/2/preview/",
    "queue": "/queue/",
    "pause": "/queue/pause/",
    "drain": "/queue/drain/",
    "resume": "/queue/resume/",
    "overview": "/overview/",
    "failures": "/failures/",
    "group of failures": "/failures/{group}/",
    "filtered by a group": "/submissions/?group={group}",
    "password": "/account/password/",
    "not found": "/nothing/",
    "settings": "/settings/",
    "the API": "/v1/docs",
}
SIZES = {
    "wide": {"width": 1920, "height": 1080},
    "laptop": {"width": 1440, "height": 900},
    "tablet": {"width": 768, "height": 1024},
    "phone": {"width": 360, "height": 720},
}
FINGERPRINT = "from builds.models import Submission\nprint(Submission.objects.get(pk={}).fingerprint)"
CUT_OFF = """
[...document.querySelectorAll('nav a')].filter(link => {
  const { left, right, width } = link.getBoundingClientRect()
  return width && (right > innerWidth || left < 0)
}).map(link => `cut off: ${link.textContent}`)
"""


@pytest.fixture(scope="module")
def submissions(desk: Service) -> Iterator[dict[str, Any]]:
    """One submission of each kind, and the group of the one that failed. The running one is released after the tests."""
    release = desk.gates / "axe.release"
    submit(desk, "axe-failed", "echo 'paper.md:3 It broke' >&2\nexit 3", title="One that failed")
    submit(desk, "axe-succeeded", title="One that succeeded")
    submit(desk, "axe-problems", title="One with problems", **quick.WITHOUT_FIGURE)
    desk.wait("axe-failed", "failed")
    desk.wait("axe-problems", "succeeded")
    desk.wait("axe-succeeded", "succeeded")
    submit(desk, "axe-running", f"until [ -e {release} ]; do sleep 0.1; done", title="One that runs")
    desk.wait("axe-running", "running")
    rows = {name: pk_of(desk, f"axe-{name}") for name in ("failed", "succeeded", "problems", "running")}
    yield {**rows, "group": in_django(desk, FINGERPRINT.format(rows["failed"])).strip()}
    release.touch()
    desk.wait("axe-running", "succeeded")


# Each theme and each size once or twice: contrast depends on the theme, and what fits on the size.
@pytest.mark.parametrize(("theme", "size"), [("light", "wide"), ("dark", "phone"), ("dark", "tablet")])
def test_no_page_has_a_serious_accessibility_problem(submissions: dict[str, Any], open_as: Open, theme: str, size: str) -> None:
    page = open_as("admin", color_scheme=theme, viewport=SIZES[size])
    found = {name: problems for name, address in PAGES.items() if (problems := looked_at(page, address.format(**submissions)))}
    assert found == {}


def looked_at(page: Page, address: str) -> list[str]:
    """The console messages of the page, and what axe finds with all details open."""
    problems: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.endswith(("404 (Not Found)", "403 (Forbidden)")):
            problems.append(message.text)

    page.on("console", listen)
    page.goto(address)
    page.remove_listener("console", listen)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
    problems += serious(page)
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        problems.append("the page is wider than the screen")
    problems += page.evaluate(CUT_OFF)
    return problems


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_for_signed_out_readers_have_none_either(desk: Service, browser: Browser, theme: str) -> None:
    context = browser.new_context(base_url=desk.url, color_scheme="dark" if theme == "dark" else "light")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    assert looked_at(page, "/sign-in/") == []
    page.get_by_label("User name").fill("viewer")
    page.get_by_label("Password").fill(f"not {PASSWORD}")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").wait_for()
    assert serious(page) == []
    assert looked_at(page, "/nothing/") == []
    page.route("**/fault/", lambda route: route.fulfill(status=500, content_type="text/html", body=render_to_string("500.html")))
    page.goto("/fault/")
    assert serious(page) == []
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_of_a_locked_sign_in_has_none(desk: Service, browser: Browser, theme: str) -> None:
    context = browser.new_context(base_url=desk.url, color_scheme="dark" if theme == "dark" else "light")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    for _ in range(5):
        page.goto("/sign-in/")
        page.get_by_label("User name").fill(f"somebody-{theme}")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Sign-in temporarily locked").wait_for()
    assert serious(page) == []
    page.goto("/sign-in/")
    context.clear_cookies()
    page.get_by_label("User name").fill("viewer")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="This page has expired").wait_for()
    assert serious(page) == []
    context.close()


def test_the_403_page_has_none(submissions: dict[str, Any], open_as: Open) -> None:
    page = open_as("viewer")
    assert looked_at(page, "/submissions/{failed}/act/retry/".format(**submissions)) == []
