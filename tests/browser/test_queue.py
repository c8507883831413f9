"""The queue page in a real browser with real workers: an admin pauses and resumes while a viewer watches."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import PATIENCE, Open, submit
from tests.e2e.conftest import Service

expect.set_options(timeout=PATIENCE)


def test_a_pause_is_seen_by_other_readers_and_holds_builds_back(desk: Service, open_as: Open) -> None:
    watching, acting = open_as("viewer"), open_as("admin")
    watching.goto("/queue/")
    expect(watching.get_by_role("region", name="Workers")).to_contain_text("idle")
    heading = watching.get_by_role("heading", name="Running").element_handle()
    acting.goto("/queue/")
    acting.get_by_role("link", name="Pause").click()
    acting.get_by_label("Reason").fill("New templates.")
    acting.get_by_role("button", name="Pause the queue").click()
    expect(acting.get_by_text("No build starts until it is resumed.")).to_be_visible()
    expect(watching.get_by_text("New templates.").first).to_be_visible()
    submit(desk, "held-back", title="Held back")
    expect(watching.get_by_role("region", name="Waiting")).to_contain_text("The queue is paused.")
    assert desk.status("held-back")["state"] == "queued"
    acting.get_by_role("link", name="Resume").click()
    acting.get_by_role("button", name="Resume the queue").click()
    desk.wait("held-back", "succeeded")
    expect(watching.get_by_role("region", name="Waiting")).to_contain_text("Nothing is waiting.")
    assert heading.evaluate("heading => heading.isConnected"), "what has not changed was not touched"
