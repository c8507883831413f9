"""An editor finds a paper that succeeded without one of its figures, reads it, writes to the author, and is done when the author is."""

from __future__ import annotations

import json

from playwright.sync_api import Browser, expect

from tests.browser.conftest import submit
from tests.browser.stories.keyboard import Keyboard, both_ways, open_page, rows_with, sign_in
from tests.browser.test_flows import BREAKS, DOT
from tests.e2e.conftest import Service
from tests.support import jats, quick

BODY = """<sec><title>The gauge</title><p>We read the gauge of the harbour for a year.</p>
<fig id="fig-1"><label>Figure 1:</label><caption><p>The gauge.</p></caption><alt-text>The gauge</alt-text>
<graphic xlink:href="files/fig.png"/></fig></sec>"""
MARKDOWN = "# The gauge\n\nWe read the gauge of the harbour for a year.\n\n![The gauge](fig.png)\n"
FILES: dict[str, str | bytes] = {"index.md": MARKDOWN, "ready/article.zip": jats.meca(jats.article(BODY, ""))}


@both_ways
def test_a_paper_without_a_figure_is_off_the_editor_s_lists_once_its_author_has_fixed_it(
    desk: Service, browser: Browser, script: bool
) -> None:
    author, word = ("Zoë Ångström", "angstrom") if script else ("Márta Őry", "ory")
    paper = Paper(desk, author, f"tides-{word}")
    paper.submit(fig=quick.POINTER)
    paper.wait("succeeded")
    keys = open_page(browser, desk.url, script=script)
    sign_in(keys, "editor")
    find_the_paper(keys, paper, word)
    read_it_and_write(keys, script=script)
    assert show(keys, "Mine", paper) == ["succeeded, with 1 problem", "waiting for the author"]
    paper.submit(fig=quick.POINTER, make=BREAKS)
    paper.wait("failed")
    assert show(keys, "Needs me", paper) == ["failed"]
    paper.submit(fig=DOT)
    paper.wait("succeeded")
    assert show(keys, "Needs me", paper) == []
    assert show(keys, "Mine", paper) == ["succeeded"]
    read_the_last_one(keys, paper)
    assert show(keys, "Mine", paper) == []


class Paper:
    """A manuscript that its author submits as often as it takes, for one node."""

    def __init__(self, desk: Service, author: str, node: str) -> None:
        self._desk, self._author, self._node = desk, author, node
        self.title = f"Tides that {author} read"
        self._times = 0

    def submit(self, *, fig: str | bytes, make: str = "") -> None:
        self._times += 1
        page = json.dumps({"kind": "Article", "frontmatter": {"title": self.title}})
        files: dict[str, str | bytes] = {**FILES, "fig.png": fig, "ready/index.json": page}
        node = f"{self._node}."
        submit(self._desk, self._job, make, once="", title=self.title, author=self._author, node=node, **files)

    @property
    def _job(self) -> str:
        return f"{self._node}-{self._times}"

    def wait(self, state: str) -> None:
        self._desk.wait(self._job, state)


def find_the_paper(keys: Keyboard, paper: Paper, word: str) -> None:
    """She knows a name and that something is missing."""
    keys.link("With problems")
    keys.write("Search", word)
    keys.press_enter()
    row = rows_with(keys.page, paper.title)
    expect(row).to_contain_text("fig.png")
    keys.follow(row.get_by_role("link"))


def read_it_and_write(keys: Keyboard, *, script: bool) -> None:
    page = keys.page
    keys.button("Take it")
    expect(page.get_by_text("Take it: done. editor handles it.")).to_be_visible()
    keys.link("Read the article")
    expect(page.get_by_role("article")).to_contain_text("We read the gauge of the harbour for a year.")
    expect(page.get_by_role("region", name="1 problem of this attempt")).to_contain_text("fig.png")
    keys.link("Write to the authors")
    keys.write("To", "author@example.org")
    letter = page.get_by_label("Letter", exact=True).input_value()
    assert "fig.png" in letter
    assert "What to do:" in letter
    expect(page.get_by_label("Wait for the author")).to_be_checked()
    for words in ("Copy", "Open in your mail program"):  # they need a script
        expect(page.get_by_text(words, exact=True)).to_be_visible(visible=script)
    keys.button("Keep in the history")
    expect(page.get_by_text("To: author@example.org")).to_be_visible()
    keys.link("Back to the submission")
    expect(page.get_by_role("region", name="Handling")).to_contain_text("waiting for the author")


def show(keys: Keyboard, tab: str, paper: Paper) -> list[str]:
    """Open a tab of the list, from any page. Returns the states that it shows of the paper's submissions."""
    tabs = keys.page.get_by_role("navigation", name="Saved views")
    if not tabs.count():
        keys.follow(keys.page.get_by_role("navigation", name="Main").get_by_role("link", name="Submissions"))
    keys.follow(tabs.get_by_role("link", name=tab))
    expect(keys.page.get_by_role("link", name=tab)).to_have_attribute("aria-current", "page")
    return [words.strip() for words in rows_with(keys.page, paper.title).locator(".state").all_inner_texts()]


def read_the_last_one(keys: Keyboard, paper: Paper) -> None:
    keys.follow(rows_with(keys.page, paper.title).get_by_role("link"))
    expect(keys.page.get_by_role("region", name="State")).to_contain_text("succeeded")
    keys.link("Read the article")
    expect(keys.page.get_by_role("img", name="The gauge")).to_be_visible()
    expect(keys.page.get_by_role("region", name="problem")).to_have_count(0)
    keys.link(paper.title)
    keys.button("Dealt with")
