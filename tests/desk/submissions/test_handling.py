"""The card *Handling* on the page of a submission: notes, who handles it, and putting it away."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from builds import lifecycle
from builds.desk.submissions import actions, detail, handling, listing
from builds.models import Event, Handling, HandlingState, Mode, Submission
from tests.support import made

TODAY = timezone.now().date()


@pytest.fixture
def failure(db: None) -> Submission:
    return made.failed().submission


def act(client: Client, submission: Submission, name: str, **answer: str) -> str:
    """The page after the action."""
    return unescape(client.post(f"/submissions/{submission.pk}/act/{name}/", answer, follow=True).text)


def card(client: Client, submission: Submission) -> str:
    page = client.get(f"/submissions/{submission.pk}/").text
    found = re.search(r'<section class="card handling".*?</section>', page, re.DOTALL)
    assert found
    return unescape(re.sub(r"\s+", " ", found[0]))


def test_a_person_takes_it_gives_it_away_and_another_drops_it(editor: Client, failure: Submission) -> None:
    assert "<dd>nobody</dd>" in card(editor, failure)
    assert "Take it: done. editors-0 handles it." in act(editor, failure, "take")
    assert "editors-0 is already handling it." in act(editor, failure, "take")
    admin = User.objects.create_superuser("ben")
    User.objects.create_user("viewer")
    choices = editor.get(f"/submissions/{failure.pk}/act/give/").text
    assert (">ben<" in choices, ">viewer<" in choices) == (True, False)
    act(editor, failure, "give", user=str(admin.pk))
    assert "<bdi>ben</bdi>" in card(editor, failure)
    act(editor, failure, "drop")
    assert "<dd>nobody</dd>" in card(editor, failure)


def test_it_is_put_away_and_says_why_until_a_person_brings_it_back(editor: Client, failure: Submission) -> None:
    until = TODAY + timedelta(days=3)
    assert f"It is set aside until {until:%-d %b %Y}." in act(editor, failure, "aside", until=until.isoformat())
    assert f"set aside until {until:%-d %b %Y}" in card(editor, failure)
    assert "Nobody handles it." in act(editor, failure, "back")
    assert "Put away" not in card(editor, failure)
    act(editor, failure, "wait")
    assert "waiting for the author" in card(editor, failure)
    act(editor, failure, "deal")
    assert "dealt with" in card(editor, failure)


@pytest.mark.parametrize("until", [TODAY, TODAY + timedelta(days=800), "soon", ""])
def test_a_day_that_can_not_be_is_named(editor: Client, failure: Submission, until: object) -> None:
    page = act(editor, failure, "aside", until=str(until))
    assert re.search("Choose a day|must be a valid date", page)
    assert not Handling.objects.exists()


def test_nobody_puts_away_an_attempt_that_they_have_not_seen(editor: Client, failure: Submission) -> None:
    lifecycle.retry(failure, Mode.LATEST, actor="ben")
    assert "ben has queued attempt 2 in the meantime." in act(editor, failure, "deal", seen=f"{failure.pk}:1")
    assert not Handling.objects.exists()


def test_a_note_is_text_with_its_lines(editor: Client, viewer: Client, failure: Submission) -> None:
    act(editor, failure, "note", text=f"The author rang.\r\n{made.SCRIPT}\u202e")
    event = Event.objects.latest("id")
    assert (event.kind, event.actor, event.reason) == ("note", "editors-0", f"The author rang.\n{made.SCRIPT}\u202e")
    page = viewer.get(f"/submissions/{failure.pk}/").text
    assert f'<li id="note-{event.pk}">' in page
    assert "The author rang.\n&lt;script&gt;" in page
    assert "\u202e" not in page
    assert made.SCRIPT not in page


def test_a_failure_whose_node_succeeded_later_says_so(viewer: Client) -> None:
    failure = made.failed("1", node="node-x.").submission
    made.succeeded("2", node="node-x.")
    assert "A later submission of this node has succeeded." in card(viewer, failure)


def test_a_running_submission_is_not_put_away_so_that_its_failure_shows(editor: Client) -> None:
    build = made.running()
    shown = card(editor, build.submission)
    assert [words in shown for words in ("Dealt with", "Wait for", "Set aside", "can be put away once")] == [
        False,
        False,
        False,
        True,
    ]
    for name, answer in (("deal", {}), ("wait", {}), ("aside", {"until": str(TODAY + timedelta(days=1))})):
        assert "It is still running." in act(editor, build.submission, name, **answer)
    lifecycle.fail(build, made.CAUSE)
    assert "On builds 1" in editor.get("/submissions/?view=needs-me").text


def test_notes_stay_on_the_card_whatever_happens_later(
    viewer: Client, failure: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detail, "MAX_EVENTS", 1)
    monkeypatch.setattr(handling, "MAX_NOTES", 2)
    for text in ("First.", "Second.", "Third."):
        lifecycle.add_note(failure, text, actor="ann")
    lifecycle.put_away(failure, HandlingState.DONE, actor="ann")
    shown = card(viewer, failure)
    assert re.findall(r'class="note"><bdi>([^<]*)', shown) == ["Third.", "Second."]
    assert "And 1 earlier." in shown


def test_more_submissions_to_take_need_no_more_queries(
    editor: Client, failure: Submission, django_assert_num_queries: Callable[..., Any], django_assert_max_num_queries: Any
) -> None:
    user = User.objects.get()
    lifecycle.take(failure, user)
    with django_assert_max_num_queries(10) as asked:
        editor.get("/submissions/act/", {"act": "take", "id": [str(failure.pk)]})
    others = [made.failed(name).submission for name in ("2", "3")]
    lifecycle.take(others[0], user)
    with django_assert_num_queries(len(asked)):
        page = editor.get("/submissions/act/", {"act": "take", "id": [str(one.pk) for one in (failure, *others)]}).text
    assert ("1 submission?" in page, page.count("is already handling it")) == (True, 2)


def test_a_viewer_reads_the_card_and_has_no_buttons(editor: Client, viewer: Client, failure: Submission) -> None:
    act(editor, failure, "take")
    assert "editors-0" in card(viewer, failure)
    assert "<button" not in card(viewer, failure)


def test_several_are_dealt_with_at_once(editor: Client, failure: Submission) -> None:
    other = made.failed("2").submission
    ids = {"id": [str(failure.pk), str(other.pk)]}
    assert "2 submissions?" in editor.get("/submissions/act/", {"act": "deal", **ids}).text
    editor.post("/submissions/act/", {"act": "deal", **ids})
    assert Submission.objects.filter(put_away=True).count() == 2


def test_all_that_match_are_confirmed_by_name_and_acted_on(editor: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE_SIZE", 1)
    made.succeeded("sound")
    for name in ("1", "2", "3"):
        made.failed(name)
    assert "All 3 that match" in editor.get("/submissions/?state=failed").text
    assert "that match" not in editor.get("/submissions/").text
    asked = {"act": "deal", "all": "on", "query": "state=failed"}
    page = editor.get("/submissions/act/", asked).text
    assert ("3 submissions?" in page, "On builds sound" in page, "More than" in page) == (True, False, False)
    made.failed("later")
    shown = re.findall(r'name="id" value="(\d+)"', page)
    editor.post("/submissions/act/?act=deal&all=on&query=state%3Dfailed", {"act": "deal", "id": shown})  # as a browser does
    assert Submission.objects.filter(put_away=True).count() == 3


def test_more_than_can_be_acted_on_at_once_are_said_to_be_more(editor: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (actions, listing):
        monkeypatch.setattr(module, "MAX_AT_ONCE", 1)
    monkeypatch.setattr(listing, "PAGE_SIZE", 1)
    newest = [made.failed(name).submission.pk for name in ("1", "2")][-1]
    assert "All 1+ that match" in editor.get("/submissions/?state=failed").text
    page = editor.get("/submissions/act/", {"act": "deal", "all": "on", "query": "state=failed"}).text
    assert "More than 1 submissions match. These are the newest 1." in page
    assert re.findall(r'name="id" value="(\d+)"', page) == [str(newest)]
