"""Locked user names: only admins see and unlock them, after a confirmation and with a record."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessLog
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from builds.staff.roles import ADMINS, EDITORS, VIEWERS
from tests.admin.test_people import person

LOCKS = reverse("admin:axes_accessattempt_changelist")
PASSWORD = "a long password, with spaces"


def signed_in(role: str) -> Client:
    client = Client()
    client.force_login(person(role, f"{role}-of-the-test"))
    return client


def try_to_sign_in(name: str, password: str, *, address: str = "192.0.2.7", browser: str = "one") -> int:
    answer = Client(REMOTE_ADDR=address).post(
        "/sign-in/", {"username": name, "password": password}, headers={"User-Agent": browser}
    )
    return answer.status_code


@pytest.fixture
def locked(db: None) -> User:
    """A user with five wrong passwords, in two browsers."""
    user = User.objects.create_user("ann", password=PASSWORD)
    for number in range(5):
        try_to_sign_in("ann", "wrong", browser=str(number % 2))
    assert try_to_sign_in("ann", PASSWORD) == 429
    return user


def row() -> AccessAttempt:
    return AccessAttempt.objects.latest("pk")


def shown(client: Client, **query: str) -> list[str]:
    page = client.get(LOCKS, query).text
    rows = re.findall(r"<tr><td class=\"action-checkbox\">.*?</tr>", page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", text).split()) for text in rows]


def test_an_admin_sees_which_user_names_are_locked_and_from_which_address(locked: User) -> None:
    try_to_sign_in("ben", "wrong", address="192.0.2.8")
    found = shown(signed_in(ADMINS))
    assert [text.split()[:2] for text in found] == [["ben", "192.0.2.8"], ["ann", "192.0.2.7"]]
    assert "not locked yet 1 of 5" in found[0] and " locked 5 of 5" in found[1]
    assert [text.split()[0] for text in shown(signed_in_again(), locked="1")] == ["ann"]
    assert [text.split()[0] for text in shown(signed_in_again(), q="192.0.2.8")] == ["ben"]


def signed_in_again() -> Client:
    client = Client()
    client.force_login(User.objects.get(username=f"{ADMINS}-of-the-test"))
    return client


def test_an_admin_unlocks_after_a_confirmation_and_it_is_recorded(locked: User) -> None:
    client = signed_in(ADMINS)
    chosen: dict[str, Any] = {"action": "unlock", "_selected_action": [row().pk]}
    asked = client.post(LOCKS, chosen)
    assert "ann from 192.0.2.7" in asked.text and AccessAttempt.objects.count() == 2
    done = client.post(LOCKS, {**chosen, "confirmed": "yes"}, follow=True)
    assert "Unlocked: ann from 192.0.2.7." in done.text
    assert try_to_sign_in("ann", PASSWORD) == 302
    entry = LogEntry.objects.get()
    assert (entry.user.username, entry.get_edited_object()) == (f"{ADMINS}-of-the-test", locked)
    assert entry.change_message == "Unlocked ann from 192.0.2.7 after too many wrong passwords."
    assert "Unlocked ann from 192.0.2.7" in client.get(reverse("admin:auth_user_history", args=[locked.pk])).text


def test_unlocking_twice_happens_once(locked: User) -> None:
    client, pk = signed_in(ADMINS), row().pk
    for _ in range(2):
        answer = client.post(LOCKS, {"action": "unlock", "_selected_action": [pk], "confirmed": "yes"}, follow=True)
    assert "None of the selected user names is locked any more" in answer.text
    assert LogEntry.objects.count() == 1


def test_only_the_selected_user_names_are_unlocked(locked: User) -> None:
    chosen = row().pk
    for _ in range(5):
        try_to_sign_in("ben", "wrong")
    client = signed_in(ADMINS)
    client.post(LOCKS, {"action": "unlock", "_selected_action": [chosen], "confirmed": "yes"})
    assert set(AccessAttempt.objects.values_list("username", flat=True)) == {"ben"}


def test_an_unknown_name_is_unlocked_too(db: None) -> None:
    for _ in range(5):
        try_to_sign_in("nobody", "wrong")
    client = signed_in(ADMINS)
    client.post(LOCKS, {"action": "unlock", "_selected_action": [row().pk], "confirmed": "yes"})
    assert AccessAttempt.objects.count() == 0
    assert LogEntry.objects.get().change_message.startswith("Unlocked nobody from 192.0.2.7 ")


@pytest.mark.parametrize("role", [VIEWERS, EDITORS])
def test_other_roles_neither_see_nor_unlock(locked: User, role: str) -> None:
    client = signed_in(role)
    page = reverse("admin:axes_accessattempt_change", args=[row().pk])
    assert [client.get(address).status_code for address in (LOCKS, page, reverse("admin:axes_accesslog_changelist"))] == [403] * 3
    answer = client.post(LOCKS, {"action": "unlock", "_selected_action": [row().pk], "confirmed": "yes"})
    assert (answer.status_code, AccessAttempt.objects.count(), LogEntry.objects.count()) == (403, 2, 0)


def test_sign_ins_are_listed_and_found(locked: User) -> None:
    try_to_sign_in("ann", PASSWORD, address="192.0.2.9")
    client = signed_in(ADMINS)
    page = reverse("admin:axes_accesslog_changelist")
    for words in ("ann", "192.0.2.9", ""):
        assert "192.0.2.9" in client.get(page, {"q": words}).text
    assert "1 access log" not in client.get(page, {"q": "somebody else"}).text
    assert client.get(reverse("admin:axes_accesslog_change", args=[AccessLog.objects.latest("pk").pk])).status_code == 200


def test_passwords_that_were_typed_are_never_shown(locked: User) -> None:
    client = signed_in(ADMINS)
    for page in (LOCKS, reverse("admin:axes_accessattempt_change", args=[row().pk])):
        assert "post_data" not in client.get(page).text and "POST Data" not in client.get(page).text
