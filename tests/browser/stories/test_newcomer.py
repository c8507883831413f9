"""A newcomer gets from ``make run`` to the first PDF in two clicks: from the link that it prints, or from the address after signing in."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.stories.keyboard import both_ways, open_page, sign_in
from tests.e2e.conftest import BASE_DIR, STOP_SECONDS
from tests.support.ports import free_port
from tests.support.waiting import wait_until

TITLE = "How Many Workers Does a Build Queue for Reproducible Manuscripts Need?"
ADDRESS = re.compile(r"Jobsite runs at (\S+)\n  sign in there as (\S+), password (\S+)")
PAPER = re.compile(r"the sample manuscript has succeeded: (\S+)")


@dataclass(frozen=True)
class Welcome:
    """What ``make run`` prints."""

    address: str
    person: str
    password: str
    paper: str


@pytest.fixture(scope="module")
def welcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Welcome]:
    folder = tmp_path_factory.mktemp("newcomer")
    printed = folder / "printed.txt"
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "DATA_DIR": str(folder / "data"), "PORT": str(free_port())}
    environment |= {"BUILD_DOI_URL": "no", "STOP_GRACE": "1"}  # nothing outside this machine is asked
    with printed.open("wb") as output:
        # As `make run` starts it.
        command = [sys.executable, "-m", "jobsite.demo"]
        process = subprocess.Popen(command, cwd=BASE_DIR, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_until(lambda: PAPER.search(printed.read_text()) or process.poll() is not None, printed.read_text)
        yield read_welcome(printed)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_SECONDS)


def read_welcome(printed: Path) -> Welcome:
    text = printed.read_text()
    address, paper = ADDRESS.search(text), PAPER.search(text)
    assert address, text[-4000:]
    assert paper, text[-4000:]
    return Welcome(address[1], address[2], address[3], paper[1])


@both_ways
def test_the_printed_link_leads_to_the_pdf_in_two_clicks(welcome: Welcome, browser: Browser, script: bool) -> None:
    keys = open_page(browser, welcome.paper, script=script)
    sign_in(keys, welcome.person, welcome.password)
    keys.link("Read the PDF")
    assert keys.followed == ["Sign in", "Read the PDF"]
    frame = keys.page.locator("iframe.pdf")
    expect(frame).to_be_visible()
    answer = keys.page.request.get(f"{welcome.address}{frame.get_attribute('src')}")
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.body().startswith(b"%PDF-")


@both_ways
def test_the_address_leads_to_the_pdf_in_two_clicks_after_signing_in(welcome: Welcome, browser: Browser, script: bool) -> None:
    keys = open_page(browser, welcome.address, script=script)
    sign_in(keys, welcome.person, welcome.password)
    keys.link(TITLE)
    keys.link("Read the PDF")
    assert keys.followed == ["Sign in", TITLE, "Read the PDF"]
    expect(keys.page.locator("iframe.pdf")).to_be_visible()
