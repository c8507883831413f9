"""Actions on one submission and on many: confirmed first, performed once, refused with a reason."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from builds import lifecycle
from builds.models import Build, Event, Mode, State, StatusUpdate, Submission
from builds.staff.roles import ADMINS, EDITORS, VIEWERS
from tests.desk.conftest import SignIn
from tests.support import made


def ask(client: Client, build: Build, name: str) -> dict[str, Any]:
    """The hidden fields of the confirmation page."""
    page = client.get(f"/submissions/{build.submission_id}/act/{name}/")
    assert page.status_code == 200
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))


def act(client: Client, build: Build, name: str, fields: dict[str, Any] | None = None, **answer: str) -> str:
    """Press the button of the confirmation page. Returns the page that follows."""
    asked = ask(client, build, name) if fields is None else fields
    reply = client.post(f"/submissions/{build.submission_id}/act/{name}/", {**asked, **answer}, follow=True)
    return reply.text


@pytest.mark.parametrize("mode", ["latest", "same-commit", "clean", "deliver"])
def test_an_editor_retries_in_each_mode(editor: Client, mode: str) -> None:
    build = made.succeeded()
    page = act(editor, build, "retry", mode=mode, reason="Once more.")
    assert "Retry: done. Attempt 2 waits for a worker." in page
    newest = build.submission.newest_build()
    assert (newest.number, newest.mode, newest.requested_by) == (2, mode, "editors-0")
    assert Event.objects.latest("id").reason == "Once more."


def test_a_retry_without_kept_files_is_refused_with_a_reason(editor: Client) -> None:
    build = made.failed()
    assert "This submission has no kept exports to deliver" in act(editor, build, "retry", mode="deliver", reason="")
    assert "This submission has no kept exports" in act(editor, build, "deliver", reason="")
    assert build.submission.builds.count() == 1


def test_a_queued_build_is_cancelled_at_once_with_a_reason(editor: Client) -> None:
    build = made.submitted().newest_build()
    page = act(editor, build, "cancel", reason="A mistake.")
    assert "Cancel: done. Attempt 1 is cancelled." in page
    build.refresh_from_db()
    assert (build.state, build.cancel_requested_by, build.cancel_reason) == (State.CANCELLED, "editors-0", "A mistake.")


def test_a_cancel_without_a_reason_asks_for_one(editor: Client) -> None:
    build = made.running()
    answer = editor.post(f"/submissions/{build.submission_id}/act/cancel/", {**ask(editor, build, "cancel"), "reason": " "})
    assert answer.status_code == 400
    assert "Give a reason in a few words." in answer.text
    build.refresh_from_db()
    assert build.cancel_requested_at is None


def test_cancelling_a_running_build_only_requests_its_end(editor: Client) -> None:
    build = made.running()
    page = act(editor, build, "cancel", reason="A mistake.")
    assert "is being stopped; it is shown as cancelled once none of its processes runs" in page
    build.refresh_from_db()
    assert build.state == State.RUNNING


def test_a_second_press_has_no_effect(editor: Client) -> None:
    build = made.failed()
    asked = ask(editor, build, "retry")
    act(editor, build, "retry", asked, mode="latest", reason="")
    page = act(editor, build, "retry", asked, mode="latest", reason="")
    assert "editors-0 has queued attempt 2 in the meantime. Look at it first." in page
    assert build.submission.builds.count() == 2


def test_the_same_action_of_two_people_happens_once(editor: Client, admin: Client) -> None:
    build = made.failed()
    asked = [ask(client, build, "retry") for client in (editor, admin)]
    act(editor, build, "retry", asked[0], mode="latest", reason="")
    again = made.started(build.submission)
    lifecycle.fail(again, made.CAUSE)
    page = act(admin, build, "retry", asked[1], mode="latest", reason="")
    assert "editors-0 has queued attempt 2 in the meantime." in page
    assert build.submission.builds.count() == 2


def test_two_people_cancel_only_once(editor: Client, admin: Client) -> None:
    build = made.running()
    asked = ask(admin, build, "cancel")
    act(editor, build, "cancel", reason="mine")
    page = act(admin, build, "cancel", asked, reason="mine too")
    assert "editors-0 is already cancelling it." in page
    assert Event.objects.filter(kind="cancel requested").count() == 1


def test_a_status_update_is_sent_again_now(editor: Client) -> None:
    build = made.failed()
    made.refused(build)
    page = act(editor, build, "push", reason="")
    assert "Send status update again: done. desci-server gets the update as soon as it answers." in page
    assert Event.objects.latest("id").kind == "status update pushed"
    assert "This update is already being sent; waiting for desci-server to answer." in act(editor, build, "push", reason="")
    assert Event.objects.filter(kind="status update pushed").count() == 1
    StatusUpdate.objects.update(state="received", settled_at=build.finished_at)
    assert "Every status update is settled" in editor.get(f"/submissions/{build.submission_id}/act/push/").text


@pytest.mark.parametrize("name", ["retry", "deliver"])
def test_a_running_attempt_is_not_retried(editor: Client, name: str) -> None:
    build = made.running()
    page = editor.get(f"/submissions/{build.submission_id}/act/{name}/").text
    assert "It is already running. Cancel it first, or wait until it ends." in page
    assert '<form method="post" class="stack">' not in page
    fields = {"seen": f"{build.submission_id}:1", "mode": "latest", "reason": ""}
    assert "already queued or running" in act(editor, build, name, fields)


def test_an_ended_attempt_is_not_cancelled(editor: Client) -> None:
    build = made.failed()
    assert "It has already ended (failed); there is nothing to cancel." in act(editor, build, "cancel", {}, reason="r")


def test_the_page_offers_only_possible_actions(editor: Client, viewer: Client) -> None:
    def offered(client: Client, build: Build) -> list[str]:
        page = client.get(f"/submissions/{build.submission_id}/").text
        state = page.partition('data-part="state"')[2].partition('data-part="exports"')[0]
        return re.findall(rf"/submissions/{build.submission_id}/act/(\w+)/", state)

    runs, ended, done = made.running("1"), made.failed("2"), made.succeeded("3")
    made.refused(ended)
    assert (offered(editor, runs), offered(editor, ended)) == (["cancel"], ["retry", "push"])
    assert offered(editor, done) == ["retry", "deliver"]
    assert (offered(viewer, runs), offered(viewer, ended)) == ([], [])


def test_a_retry_offers_only_possible_modes(editor: Client) -> None:
    def modes(build: Build) -> list[str]:
        page = editor.get(f"/submissions/{build.submission_id}/act/retry/").text
        return re.findall(r'name="mode" value="([\w-]+)"', page)

    assert modes(made.succeeded("1")) == ["latest", "same-commit", "clean", "deliver"]
    assert modes(made.failed("2")) == ["latest", "same-commit", "clean"]
    waits = made.submitted("3").newest_build()
    lifecycle.request_cancel(waits, actor="an editor", reason="Twice.")
    assert modes(waits) == ["latest", "clean"]


# --- on many


def many(client: Client, name: str, *builds: Build, **answer: str) -> str:
    """Select in the list, confirm, and return to the list."""
    address = "/submissions/act/"
    page = client.get(
        address,
        {"act": name, "id": [str(build.submission_id) for build in builds]},
        headers={"referer": "http://testserver/submissions/?state=failed"},
    )
    fields: dict[str, Any] = {}
    for field, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text):
        fields.setdefault(field, []).append(value)
    reply = client.post(address, {**fields, **answer}, follow=True)
    assert reply.redirect_chain == [("/submissions/?state=failed", 302)]
    return reply.text


def test_many_are_retried_and_refused_ones_are_skipped(editor: Client) -> None:
    builds = [made.failed("1"), made.running("2"), made.failed("3")]
    page = many(editor, "retry", *builds, mode="latest", reason="All of them.")
    assert "2 submissions: queued for a new attempt." in page
    assert [build.submission.newest_build().number for build in builds] == [2, 1, 2]


def test_a_submission_that_changed_in_the_meantime_is_named(editor: Client) -> None:
    first, second = made.failed("1"), made.failed("2")
    fields = {"act": "retry", "id": [first.submission_id, second.submission_id], "mode": "latest", "reason": ""}
    seen = {"seen": [f"{first.submission_id}:1", f"{second.submission_id}:1"]}
    lifecycle.retry(second.submission, Mode.LATEST, actor="the API")
    page = editor.post("/submissions/act/", {**fields, **seen}, follow=True).text
    assert "On builds 2: the API has queued attempt 2 in the meantime. Look at it first. Nothing was changed." in page
    assert "Retry: done. Attempt 2 waits for a worker." in page


def test_selecting_none_or_too_many_is_refused(editor: Client) -> None:
    assert "Select a submission first" in editor.get("/submissions/act/?act=retry", follow=True).text
    ids = "".join(f"&id={number}" for number in range(1, 300))
    assert "Select at most 200" in editor.get(f"/submissions/act/?act=retry{ids}", follow=True).text


def test_it_never_redirects_to_another_site(editor: Client) -> None:
    build = made.failed()
    answer = editor.post(
        "/submissions/act/",
        {"act": "cancel", "id": build.submission_id, "reason": "r", "back": "https://evil.example/submissions/"},
    )
    assert answer["Location"] == "/submissions/"


def test_an_unknown_submission_or_action_is_not_found(editor: Client) -> None:
    assert editor.get("/submissions/99/act/retry/").status_code == 404
    made.submitted()
    assert editor.get(f"/submissions/{Submission.objects.get().pk}/act/explode/").status_code == 404


# --- permissions: tests/staff/test_rights.py tests each action on each surface


@pytest.mark.parametrize(("role", "missing"), [("", "viewers"), (VIEWERS, "editors")])
def test_a_refusal_names_the_role_that_is_needed(sign_in: SignIn, role: str, missing: str) -> None:
    build = made.failed()
    assert f"You need the role “{missing}” for this." in sign_in(role).get(f"/submissions/{build.submission_id}/act/retry/").text


# The roles that may open each page.
PAGES = {
    "/submissions/": {VIEWERS, EDITORS, ADMINS},
    "/queue/": {VIEWERS, EDITORS, ADMINS},
    "/overview/": {VIEWERS, EDITORS, ADMINS},
    "/settings/": {ADMINS},
}


@pytest.mark.parametrize("role", ["", VIEWERS, EDITORS, ADMINS])
@pytest.mark.parametrize("page", PAGES)
def test_each_role_sees_its_own_pages(sign_in: SignIn, role: str, page: str) -> None:
    client, may = sign_in(role), role in PAGES[page]
    assert client.get(page).status_code == (200 if may else 403)
    assert client.post(page).status_code == 405
    if role:
        assert (f'href="{page}"' in client.get("/submissions/").text) == may
