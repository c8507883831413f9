"""An admin wakes to papers that desci-server did not take during the night, sees why, and delivers them all once it is back."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.browser.stories.keyboard import Keyboard, both_ways, open_page, rows_with, sign_in
from tests.e2e.conftest import Service, in_django
from tests.support.waiting import SECONDS

PAPERS = 25
# The night: each paper was built, and its delivery was tried until the patience was over. One failure is the author's.
NIGHT = """
import logging
from django.db import transaction
from builds import lifecycle
from builds.errors import DesciServerDown
from builds.models import Stage
from tests.support import jats, made

def undelivered(name):
    build = made.running(name, title=f"Tides of {{name}}")
    made.keep(build, 1, "typst", "exports/paper.pdf", b"%PDF-1.7 content")
    made.keep(build, 2, "meca", "exports/paper.meca.zip", jats.meca())
    made.keep(build, 3, "page-content", "index.json", b"{{}}")
    lifecycle.leave_stage(build.stages.get(name="build"), Stage.State.SUCCEEDED)
    made.go_through(build, "collect")
    lifecycle.leave_stage(lifecycle.enter_stage(build, "deliver"), Stage.State.FAILED)
    lifecycle.fail(build, DesciServerDown("desci-server did not accept the files (503 Service Unavailable).").cause, stage="deliver")

logging.disable(logging.INFO)
with transaction.atomic():  # or the service's own worker would take them
    for number in range({papers}):
        undelivered(f"{night}-{{number}}")
    made.failed("{night}-author", title="Tides of {night} without a reference")
"""


@both_ways
def test_all_papers_that_were_not_delivered_are_delivered_at_once(desk: Service, browser: Browser, script: bool) -> None:
    night = "monday" if script else "tuesday"
    jobs = [f"job-{night}-{number}" for number in range(PAPERS)]
    desk.desci.down()
    in_django(desk, NIGHT.format(papers=PAPERS, night=night))
    keys = open_page(browser, desk.url, script=script)
    sign_in(keys, "admin")
    see_why(keys, night)
    desk.desci.up()
    deliver_all(keys, night)
    for job in jobs:
        desk.wait(job, "succeeded")
        check_what_was_received(desk, job)
    keys.link("Needs me")
    expect(rows_with(keys.page, f"Tides of {night}")).to_have_count(1)


def see_why(keys: Keyboard, night: str) -> None:
    """One look at the overview says how many papers, whose fault it is and what happened. The page of each paper says what to do."""
    page = keys.page
    keys.link("Overview")
    group = page.get_by_role("listitem").filter(has_text="desci-server did not accept the files")
    expect(group).to_contain_text("Another service: desci-server-down in deliver")
    expect(group).to_contain_text(f"{PAPERS} submissions to look at")
    keys.link("Submissions")
    keys.link("Needs me")
    why = "Another service: desci-server did not accept the files (503 Service Unavailable)."
    expect(rows_with(page, f"Tides of {night}", why)).to_have_count(PAPERS)
    keys.skip("Skip to main content")
    keys.follow(rows_with(page, why).first.get_by_role("link"))
    cause = page.get_by_role("region", name="Why it failed")
    expect(cause).to_contain_text("The manuscript needs no change. The files are kept; deliver again when desci-server answers.")
    keys.follow(page.get_by_role("navigation", name="Where you are").get_by_role("link", name="Submissions"))


def deliver_all(keys: Keyboard, night: str) -> None:
    page = keys.page
    keys.link("Needs me")
    count = rows_with(page).count()
    keys.skip("Skip to the actions")
    keys.tick(page.get_by_label(f"All {count} that match"))
    keys.button("Deliver again")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Deliver again: {PAPERS} submissions?")
    skipped = page.get_by_role("listitem").filter(has_text=f"Tides of {night} without a reference")
    expect(skipped).to_contain_text("This submission has no kept exports to deliver.")
    keys.write("Why (optional)", "desci-server answers again.")
    keys.button("Deliver again")
    expect(page.get_by_text(f"{PAPERS} submissions: queued for delivery.")).to_be_visible()


def check_what_was_received(desk: Service, job: str) -> None:
    """The files once, and each final status once: of the night's failure, and of the delivery."""
    desci = desk.desci
    desci.wait_for(lambda server: server.statuses(job)[-1:] == ["COMPLETED"], timeout=SECONDS)
    assert [status for status in desci.statuses(job) if status != "IN_PROGRESS"] == ["FAILED", "COMPLETED"]
    [delivery] = desci.deliveries[job]
    assert [part.filename for part in delivery.parts][:1] == ["exports/paper.pdf"]
