"""Signing in and out, the lock after wrong passwords, and what each answer's headers say."""

from __future__ import annotations

from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import Group, User
from django.test import Client, RequestFactory

from builds.desk.sign_in import client_address

PASSWORD = "a long password, with spaces"


@pytest.fixture
def ada(db: None) -> User:
    user = User.objects.create_user("ada", password=PASSWORD)
    user.groups.add(Group.objects.get(name="viewers"))
    return user


def sign_in(client: Client, password: str, name: str = "ada", **more: Any) -> Any:
    return client.post("/sign-in/", {"username": name, "password": password, "next": "/submissions/?q=a"}, **more)


def test_with_the_password_one_comes_to_where_one_was_going(client: Client, ada: User) -> None:
    answer = sign_in(client, PASSWORD)
    assert answer["Location"] == "/submissions/?q=a"
    assert client.get("/submissions/").status_code == 200
    assert client.post("/sign-out/")["Location"] == "/sign-in/"
    assert client.get("/submissions/").status_code == 302


def test_who_is_signed_out_by_now_signs_out_all_the_same(client: Client, ada: User) -> None:
    """As when a session has run out: to sign in first would lead to an address that only takes posts."""
    assert client.post("/sign-out/")["Location"] == "/sign-in/"


def test_only_a_press_signs_out(client: Client, ada: User) -> None:
    client.force_login(ada)
    assert client.get("/sign-out/").status_code == 405
    assert client.get("/submissions/").status_code == 200


def test_a_session_that_somebody_else_has_made_is_not_gone_on_with(client: Client, ada: User) -> None:
    client.get("/sign-in/")
    session = client.session
    session.save()
    before = session.session_key
    sign_in(client, PASSWORD)
    assert client.session.session_key != before


def test_a_stranger_s_address_is_not_gone_to(client: Client, ada: User) -> None:
    answer = client.post("/sign-in/", {"username": "ada", "password": PASSWORD, "next": "https://evil.example/"})
    assert answer["Location"] == "/submissions/"


def test_a_wrong_password_does_not_say_whether_the_name_exists(client: Client, ada: User) -> None:
    pages = [sign_in(client, "wrong", name).text for name in ("ada", "nobody")]
    assert "Please enter a correct username and password" in pages[0]
    assert pages[0].replace("ada", "nobody").count("correct username") == pages[1].count("correct username") == 1


def test_five_wrong_passwords_lock_the_name_for_that_address(client: Client, ada: User) -> None:
    answers = [sign_in(client, "wrong").status_code for _ in range(5)]
    assert answers == [200, 200, 200, 200, 429]
    locked = sign_in(client, PASSWORD)
    assert (locked.status_code, "Locked for a while" in locked.text) == (429, True)
    assert sign_in(client, PASSWORD, REMOTE_ADDR="10.0.0.9").status_code == 302
    AccessAttempt.objects.all().delete()  # as an admin does
    assert sign_in(client, PASSWORD).status_code == 302


def test_the_admin_has_the_same_door(client: Client, ada: User) -> None:
    assert client.get("/admin/login/?next=/admin/")["Location"] == "/sign-in/?next=/admin/"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        *((0, "", "10.0.0.1"), (0, "1.2.3.4", "10.0.0.1"), (1, "1.2.3.4", "1.2.3.4"), (1, "6.6.6.6, 1.2.3.4", "1.2.3.4")),
        *((2, "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"), (2, "1.2.3.4", "10.0.0.1"), (1, "", "10.0.0.1")),
        *((1, "1.2.3.4:5678", "1.2.3.4"), (1, "2001:db8::1:2:3:4", "2001:db8::"), (1, "[2001:db8:0:1::2]:80", "2001:db8:0:1::")),
        *((1, "::ffff:1.2.3.4", "1.2.3.4"), (1, "fe80::1%eth0", "fe80::"), (1, "unknown", "10.0.0.1")),
    ],
)
def test_only_our_proxies_are_believed(settings: Any, proxies: int, forwarded: str, address: str) -> None:
    settings.PROXIES = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert client_address(RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", headers=headers)) == address


def test_a_request_from_elsewhere_is_refused_with_a_page(ada: User) -> None:
    client = Client(enforce_csrf_checks=True)
    answer = sign_in(client, PASSWORD)
    assert (answer.status_code, "This page was open for too long" in answer.text) == (403, True)


@pytest.mark.parametrize("path", ["/sign-in/", "/nothing-here", "/submissions/", "/admin/", "/v1/docs"])
def test_each_page_has_its_policies(admin_client: Client, path: str) -> None:
    answer = admin_client.get(path)
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    headers = (answer["X-Frame-Options"], answer["Referrer-Policy"], answer["X-Content-Type-Options"])
    assert headers == ("DENY", "same-origin", "nosniff")


def test_cookies_are_marked(client: Client, ada: User) -> None:
    cookies = sign_in(client, PASSWORD).cookies
    session = cookies["sessionid"]
    assert session["max-age"] == 36000
    assert {(name, cookie["httponly"], cookie["samesite"]) for name, cookie in cookies.items()} == {
        ("sessionid", True, "Lax"),
        ("csrftoken", True, "Lax"),
    }
