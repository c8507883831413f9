"""Letters to authors: drafted from the cause or the findings, edited, kept in the history, and sent where Jobsite can."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from builds import lifecycle
from builds.engine.findings import Finding, Severity
from builds.errors import BuildError
from builds.models import Build, Event, FrontMatter, LetterTemplate, Notification
from builds.staff.letters import DEFAULTS, PLACEHOLDERS, find_mistake
from tests.support import made
from tests.support.found import CHECKS, MISSING, NO_DOI, write_findings

LETTER = {"recipients": "ada@example.org", "subject": "Your manuscript", "text": "Dear Ada,\r\n\r\nplease\r\n"}


def address(build: Build) -> str:
    return f"/submissions/{build.submission_id}/letter/"


def drafted(client: Client, build: Build, kind: str = "") -> dict[str, str]:
    """What stands in the form."""
    page = client.get(address(build), {"kind": kind} if kind else {}).text
    fields = dict(re.findall(r'<input type="text" name="(\w+)"(?: value="([^"]*)")?', page))
    text = re.search(r'<textarea name="text"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    assert text
    return {name: unescape(value) for name, value in {**fields, "text": text[1]}.items()}


def with_problems() -> Build:
    build = made.running()
    write_findings(build, MISSING, NO_DOI, *CHECKS)
    return made.delivered(build)


def ours() -> Build:
    build = made.running()
    lifecycle.fail(build, BuildError().cause)
    return build


# --- the draft


def test_a_failure_is_drafted_with_its_cause_and_its_place(editor: Client) -> None:
    build = made.failed(author="Ada (and Grace)")
    text = drafted(editor, build)["text"]
    assert text.startswith("Dear Ada (and Grace),\n\nThank you for submitting “On builds 1”.")
    link = f"https://github.com/lab/paper-1/blob/{made.COMMIT}/docs/paper.md#L118"
    assert f"1. {made.CAUSE.sentence}\n   Where: paper.md, line 118 – {link}\n   What to do: Add it.\n" in text
    assert "/node/node-1\n" in text
    assert "Kind regards,\neditors-" in text


def test_a_cause_is_written_without_the_opening_for_desci_server(editor: Client) -> None:
    build = made.failed()
    Build.objects.update(cause="Failed to build the repo files: the export pdf was not made.")
    assert "1. The export pdf was not made.\n" in drafted(editor, build)["text"]


def test_problems_are_drafted_without_the_editorial_checks(editor: Client) -> None:
    text = drafted(editor, with_problems())["text"]
    assert "1. The figure “a.png” is missing.\n   Where: docs/index.md, line 3 – https://" in text
    assert "\n2. These references could not be looked up" in text
    assert "abstract" not in text


@pytest.mark.parametrize(
    ("make", "subject"),
    [
        (made.failed, "could not be built"),
        (with_problems, "please check the following"),
        (made.succeeded, "was built"),
        (ours, "is delayed"),
    ],
)
def test_the_draft_fits_how_the_attempt_ended(editor: Client, make: Any, subject: str) -> None:
    assert subject in drafted(editor, make())["subject"]


def test_another_kind_of_letter_can_be_chosen(editor: Client) -> None:
    assert "is delayed" in drafted(editor, made.failed(), "delayed")["subject"]


def test_during_a_retry_the_letter_is_about_the_failed_attempt(editor: Client) -> None:
    build = made.running()
    lifecycle.fail(build, made.CAUSE, retry_at=timezone.now() + timedelta(minutes=30))
    assert made.CAUSE.sentence in drafted(editor, build)["text"]


def test_a_letter_is_offered_to_editors_only(editor: Client, viewer: Client) -> None:
    build = made.failed()
    page = f"/submissions/{build.submission_id}/"
    assert f'primary" href="{address(build)}"' in editor.get(page).text
    assert address(build) not in viewer.get(page).text
    assert viewer.get(address(build)).status_code == 403


def test_a_letter_is_not_the_first_thing_to_do_if_the_author_has_nothing_to_do(editor: Client) -> None:
    build = ours()
    page = editor.get(f"/submissions/{build.submission_id}/").text
    assert f'class="button" href="{address(build)}"' in page


@pytest.mark.parametrize(
    ("authors", "expected"),
    [
        ([{"name": "A", "email": "a@example.org"}, {"name": "B", "email": "b@example.org"}], "a@example.org, b@example.org"),
        ([{"name": "A", "email": "a@example.org"}, {"email": "b@example.org", "corresponding": True}], "b@example.org"),
        ([{"name": "A", "email": "a@example.org"}, {"name": "B", "corresponding": True}], "a@example.org"),
        ([{"email": "a@example.org\nBcc: all@example.org"}, {"email": ["x"]}, {"email": "no"}, "A"], ""),
        ({"email": "a@example.org"}, ""),
        ("Ada", ""),
    ],
)
def test_the_corresponding_authors_are_the_recipients(editor: Client, authors: Any, expected: str) -> None:
    build = made.failed()
    FrontMatter.objects.filter(submission=build.submission).update(document={"authors": authors})
    assert drafted(editor, build)["recipients"] == expected


def test_many_problems_are_cut(editor: Client) -> None:
    build = made.running()
    write_findings(build, *(Finding(f"code-{n}", Severity.BROKEN, f"Problem {n}.") for n in range(40)))
    text = drafted(editor, made.delivered(build))["text"]
    assert ("30. Problem 29." in text, "31." in text, "… and 10 more." in text) == (True, False, True)


# --- what becomes of it


def test_a_kept_letter_is_read_in_the_history(editor: Client, viewer: Client) -> None:
    build = made.failed()
    page = editor.post(address(build), {**LETTER, "keep": "1"}, follow=True)
    event = Event.objects.latest("id")
    assert (event.kind, event.actor, event.build) == ("letter written", "editors-0", build)
    assert page.redirect_chain[-1][0] == f"/submissions/{build.submission_id}/letters/{event.pk}/"
    assert "Jobsite has not sent it." in page.text
    assert not Notification.objects.exists()
    history = viewer.get(f"/submissions/{build.submission_id}/").text
    assert page.redirect_chain[-1][0] in history
    [link] = re.findall(r'href="(mailto:[^"]+)"', viewer.get(page.redirect_chain[-1][0]).text)
    opened = urlsplit(unescape(link))
    assert opened.path == "ada@example.org"
    assert parse_qs(opened.query) == {"subject": ["Your manuscript"], "body": ["Dear Ada,\r\n\r\nplease\r\n"]}


def test_a_long_letter_opens_without_its_text(editor: Client) -> None:
    build = made.failed()
    page = editor.post(address(build), {**LETTER, "text": "ä" * 3000, "keep": "1"}, follow=True).text
    assert 'href="mailto:ada@example.org?subject=Your%20manuscript"' in page


def test_a_letter_is_sent_to_each_recipient(editor: Client, settings: Any) -> None:
    settings.EMAIL_HOST = "mail.example.org"
    User.objects.update(email="ed@example.org")
    build = made.failed()
    sent = {**LETTER, "recipients": "ada@example.org, grace@example.org,ada@example.org", "send": "1"}
    assert "The letter is on its way." in editor.post(address(build), sent, follow=True).text
    queued = [(row.recipient, row.reply_to, row.subject, row.text) for row in Notification.objects.order_by("pk")]
    rest = ("ed@example.org", "Your manuscript", "Dear Ada,\n\nplease\n")
    assert queued == [("ada@example.org", *rest), ("grace@example.org", *rest)]
    assert Event.objects.latest("id").kind == "letter sent"


def test_without_a_mail_server_nothing_is_sent(editor: Client, settings: Any) -> None:
    settings.EMAIL_HOST = ""
    build = made.failed()
    assert 'name="send"' not in editor.get(address(build)).text
    editor.post(address(build), {**LETTER, "send": "1"})
    assert not Notification.objects.exists()
    assert Event.objects.latest("id").kind == "letter written"


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"recipients": "ada@example.org, ben"}, "ben is not an e-mail address."),
        ({"recipients": ""}, "Name the recipient."),
        ({"recipients": ",".join(f"a{n}@example.org" for n in range(21))}, "at most 20 addresses"),
        ({"subject": " "}, "Write a subject."),
        ({"text": ""}, "Write the letter."),
    ],
)
def test_a_mistake_is_named_and_nothing_is_lost(editor: Client, settings: Any, wrong: dict[str, str], problem: str) -> None:
    settings.EMAIL_HOST = "mail.example.org"
    build = made.failed()
    answer = editor.post(address(build), {**LETTER, "send": "1", **wrong})
    assert answer.status_code == 400
    assert problem in answer.text
    assert "please" in answer.text or "text" in wrong
    assert not Notification.objects.exists()


def test_a_subject_adds_no_header(editor: Client, settings: Any) -> None:
    settings.EMAIL_HOST = "mail.example.org"
    editor.post(address(made.failed()), {**LETTER, "send": "1", "subject": "a\r\nBcc: all@example.org"})
    assert [row.subject for row in Notification.objects.all()] == ["a Bcc: all@example.org"]


def test_only_letters_of_this_submission_are_shown(editor: Client) -> None:
    build, other = made.failed(), made.failed("2")
    editor.post(address(build), {**LETTER, "keep": "1"})
    letter = Event.objects.latest("id")
    no_letter = build.submission.events.earliest("id")
    assert editor.get(f"/submissions/{other.submission_id}/letters/{letter.pk}/").status_code == 404
    assert editor.get(f"/submissions/{build.submission_id}/letters/{no_letter.pk}/").status_code == 404


def test_what_an_author_wrote_is_shown_as_text(editor: Client) -> None:
    build = made.failed(title=made.SCRIPT, author="\u202eevil")
    page = editor.get(address(build)).text
    assert made.SCRIPT not in page
    assert "\u202e" not in page


# --- the texts


def test_every_text_that_jobsite_comes_with_is_right() -> None:
    assert [find_mistake(text) for texts in DEFAULTS.values() for text in texts] == [""] * 2 * len(DEFAULTS)


def test_admins_change_a_text(admin: Client, editor: Client) -> None:
    User.objects.update(is_staff=True)
    form = admin.get("/admin/builds/lettertemplate/add/", {"kind": "problems"}).text
    assert "please check the following" in form
    assert all(f"${name}:" in form for name in PLACEHOLDERS)
    new = {"kind": "failed", "subject": "News of $title", "text": "It costs $$5. $problems"}
    assert admin.post("/admin/builds/lettertemplate/add/", new).status_code == 302
    draft = drafted(editor, made.failed())
    assert (draft["subject"], draft["text"][:16]) == ("News of On builds 1", "It costs $5. 1. ")


@pytest.mark.parametrize(("text", "problem"), [("Dear $autors", "no placeholder $autors"), ("5 $", "Write $$ for a dollar sign")])
def test_a_mistake_in_a_text_is_named(admin: Client, text: str, problem: str) -> None:
    User.objects.update(is_staff=True)
    answer = admin.post("/admin/builds/lettertemplate/add/", {"kind": "failed", "subject": "x", "text": text})
    assert problem in unescape(answer.text)
    assert not LetterTemplate.objects.exists()
