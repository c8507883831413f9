"""Untrusted text in a real browser: on no page does it run, open a dialog or send a request."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Dialog, Page

from tests.browser.conftest import Open, pk_of
from tests.e2e.conftest import Service
from tests.e2e.test_stories import submission
from tests.support import quick
from tests.support.nasty import STRINGS

# A log accepts any bytes; a shell argument and a JSON body do not.
OUTPUT = "\n".join(STRINGS).encode("utf-8", "surrogatepass")
JOB = "\"><img src=x onerror=window.ran=1>'"


@pytest.fixture(scope="module")
def job(desk: Service) -> str:
    """A failed build with all the strings in its output and its front matter."""
    encoded = base64.b64encode(OUTPUT).decode()
    desk.archive.add("lab", "nasty", quick.repository(f"base64 -d <<'END'\n{encoded}\nEND\nexit 1"))
    document = {
        "title": " ".join(STRINGS[:9]),
        "authors": [{"name": text[:100], "orcid": text[:40]} for text in STRINGS],
        "keywords": STRINGS,
        "exports": [*quick.EXPORTS, *({"format": text, "output": text} for text in STRINGS[:5])],
    }
    desk.post({**submission(JOB, "lab/nasty"), "parsedDocument": document})
    desk.wait(JOB, "failed")
    return JOB


class Watch:
    """Records everything that a page must not do."""

    def __init__(self, page: Page) -> None:
        self.seen: list[str] = []
        page.on("dialog", self._dialog)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.seen.append(f"error: {error}"))
        page.on("request", lambda request: self._request(page, request.url))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error('CSP violated: ' + e.violatedDirective))"
        )

    def _dialog(self, dialog: Dialog) -> None:
        self.seen.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.seen.append(f"console: {message.text}")

    def _request(self, page: Page, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "data") or (parts.scheme != "data" and parts.hostname != "127.0.0.1"):
            self.seen.append(f"request: {url}")


def test_untrusted_text_runs_on_no_page(open_as: Open, desk: Service, job: str) -> None:
    page = open_as("admin")
    watch = Watch(page)
    own = f"/submissions/{pk_of(desk, job)}/"
    lists = [f"/admin/builds/{name}/" for name in ("submission", "build", "stage", "logbatch", "statusupdate", "event")]
    addresses = ["/submissions/", "/submissions/?q=%3Cscript%3Ewindow.ran%3D1%3C/script%3E", own, f"{own}attempts/1/log/"]
    for address in [
        *addresses,
        *(f"{own}act/{action}/" for action in ("retry", "cancel")),
        f"{own}letter/",
        "/overview/",
        "/queue/",
        "/admin/",
        *lists,
    ]:
        page.goto(address)
        assert page.evaluate("window.ran") is None, address
        assert watch.seen == [], address
    for address in lists:
        page.goto(address)
        page.locator("#result_list tbody tr th a, #result_list tbody tr td a").first.click()
        assert page.evaluate("window.ran") is None, address
        assert watch.seen == [], address


def test_the_watch_would_have_seen_it(open_as: Open, desk: Service) -> None:
    """An injected element with an event handler: the policy forbids it, and the violation is reported."""
    page = open_as("admin")
    watch = Watch(page)
    page.goto("/submissions/")
    element = "<img src=data:, onerror=window.ran=1>"
    with page.expect_console_message(lambda message: "CSP violated: script-src-attr" in message.text):
        page.evaluate(f"document.body.insertAdjacentHTML('beforeend', '{element}')")
    with page.expect_event("dialog"):
        page.evaluate("setTimeout(() => alert('asked'))")
    assert page.evaluate("window.ran") is None
    assert any("CSP violated" in text for text in watch.seen)
    assert "dialog: asked" in watch.seen
