"""No page shifts while it loads: what a reader is about to press stays where it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import PASSWORD, Open, pk_of, submit
from tests.e2e.conftest import Service, in_django

# What browsers call good (Cumulative Layout Shift).
MAX_SHIFT = 0.1
LINES = 3000
MAKE_ROOT = "from django.contrib.auth.models import User\nUser.objects.create_superuser('root', password={password!r})"
# The sum of all shifts since the page began to load. Two frames after everything has loaded, nothing is left to come.
MEASURE = """
async () => {
  let sum = 0
  const sources = []
  new PerformanceObserver(list => {
    for (const entry of list.getEntries()) {
      sum += entry.value
      sources.push(...entry.sources.map(source => `${source.node?.nodeName} ${source.node?.id || source.node?.className}`))
    }
  }).observe({ type: 'layout-shift', buffered: true })
  for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame)
  await new Promise(resolve => setTimeout(resolve, 300))
  return [sum, sources]
}
"""
# Where the first part is, with the rest of the page and without it.
PLACES = """
() => {
  const [first, rest] = document.querySelectorAll('.two > .beside')
  const place = () => { const { x, y, width } = first.getBoundingClientRect(); return [x, y, width] }
  const whole = place()
  rest.remove()
  return [whole, place()]
}
"""


@pytest.fixture(scope="module")
def built(desk: Service) -> Iterator[int]:
    """A submission with a long log, and with others beside it."""
    for number in range(3):
        submit(desk, f"shift-{number}", f"seq {LINES if number == 0 else 10}")
    for number in range(3):
        desk.wait(f"shift-{number}", "succeeded")
    in_django(desk, MAKE_ROOT.format(password=PASSWORD))
    yield pk_of(desk, "shift-0")


@pytest.mark.parametrize("width", [1440, 390])
def test_no_page_shifts_while_it_loads(open_as: Open, built: int, width: int) -> None:
    page = open_as("root", viewport={"width": width, "height": 900})
    pages = [
        "/submissions/",
        f"/submissions/{built}/",
        f"/submissions/{built}/attempts/1/log/",
        f"/submissions/{built}/attempts/1/log/?at={LINES // 2}#L{LINES // 2}",
        f"/submissions/{built}/attempts/1/log/#L{LINES - 10}",
        "/queue/",
        "/overview/",
        "/admin/",
        "/admin/builds/submission/",
        "/admin/builds/build/",
        f"/admin/builds/submission/{built}/change/",
    ]
    shifted = {address: shift_of(page, address) for address in pages}

    assert {address: shift for address, shift in shifted.items() if shift[0] > MAX_SHIFT} == {}


@pytest.mark.parametrize("width", [1440, 390])
def test_the_state_of_a_submission_does_not_move_when_the_rest_of_the_page_comes(open_as: Open, built: int, width: int) -> None:
    """Over a slow network, a browser shows the beginning of a page first."""
    page = open_as("root", viewport={"width": width, "height": 900})
    page.goto(f"/submissions/{built}/")
    whole, alone = page.evaluate(PLACES)
    assert alone == whole


def shift_of(page: Page, address: str) -> tuple[float, list[str]]:
    page.goto("about:blank")
    page.goto(address, wait_until="load")
    total, sources = page.evaluate(MEASURE)
    return round(total, 3), sources[:10]
