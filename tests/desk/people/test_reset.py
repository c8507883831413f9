"""A password is reset by e-mail."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client

from builds.models import Notification
from builds.service import messenger

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def sends_email(settings: Any) -> None:
    settings.EMAIL_HOST, settings.PUBLIC_URL = "mail.example.org", "https://jobsite.example.org"


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada", "ada@example.org", "an old password of ada")


def ask(client: Client, address: str = "ada@example.org", **headers: str) -> Any:
    return client.post("/sign-in/reset/", {"email": address}, headers=headers)


def test_the_link_opens_a_form_that_sets_the_password(client: Client, ada: User) -> None:
    assert "/sign-in/reset/" in client.get("/sign-in/").text
    assert ask(client, host="evil.example").status_code == 302
    messenger.send_notifications()
    [sent] = mail.outbox
    assert sent.to == ["ada@example.org"]
    found = re.search(r"https://jobsite\.example\.org(/sign-in/reset/\S+)", str(sent.body))
    assert found
    assert "evil" not in str(sent.body)
    assert Notification.objects.get().text == ""
    form = client.get(found[1], follow=True)
    fields = {"new_password1": "a new password of ada", "new_password2": "a new password of ada"}
    done = client.post(form.redirect_chain[0][0], fields, follow=True)
    assert "Your password has been changed" in done.text
    signed_in = Client().post("/sign-in/", {"username": "ada", "password": "a new password of ada"})
    assert signed_in.status_code == 302
    assert "This link can't be used" in Client().get(found[1], follow=True).text.replace("&#x27;", "'")


def test_nobody_learns_who_has_an_account(client: Client, ada: User) -> None:
    known, unknown = ask(client), ask(client, "nobody@example.org")
    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    assert Notification.objects.count() == 1


def test_an_account_gets_one_e_mail_in_a_while(client: Client, ada: User) -> None:
    for _ in range(5):
        ask(client)
    assert Notification.objects.count() == 1


def test_an_account_of_single_sign_on_gets_none(client: Client, ada: User) -> None:
    ada.set_unusable_password()
    ada.save()
    ask(client)
    assert not Notification.objects.exists()


def test_without_a_mail_server_there_is_no_reset(client: Client, settings: Any) -> None:
    settings.EMAIL_HOST = ""
    assert client.get("/sign-in/reset/").status_code == 404
    assert "/sign-in/reset/" not in client.get("/sign-in/").text


def test_the_admin_does_not_show_the_link(admin_client: Client, ada: User) -> None:
    ask(admin_client)
    row = Notification.objects.get()
    page = admin_client.get(f"/admin/builds/notification/{row.pk}/change/")
    assert page.status_code == 200
    assert "/sign-in/reset/" not in page.text
