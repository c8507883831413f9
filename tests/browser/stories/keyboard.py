"""A person without a mouse, for the stories: Tab moves the focus to a control, and Enter, Space or typing use it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import PASSWORD, PATIENCE

# A person who has to press Tab more often than this gives up.
MAX_TABS = 60
HAS_FOCUS = "element => element === document.activeElement"

both_ways = pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
expect.set_options(timeout=PATIENCE)


class Keyboard:
    """The keyboard of one page. ``followed`` has the names of the links and buttons that led to another page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.followed: list[str] = []

    def reach(self, control: Locator) -> None:
        """Press Tab until ``control`` has the focus."""
        expect(control).to_be_visible()
        expect(control).to_be_enabled()
        for _ in range(MAX_TABS):
            if control.evaluate(HAS_FOCUS):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"{control} is not reached with {MAX_TABS} Tabs from where the focus was")

    def skip(self, words: str) -> None:
        """Use a link that skips a part of the page. It is shown only while it has the focus."""
        link = self.page.get_by_role("link", name=words)
        self.reach(link)
        expect(link).to_be_in_viewport()
        self.page.keyboard.press("Enter")

    def follow(self, control: Locator) -> None:
        """Press Enter on a link or button that leads to another page."""
        self.reach(control)
        name = control.inner_text().strip()
        self.press_enter()
        self.followed.append(name)

    def press_enter(self) -> None:
        with self.page.expect_navigation(timeout=PATIENCE):
            self.page.keyboard.press("Enter")

    def link(self, name: str) -> None:
        self.follow(self.page.get_by_role("link", name=name))

    def button(self, name: str) -> None:
        self.follow(self.page.get_by_role("button", name=name, exact=True))

    def tick(self, box: Locator) -> None:
        self.reach(box)
        self.page.keyboard.press("Space")
        expect(box).to_be_checked()

    def write(self, field: str, text: str) -> None:
        """Replace what stands in the field with this label."""
        control = self.page.get_by_label(field, exact=True)
        self.reach(control)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)
        expect(control).to_have_value(text)


def open_page(browser: Browser, address: str, *, script: bool) -> Keyboard:
    """Open an address in a browser of its own, with scripts or without."""
    context = browser.new_context(java_script_enabled=script)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(address)
    return Keyboard(page)


def sign_in(keys: Keyboard, person: str, password: str = PASSWORD) -> None:
    keys.write("User name", person)
    keys.write("Password", password)
    keys.button("Sign in")


def rows_with(page: Page, *words: str) -> Locator:
    """The rows of the list of submissions that have all of these words."""
    rows = page.locator(".row")
    for each in words:
        rows = rows.filter(has_text=each)
    return rows
