"""The actions on the admin's lists and pages: permissions, confirmation, repetition and refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from builds import lifecycle
from builds.models import Build, Event, StatusUpdate, Submission
from builds.staff.actions import MAX_AT_ONCE
from builds.staff.roles import ADMINS, EDITORS, VIEWERS
from tests.admin.conftest import MakeBuild, claimed, submit
from tests.support import made

Row = Submission | Build | StatusUpdate
ANSWERS: dict[str, dict[str, str]] = {
    "retry": {"mode": "latest", "reason": ""},
    "cancel": {"reason": "Wrong file."},
    "deliver": {"reason": ""},
    "push": {"reason": ""},
    "next": {"reason": ""},
}


def list_of(row: Row) -> str:
    return reverse(f"admin:builds_{row._meta.model_name}_changelist")


def choose(client: Client, act: str, *rows: Row, **more: Any) -> Any:
    """The confirmation page."""
    return client.post(list_of(rows[0]), {"action": act, "_selected_action": [str(row.pk) for row in rows], **more})


def confirm(client: Client, action: str, *rows: Row, **more: Any) -> Any:
    return choose(client, action, *rows, confirmed="yes", **{**ANSWERS[action], **more})


def messages_of(response: Any) -> list[str]:
    """The messages that this request added, without unread messages of earlier requests."""
    storage: Any = get_messages(response.wsgi_request)
    return [str(message) for message in storage._queued_messages]


@pytest.fixture
def staff(db: None) -> Any:
    """Returns a signed-in client of a user with a role who can use the admin."""

    def sign_in(role: str) -> Client:
        user = User.objects.create_user(f"{role}-person", is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        client = Client()
        client.force_login(user)
        return client

    return sign_in


# --- permissions; tests/staff/ tests what happens without them


@pytest.mark.parametrize(("role", "allowed"), [(VIEWERS, []), (EDITORS, list(ANSWERS)[:-1]), (ADMINS, list(ANSWERS))])
def test_a_role_is_offered_the_actions_that_it_may_perform(staff: Any, build: Build, role: str, allowed: list[str]) -> None:
    client, ended = staff(role), {"retry", "deliver", "push"}
    for row in (build, build.submission):
        for page, possible in ((list_of(row), set(allowed)), (change_of(row), ended)):
            text = client.get(page).text
            offered = [action for action in ANSWERS if f'value="{action}"' in text]
            assert offered == [action for action in allowed if action in possible]


def change_of(row: Row) -> str:
    return reverse(f"admin:builds_{row._meta.model_name}_change", args=[row.pk])


# --- confirmation and result


def test_an_action_is_confirmed_before_anything_happens(admin_page: Client, build: Build) -> None:
    events = Event.objects.count()
    text = choose(admin_page, "retry", build.submission).content.decode()
    assert "On builds 1" in text and "This queues a new attempt." in text
    assert re.findall(r'name="mode" value="([\w-]+)"', text) == ["latest", "same-commit", "clean", "deliver"]
    assert f'name="seen-{build.submission_id}" value="1"' in text
    assert Event.objects.count() == events


@pytest.mark.parametrize("mode", ["latest", "same-commit", "clean", "deliver"])
def test_a_retry_has_four_modes(admin_page: Client, build: Build, mode: str) -> None:
    response = confirm(admin_page, "retry", build.submission, mode=mode, reason="Template fixed.")
    assert (response.status_code, messages_of(response)) == (302, ["1 submission: queued for a new attempt."])
    again = build.submission.newest_build()
    assert (again.number, again.mode, again.requested_by) == (2, mode, "root")
    assert list(again.events.values_list("kind", "actor", "reason")) == [(f"retried ({mode})", "root", "Template fixed.")]


def test_a_queued_build_is_built_next(admin_page: Client, build: Build) -> None:
    first, second = submit("2"), submit("3")
    response = confirm(admin_page, "next", second, build.submission)
    assert messages_of(response) == [
        "1 submission: moved to the front of the queue.",
        "On builds 1: It has already ended (failed). Only a queued attempt can be built next.",
    ]
    assert lifecycle.choose() == second.newest_build().pk != first.newest_build().pk


def test_an_action_on_many_rows_reports_each_refusal(admin_page: Client, failed: MakeBuild) -> None:
    rows = [failed("1").submission, failed("2").submission, submit("3")]
    assert messages_of(confirm(admin_page, "retry", *rows)) == [
        "2 submissions: queued for a new attempt.",
        "On builds 3: This submission is already queued or running. Cancel it first, or wait until it ends.",
    ]


def test_a_cancel_needs_a_reason(admin_page: Client) -> None:
    build = claimed(submit())
    response = confirm(admin_page, "cancel", build, reason=" ")
    build.refresh_from_db()
    assert (response.status_code, build.cancel_requested_at) == (400, None)
    assert "Give a reason in a few words." in response.content.decode()
    confirm(admin_page, "cancel", build)
    build.refresh_from_db()
    assert (build.cancel_requested_by, build.cancel_reason) == ("root", "Wrong file.")


def test_an_action_confirmed_twice_happens_once(admin_page: Client, build: Build) -> None:
    seen = {f"seen-{build.submission_id}": "1"}
    confirm(admin_page, "retry", build.submission, **seen)
    second = lifecycle.claim(str(build.submission.newest_build().pk), worker="w")
    assert second is not None
    lifecycle.succeed(second)
    response = confirm(admin_page, "retry", build.submission, **seen)
    assert messages_of(response) == ["On builds 1: root has queued attempt 2 in the meantime. Look at it first."]
    assert build.submission.builds.count() == 2


def test_an_action_applies_to_selected_rows_that_the_filter_no_longer_matches(admin_page: Client, build: Build) -> None:
    submission = build.submission
    address = f"{list_of(submission)}?state__exact=queued"
    response = admin_page.post(
        address, {"action": "retry", "_selected_action": [submission.pk], "confirmed": "1", **ANSWERS["retry"]}
    )
    assert (response.headers["Location"], submission.builds.count()) == (address, 2)


def test_an_action_chosen_on_a_page_returns_to_that_page(admin_page: Client, build: Build) -> None:
    text = choose(admin_page, "retry", build, from_page="yes").content.decode()
    assert f'href="{change_of(build)}"' in text
    assert confirm(admin_page, "retry", build, from_page="yes").headers["Location"] == change_of(build)


def test_status_updates_are_sent_again(admin_page: Client, build: Build) -> None:
    update = build.status_updates.get(status="FAILED")
    StatusUpdate.objects.filter(pk=update.pk).update(next_try_at="2100-01-01 00:00Z")
    assert messages_of(confirm(admin_page, "push", update)) == ["1 submission: sent to desci-server as soon as it answers."]
    update.refresh_from_db()
    assert update.next_try_at.year < 2100
    StatusUpdate.objects.update(state="received", settled_at=update.next_try_at)
    [refusal] = messages_of(confirm(admin_page, "push", update))
    assert "This status update is settled" in refusal


def test_status_updates_offer_only_sending_again(admin_page: Client, build: Build) -> None:
    text = admin_page.get(list_of(build.status_updates.first())).content.decode()  # type: ignore[arg-type]  # there is one
    assert re.findall(r'<option value="(\w+)">', text) == ["push"]


# --- wrong input


@pytest.mark.parametrize(
    "more", [{"select_across": "1"}, {"_selected_action": [str(number) for number in range(MAX_AT_ONCE + 1)]}]
)
def test_an_action_on_too_many_rows_is_refused(admin_page: Client, build: Build, more: Any) -> None:
    response = confirm(admin_page, "retry", build.submission, **more)
    assert messages_of(response) == [f"Select at most {MAX_AT_ONCE} rows at once, each by its check box. Nothing was done."]
    assert build.submission.builds.count() == 1


@pytest.mark.parametrize("wrong", ["abc", "1,2", "", "9" * 30, "-", "1'"])
@pytest.mark.parametrize("more", [{}, {"confirmed": "yes", **ANSWERS["retry"]}])
def test_a_row_that_was_never_in_the_list_is_refused(admin_page: Client, build: Build, wrong: str, more: dict[str, str]) -> None:
    for row in (build, build.submission):
        response = admin_page.post(list_of(row), {"action": "retry", "_selected_action": [str(row.pk), wrong], **more})
        assert messages_of(response) == ["A selected row is not in this list. Nothing was done."]
    assert build.submission.builds.count() == 1


def test_a_message_says_that_the_selected_rows_no_longer_exist(admin_page: Client, build: Build) -> None:
    response = admin_page.post(list_of(build.submission), {"action": "retry", "_selected_action": [build.submission_id + 1]})
    assert messages_of(response) == ["The selected rows no longer exist. Nothing was done."]


def test_an_author_s_text_is_not_markup_on_the_confirmation_page(admin_page: Client, failed: MakeBuild) -> None:
    build = failed(title="<script>alert(1)</script>")
    assert "<script>alert" not in choose(admin_page, "retry", build).content.decode()


def test_the_confirmation_page_needs_the_same_queries_for_any_number_of_rows(admin_page: Client, failed: MakeBuild) -> None:
    rows = [failed(str(number)).submission for number in (1, 2, 3)]
    costs = []
    for chosen in (rows[:1], rows):
        with CaptureQueriesContext(connection) as captured:
            choose(admin_page, "retry", *chosen)
        costs.append(len(captured))
    assert costs[0] == costs[1]


@pytest.mark.parametrize(
    ("claim", "offered"),
    [(False, ["retry"]), (True, ["cancel"])],
    ids=["failed", "running"],
)
def test_the_page_of_a_row_offers_only_what_is_possible(admin_page: Client, claim: bool, offered: list[str]) -> None:
    build = made.running("1") if claim else made.failed("1")
    for model, pk in (("submission", build.submission_id), ("build", build.pk)):
        page = admin_page.get(reverse(f"admin:builds_{model}_change", args=[pk])).text
        shown = re.findall(r'name="action" value="(\w+)"', page)
        assert [name for name in shown if name in ("retry", "cancel")] == offered
