"""The lists that a person empties: *Needs me* and *Mine*, and how many submissions they have."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.utils import timezone

from builds import lifecycle
from builds.desk.submissions import listing
from builds.desk.submissions.filters import Filters
from builds.models import HandlingState, Mode, Submission
from builds.staff.attention import handled_by, unsettled
from tests.desk.submissions.test_listing import LIST, LIVE, titles
from tests.support import made

NEEDS_ME, MINE = f"{LIST}?view=needs-me", f"{LIST}?view=mine"


def me() -> User:
    return User.objects.get()


def counts(client: Client) -> tuple[str, list[str]]:
    """The page's title, and the numbers on its tabs."""
    page = client.get(LIST).text
    return page.partition("<title>")[2].partition(" ·")[0], re.findall(r'class="count"[^>]*>([^<]*)', page)


def test_the_tabs_and_the_title_count_what_is_left(editor: Client) -> None:
    assert counts(editor) == ("Submissions", ["", ""])
    failure = made.failed("1").submission
    made.refused(made.succeeded("2"))
    lifecycle.take(failure, me())
    assert counts(editor) == ("(2) Submissions", ["2", "1"])
    assert editor.get(LIVE, {"shown": "1"}).json()["counts"] == {"needs-me": "2", "mine": "1"}
    lifecycle.put_away(failure, HandlingState.DONE, actor="ann")
    assert counts(editor) == ("(1) Submissions", ["1", ""])


def test_a_large_pile_is_not_counted_to_its_end(editor: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_COUNTED", 2)
    for name in ("1", "2", "3"):
        lifecycle.take(made.failed(name).submission, me())
    assert counts(editor) == ("(1+) Submissions", ["1+", "1+"])


@pytest.mark.parametrize("why", [HandlingState.WAITING, HandlingState.ASIDE, HandlingState.DONE])
def test_what_is_put_away_leaves_needs_me_whatever_is_wrong_with_it(editor: Client, why: HandlingState) -> None:
    made.refused(made.succeeded("refused"))
    made.failed("failed")
    until = timezone.now().date() + timedelta(days=2) if why == HandlingState.ASIDE else None
    assert titles(editor, NEEDS_ME) == ["On builds failed", "On builds refused"]
    for submission in Submission.objects.all():
        lifecycle.take(submission, me())
        lifecycle.put_away(submission, why, actor="ann", until=until)
    assert titles(editor, NEEDS_ME) == []
    assert len(titles(editor, MINE)) == (0 if why == HandlingState.DONE else 2)
    assert "state-waiting" in editor.get(LIST).text


def test_a_failure_leaves_once_a_later_submission_of_its_node_succeeds(editor: Client) -> None:
    made.failed("1", node="node-x.")
    later = made.running("2", node="node-x.")
    assert titles(editor, NEEDS_ME) == ["On builds 1"]
    made.delivered(later)
    assert titles(editor, NEEDS_ME) == []
    assert "a later submission succeeded" in editor.get(LIST).text


def test_a_retry_that_fails_is_back(editor: Client) -> None:
    submission = made.failed("1").submission
    lifecycle.put_away(submission, HandlingState.DONE, actor="ann")
    lifecycle.retry(submission, Mode.LATEST, actor="ann")
    lifecycle.fail(made.started(submission), made.CAUSE)
    assert titles(editor, NEEDS_ME) == ["On builds 1"]


def test_mine_has_only_what_i_handle(editor: Client) -> None:
    ben, mine, other = User.objects.create_user("ben"), made.failed("mine").submission, made.failed("other").submission
    lifecycle.take(mine, User.objects.exclude(pk=ben.pk).get())
    lifecycle.take(other, ben)
    assert titles(editor, MINE) == ["On builds mine"]
    assert titles(editor, f"{MINE}&state=succeeded") == []
    page = editor.get(LIST).text
    assert "handled by <bdi>ben</bdi>" in page
    assert "You are not handling anything" not in page


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL plans by what is in the tables, and here they are empty")
@pytest.mark.django_db
def test_the_lists_are_read_from_their_indexes() -> None:
    user = User.objects.create_user("ann")
    failures = unsettled().order_by("-pk").values_list("pk", flat=True)[:50].explain()
    mine = handled_by(user).order_by("-submission").values_list("submission", flat=True)[:50].explain()
    for query, index in {
        "subject=Reefs": "submission_subject",
        "subject=none++given": "submission_no_subject",
        "state=failed&cause=worker-lost": "submission_cause",
    }.items():
        plan = Filters(QueryDict(query), user)._parts()[0].order_by("-pk").values_list("pk", flat=True)[:50].explain()
        assert f"INDEX {index}" in plan
    assert ("submission_needs_me" in failures, "handling_mine" in mine) == (True, True)
    assert "TEMP B-TREE" not in failures + mine


def test_a_letter_can_wait_for_the_author_in_the_same_step(editor: Client) -> None:
    build = made.failed()
    address = f"/submissions/{build.submission_id}/letter/"
    assert re.search(r'name="wait"[^>]* checked', editor.get(address).text)
    assert not re.search(r'name="wait"[^>]* checked', editor.get(address, {"kind": "delayed"}).text)
    letter = {"recipients": "", "subject": "Your manuscript", "text": "Dear Ada", "keep": "1"}
    editor.post(address, letter)
    assert titles(editor, NEEDS_ME) == ["On builds 1"]
    editor.post(address, {**letter, "wait": "on"})
    assert titles(editor, NEEDS_ME) == []
    assert list(build.submission.events.values_list("kind", flat=True))[-2:] == ["waiting for the author", "letter written"]


def test_a_letter_does_not_wait_while_an_attempt_runs(editor: Client) -> None:
    build = made.failed()
    lifecycle.retry(build.submission, Mode.LATEST, actor="ann")
    address = f"/submissions/{build.submission_id}/letter/"
    assert 'name="wait"' not in editor.get(address).text
    page = editor.post(address, {"recipients": "", "subject": "Yours", "text": "Dear Ada", "keep": "1", "wait": "on"}).text
    assert "It is still queued." in page
    assert not build.submission.events.filter(kind="letter written").exists()
