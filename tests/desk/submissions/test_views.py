"""Views that people save: filters of the list under a name, as a tab for themselves or for everybody."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.test import Client

from builds import lifecycle
from builds.desk.submissions import views
from builds.models import SavedView, Submission
from builds.record import search
from builds.record.erasure import erase_account
from tests.desk.submissions.test_listing import LIST, titles
from tests.support import made

SAVE = "/submissions/views/"


def save(client: Client, name: str, query: str, **more: str) -> str:
    return unescape(client.post(SAVE, {"name": name, "query": query, **more}, follow=True).text)


def tabs(client: Client) -> list[tuple[str, str]]:
    """The saved tabs: name and query string."""
    page = client.get(LIST).text.partition('aria-label="Saved views"')[2].partition("</nav>")[0]
    found = re.findall(r'<a href="/submissions/\??([^"]*)"[^>]*><bdi>([^<]*)', unescape(page))
    return [(name, query) for query, name in found][len(views.BUILT_IN) :]


def test_a_view_is_a_tab_of_the_person_who_saved_it(editor: Client, viewer: Client) -> None:
    made.failed("1", title="Corals")
    made.failed("2")
    page = save(editor, "Reefs", "before=7&q=coral&state=failed&nonsense=1&fault=")
    assert "The view “Reefs” is saved." in page
    assert tabs(editor) == [("Reefs", "q=coral&state=failed")]
    assert titles(editor, f"{LIST}?q=coral&state=failed") == ["Corals"]
    assert "Remove the view “Reefs”" in re.sub("</?bdi>", "", editor.get(f"{LIST}?state=failed&q=coral").text)
    assert tabs(viewer) == []
    save(editor, "Reefs", "q=reef")
    assert tabs(editor) == [("Reefs", "q=reef")]


def test_an_admin_shares_a_view_with_everybody(admin: Client, editor: Client, viewer: Client) -> None:
    assert editor.post(SAVE, {"name": "Ours", "query": "state=failed&retried=asked", "shared": "on"}).status_code == 403
    assert "For everybody" not in editor.get(f"{LIST}?q=coral").text
    assert "For everybody" in admin.get(f"{LIST}?q=coral").text
    assert "is saved for everybody" in save(admin, "Ours", "state=failed&retried=asked", shared="on")
    assert tabs(viewer) == [("Ours", "state=failed&retried=asked")]
    [shared] = SavedView.objects.all()
    assert editor.post(f"{SAVE}{shared.pk}/remove/").status_code == 403
    assert admin.post(f"{SAVE}{shared.pk}/remove/").status_code == 302
    assert tabs(viewer) == []


def test_nobody_removes_the_view_of_another(editor: Client, viewer: Client) -> None:
    save(editor, "Reefs", "q=reef")
    [own] = SavedView.objects.all()
    assert viewer.post(f"{SAVE}{own.pk}/remove/").status_code == 404
    assert "The view “Reefs” is removed." in unescape(editor.post(f"{SAVE}{own.pk}/remove/", follow=True).text)


@pytest.mark.parametrize(
    ("name", "query", "problem"),
    [
        ("", "q=reef", "Give the view a name."),
        ("\u202e", "q=reef", "Give the view a name."),
        ("All", "", "Choose filters first"),
        ("All", "nonsense=1&before=3", "Choose filters first"),
        ("Long", f"q={'ü' * 1000}", "too long to be saved"),
    ],
)
def test_what_can_not_be_saved_is_named(editor: Client, name: str, query: str, problem: str) -> None:
    assert problem in save(editor, name, query)
    assert not SavedView.objects.exists()


def test_there_are_not_too_many(editor: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MAX_SAVED", 1)
    save(editor, "Reefs", "q=reef")
    assert "Remove one first." in save(editor, "Corals", "q=coral")
    save(editor, "Reefs", "q=coral")
    assert tabs(editor) == [("Reefs", "q=coral")]


def test_a_name_is_text_and_goes_with_its_account(editor: Client, admin: Client) -> None:
    save(editor, f"{made.SCRIPT}\u202e", "q=reef")
    page = editor.get(f"{LIST}?q=reef").text
    assert made.SCRIPT not in page
    assert "\u202e" not in page
    erase_account(User.objects.get(username="editors-0"))
    assert not SavedView.objects.exists()


def test_submissions_are_found_by_journal_field(viewer: Client) -> None:
    for name, subject in (("1", "Marine biology"), ("2", made.SCRIPT), ("3", ["no text"])):
        url = f"https://github.com/lab/paper-{name}/blob/main/myst.yml"
        document = {"title": name, "subject": subject}
        lifecycle.submit(lifecycle.Request(name, f"{name}.", url, f"lab/paper-{name}", document))
    assert titles(viewer, f"{LIST}?subject=Marine+biology") == ["1"]
    assert titles(viewer, f"{LIST}?subject=none++given") == ["3"]
    assert viewer.get(f"{LIST}?subject=none++given").text.count('<option value="none  given" selected>none given</option>') == 1
    page = viewer.get(LIST).text
    assert '<option value="Marine biology">Marine biology (1)</option>' in page
    assert page.count('<option value="&lt;script&gt;') == 1
    assert made.SCRIPT not in page
    [first] = Submission.objects.filter(subject="Marine biology")
    assert 'href="/submissions/?subject=Marine%20biology"' in viewer.get(f"/submissions/{first.pk}/").text


@pytest.mark.parametrize("owner", ["CORAL-lab", "https://github.com/coral-lab/paper/blob/main/x.md"])
def test_submissions_are_found_by_the_owner_of_the_repository(viewer: Client, owner: str) -> None:
    for repository in ("coral-lab/paper", "coral-labs/paper", "paper/coral-lab"):
        url = f"https://github.com/{repository}/blob/main/myst.yml"
        lifecycle.submit(lifecycle.Request(repository, f"{repository}.", url, repository, {"title": repository}))
    search.index_missing()
    assert titles(viewer, f"{LIST}?owner={owner}") == ["coral-lab/paper"]
