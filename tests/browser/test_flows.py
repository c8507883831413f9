"""The main tasks of staff in a real browser on the real service, with and without scripts."""

from __future__ import annotations

import base64
import io
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE, Open, pk_of, submit
from tests.e2e.conftest import Service, in_django
from tests.e2e.test_faults import not_again, running_with, wait_for_stage
from tests.e2e.test_stories import submission
from tests.support import quick

# An image of one pixel.
DOT = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
BREAKS = "echo 'Something is amiss in paper.md' >&2\nexit 3"
WHERE = """([pointed, grows]) => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(() => resolve({
  top: Math.round(pointed.getBoundingClientRect().top), height: grows.getBoundingClientRect().height
}))))"""
STATE = "[data-part=state] .state"

expect.set_options(timeout=PATIENCE)

both_ways = pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])


def comes_to(page: Page, words: str, *, script: bool) -> None:
    """Wait until the page shows the state: by itself, or without scripts by reloading."""
    state = page.locator(STATE).first
    if not script:
        load_until(page, lambda: state.inner_text() == words)
    expect(state).to_have_text(words)


def load_until(page: Page, holds: Callable[[], bool]) -> None:
    """Reload until the condition holds or the time is over."""
    until = time.monotonic() + PATIENCE / 1000
    while not holds() and time.monotonic() < until:
        page.reload()


@both_ways
def test_an_editor_finds_a_failure_reads_why_and_retries_it(desk: Service, open_as: Open, script: bool) -> None:
    job = f"retried-{script}".lower()
    author = "Zoë Ångström" if script else "Márta Őry"
    release = desk.gates / f"{job}.release"
    waits = f"echo 'the first line'\nuntil [ -e {release} ]; do sleep 0.1; done\necho 'the line after'"
    submit(desk, job, waits, once=BREAKS, title=f"Corals that are {job}", author=author)
    desk.wait(job, "failed")
    not_again(desk, job)
    page = open_as("editor", java_script_enabled=script)
    page.get_by_label("Search").fill("angstrom" if script else "ory")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=f"Corals that are {job}").click()
    cause = page.get_by_role("region", name="Why it failed")
    expect(cause).to_contain_text("ended with exit code")
    expect(cause).not_to_contain_text("Failed to build the repo files")
    expect(cause).to_contain_text("What to do")
    page.get_by_role("link", name="Retry", exact=True).click()
    page.get_by_label("Why (optional)").fill("They have fixed it.")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("Retry: done.")).to_be_visible()
    watch_the_log(page, release, script=script)
    comes_to(page, "succeeded", script=script)
    page.reload()
    expect(page.get_by_role("region", name="History")).to_contain_text("They have fixed it.")
    expect(page.get_by_role("region", name="Status updates sent to desci-server")).to_contain_text("COMPLETED")
    assert len(desk.desci.deliveries[job]) == 1


def watch_the_log(page: Page, release: Path, *, script: bool) -> None:
    """Go from the submission's page to the log and back. A line written in the meantime appears automatically."""
    page.get_by_role("link", name="Log of attempt 2").first.click()
    shown = page.locator("main")
    for line in ("the first line", "the line after"):
        if not script:
            load_until(page, lambda line=line: line in (shown.text_content() or ""))  # type: ignore[misc]  # each its own
        expect(shown).to_contain_text(line)
        release.touch()
    page.go_back()


@both_ways
def test_the_line_of_the_cause_is_marked_and_linked(desk: Service, open_as: Open, script: bool) -> None:
    job = f"marked-{script}".lower()
    noise = "i=0; while [ $i -lt 1500 ]; do echo line $i; i=$((i+1)); done"
    submit(desk, job, f"{noise}\necho '⛔️ paper.md:3 Something is amiss' >&2\n{noise}\nexit 3")
    desk.wait(job, "failed")
    page = open_as("editor", java_script_enabled=script)
    address = f"/submissions/{pk_of(desk, job)}/"
    for way in ("Show line", "Log of attempt 1", "Why it failed"):
        if way != "Why it failed":
            page.goto(address)
        page.get_by_role("link", name=way).first.click()
        cause = page.locator(".line.is-cause")
        expect(cause).to_contain_text("⛔️ paper.md:3 Something is amiss")
        if script or way != "Log of attempt 1":  # without scripts the page starts some lines above it
            expect(cause).to_be_in_viewport()


@both_ways
def test_an_editor_writes_to_the_authors(desk: Service, open_as: Open, script: bool) -> None:
    job = f"written-{script}".lower()
    submit(desk, job, BREAKS, title=f"Corals that are {job}")
    desk.wait(job, "failed")
    page = open_as("editor", java_script_enabled=script)
    page.goto(f"/submissions/{pk_of(desk, job)}/")
    page.get_by_role("link", name="Write to the authors").click()
    letter = page.get_by_label("Letter", exact=True)
    assert "Something is amiss in paper.md" in letter.input_value()
    page.get_by_label("To", exact=True).fill("ada@example.org")
    letter.fill("Dear Ada,\n\nplease see paper.md.\n")
    mail = page.get_by_role("link", name="Open in your mail program")
    if script:
        assert "mailto:ada@example.org?" in (mail.get_attribute("href") or "")
        assert "please%20see%20paper.md" in (mail.get_attribute("href") or "")
        page.get_by_role("button", name="Copy").click()
        expect(page.get_by_role("status").filter(has_text=re.compile("Copied|selected"))).to_be_visible()
    page.get_by_role("button", name="Keep in the history").click()
    expect(page.get_by_text("please see paper.md.")).to_be_visible()
    assert "please%20see%20paper.md" in (mail.get_attribute("href") or "")
    page.get_by_role("link", name="Back to the submission").click()
    page.get_by_role("link", name="Read the letter").click()
    expect(page.get_by_text("please see paper.md.")).to_be_visible()


@both_ways
def test_an_admin_cancels_a_running_build_and_sees_its_end(desk: Service, open_as: Open, script: bool) -> None:
    job = f"cancelled-{script}".lower()
    mark = "3001" if script else "3002"
    # A build that ignores SIGTERM. It lives on for a while until it is killed.
    submit(desk, job, f"trap '' TERM\nsleep 7{mark}")
    desk.wait(job, "running")
    wait_for_stage(desk, mark, 1)
    page = open_as("admin", java_script_enabled=script)
    page.goto(f"/submissions/{pk_of(desk, job)}/")
    page.get_by_role("link", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Yes, cancel").click()
    page.get_by_label("Why").fill("A newer version has come.")
    page.get_by_role("button", name="Yes, cancel").click()
    expect(page.get_by_text("is being stopped; it is shown as cancelled")).to_be_visible()
    comes_to(page, "cancelled", script=script)
    assert running_with(mark) == []
    assert desk.status(job)["state"] == "cancelled"
    page.reload()
    expect(page.get_by_role("region", name="History")).to_contain_text("A newer version has come.")


def test_a_page_that_stays_open_offers_to_put_a_failure_away_and_keeps_a_half_written_note(desk: Service, open_as: Open) -> None:
    job, gate = "stays-open", desk.gates / "stays-open"
    submit(desk, job, f"until [ -e {gate} ]; do sleep 0.1; done; exit 1")
    desk.wait(job, "running")
    page = open_as("editor")
    page.goto(f"/submissions/{pk_of(desk, job)}/")
    handling, note = page.get_by_role("region", name="Handling"), page.get_by_label("Note for the staff")
    expect(handling.get_by_text("It can be put away once its attempt has ended.")).to_be_visible()
    note.fill("Ask Ada")
    gate.touch()
    expect(page.get_by_role("region", name="Why it failed")).to_be_visible()
    expect(note).to_have_value("Ask Ada")
    expect(handling.get_by_role("button", name="Dealt with")).to_have_count(0)
    note.fill("")
    page.get_by_role("heading", level=1).click()
    expect(handling.get_by_role("button", name="Dealt with")).to_be_visible()


@both_ways
def test_a_viewer_sees_everything_and_changes_nothing(desk: Service, open_as: Open, script: bool) -> None:
    job = f"seen-{script}".lower()
    submit(desk, job, BREAKS)
    desk.wait(job, "failed")
    page = open_as("viewer", java_script_enabled=script)
    page.goto(f"/submissions/{pk_of(desk, job)}/")
    expect(page.get_by_role("region", name="Why it failed")).to_be_visible()
    expect(page.get_by_role("link", name="Retry", exact=True)).to_have_count(0)
    page.goto(f"/submissions/{pk_of(desk, job)}/act/retry/")
    expect(page.get_by_role("heading")).to_have_text("Your role does not allow this")
    expect(page.get_by_text("“editors”")).to_be_visible()


@both_ways
def test_many_are_selected_in_the_list_and_retried(desk: Service, open_as: Open, script: bool) -> None:
    word = f"many{script}".lower()
    jobs = [f"{word}-{number}" for number in range(3)]
    for job in jobs:
        submit(desk, job, once=BREAKS, title=f"{word} {job}")
    for job in jobs:
        desk.wait(job, "failed")
        not_again(desk, job)
    page = open_as("editor", java_script_enabled=script)
    page.goto(f"/submissions/?q={word}")
    for job in jobs[:2]:
        page.get_by_label(f"Select {word} {job}").check()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry: 2 submissions?")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("2 submissions: queued for a new attempt.")).to_be_visible()
    assert page.url.endswith(f"/submissions/?q={word}")
    for job in jobs[:2]:
        desk.wait(job, "succeeded")
    assert desk.status(jobs[2])["state"] == "failed"


@both_ways
def test_all_failures_of_a_cause_are_retried_from_the_overview(desk: Service, open_as: Open, script: bool) -> None:
    word = f"alike{script}".lower()
    jobs = [f"{word}-{number}" for number in range(3)]
    for number, job in enumerate(jobs):
        submit(desk, job, once=f"echo 'ValueError: {word} is amiss in paper{number}.md' >&2\nexit 3", title=f"Title of {job}")
    for job in jobs:
        desk.wait(job, "failed")
        not_again(desk, job)
    in_django(desk, "from builds.models import FailureGroup\nFailureGroup.objects.update(fault='service')")
    page = open_as("editor", java_script_enabled=script)
    page.goto("/overview/")
    group = page.get_by_role("listitem").filter(has_text=word)
    expect(group).to_contain_text("3 submissions to look at")
    group.get_by_role("link", name=word).click()
    expect(page.get_by_role("row").filter(has_text="Title of")).to_have_count(3)
    page.go_back()
    group.get_by_role("link", name="Retry all 3").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry: 3 submissions?")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("3 submissions: queued for a new attempt.")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    expect(page.get_by_role("link", name="Retry all 3")).to_have_count(0)
    for job in jobs:
        desk.wait(job, "succeeded")


def test_the_list_updates_in_place_and_a_link_announces_new_ones(desk: Service, open_as: Open) -> None:
    release = desk.gates / "steady.release"
    submit(desk, "steady-1", f"until [ -e {release} ]; do sleep 0.1; done", title="Steady one")
    desk.wait("steady-1", "running")
    page = open_as("viewer")
    page.goto("/submissions/?q=steady")
    row = page.locator(".row", has_text="Steady one")
    expect(row.locator(".state").first).to_have_text("running: build")
    submit(desk, "steady-2", title="Steady two")
    bar = page.get_by_role("link", name="1 new submission")
    expect(bar).to_be_visible()
    expect(page.locator(".row")).to_have_count(1)
    expect(page.locator("#announcer")).to_have_text("1 new submission")
    row.get_by_role("link").focus()
    release.touch()
    expect(row.locator(".state").first).to_have_text("succeeded")
    assert page.evaluate("document.activeElement.textContent") == "Steady one"
    bar.click()
    expect(page.locator(".row")).to_have_count(2)


def test_the_row_under_the_pointer_stays_where_it_is(desk: Service, open_as: Open) -> None:
    release = desk.gates / "still.release"
    for number in range(6):
        submit(desk, f"still-{number}", title=f"Still {number}")
        desk.wait(f"still-{number}", "succeeded")
    submit(desk, "still-fails", f"until [ -e {release} ]; do sleep 0.1; done\n{BREAKS}", title="Still to fail")
    desk.wait("still-fails", "running")
    page = open_as("viewer", viewport={"width": 1000, "height": 500})
    page.goto("/submissions/?q=still")
    fails, pointed = page.locator(".row", has_text="Still to fail"), page.locator(".row", has_text="Still 4")
    page.evaluate("scrollTo(0, 120)")
    pointed.get_by_role("link").hover()
    expect(fails.locator(".state").first).to_have_text("running: build")
    before = page.evaluate(WHERE, [pointed.element_handle(), fails.element_handle()])
    release.touch()
    expect(fails.locator(".row-cause")).to_have_count(1)
    after = page.evaluate(WHERE, [pointed.element_handle(), fails.element_handle()])
    assert (after["top"], after["height"] > before["height"]) == (before["top"], True)


def test_selected_text_stays_until_the_selection_is_cleared(desk: Service, open_as: Open) -> None:
    release = desk.gates / "selected.release"
    submit(desk, "selected", f"until [ -e {release} ]; do sleep 0.1; done\n{BREAKS}", title="To be selected")
    desk.wait("selected", "running")
    page, beside = open_as("viewer"), open_as("viewer")
    page.goto(f"/submissions/{pk_of(desk, 'selected')}/")
    beside.goto("/submissions/?q=selected")
    page.locator("[data-part=timeline] .step-name").first.select_text()
    beside.locator(".row-source").select_text()
    selected = [one.evaluate("getSelection().toString()") for one in (page, beside)]
    assert "main" in selected[1]
    release.touch()
    expect(page.locator(STATE).first).to_have_text("failed")
    expect(beside.locator(".row-state .state").first).to_have_text("failed")
    assert [one.evaluate("getSelection().toString()") for one in (page, beside)] == selected
    expect(page.locator(".step-failed")).to_have_count(0)
    expect(beside.locator(".row-cause")).to_have_count(0)
    for one in (page, beside):
        one.evaluate("getSelection().removeAllRanges()")
    expect(page.locator(".step-failed")).to_have_count(1)
    expect(beside.locator(".row-cause")).to_have_count(1)


def test_a_signed_out_reader_gets_a_message(desk: Service, open_as: Open) -> None:
    page = open_as("viewer")
    page.context.clear_cookies()
    expect(page.locator("body.signed-out")).to_have_count(1)
    expect(page.locator("#announcer")).to_have_text("You are signed out. Reload the page to sign in.")


def test_a_page_that_may_be_out_of_date_says_so(desk: Service, open_as: Open) -> None:
    page = open_as("viewer")
    page.goto("/submissions/")
    page.route("**/live/**", lambda route: route.abort())
    expect(page.locator("body.no-answer")).to_have_count(1)
    expect(page.locator("#announcer")).to_have_text("Jobsite is not responding; retrying. This page may be out of date.")
    page.unroute("**/live/**")
    expect(page.locator("body.no-answer")).to_have_count(0)
    expect(page.locator("#announcer")).to_have_text("Jobsite is responding again.")


@both_ways
def test_an_image_of_a_bundle_is_shown(desk: Service, open_as: Open, script: bool) -> None:
    job = f"pictured-{script}".lower()
    picture = io.BytesIO()
    with zipfile.ZipFile(picture, "w") as archive:
        archive.writestr("manifest.xml", quick.MANIFEST)
        archive.writestr("article.xml", quick.ARTICLE)
        archive.writestr("bundle/index.md", "# Title\n")
        archive.writestr("bundle/figure.png", DOT)
    desk.archive.add("lab", job, quick.repository("", **{"ready/article.zip": picture.getvalue()}))
    desk.post({**submission(job, f"lab/{job}"), "parsedDocument": {"title": job, "exports": quick.EXPORTS}})
    desk.wait(job, "succeeded")
    page = open_as("editor", java_script_enabled=script)
    page.goto(f"/submissions/{pk_of(desk, job)}/")
    page.get_by_role("link", name="Preview").first.click()
    page.get_by_role("link", name="figure.png").click()
    shown = page.get_by_role("img", name="figure.png")
    expect(shown).to_be_visible()
    if script:  # only a script can tell what was drawn
        assert shown.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])") == [1, 1]


def test_everything_can_be_reached_by_keyboard(desk: Service, open_as: Open) -> None:
    submit(desk, "keyboard", BREAKS, title="By the keyboard")
    desk.wait("keyboard", "failed")
    page = open_as("editor")
    page.goto("/submissions/?q=keyboard")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to main content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    seen = []
    while (words := page.evaluate("document.activeElement.textContent")) != "By the keyboard":
        seen.append(words)
        assert len(seen) < 60, seen
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/submissions/*/")
    page.get_by_role("link", name="Retry", exact=True).press("Enter")
    page.get_by_role("button", name="Retry").press("Enter")
    expect(page.get_by_text("Retry: done.")).to_be_visible()
