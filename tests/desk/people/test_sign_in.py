"""Signing in and out, the lock after wrong passwords, and the security headers."""

from __future__ import annotations

from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import Group, User
from django.test import Client

PASSWORD = "a long password, with spaces"


@pytest.fixture
def ada(db: None) -> User:
    user = User.objects.create_user("ada", password=PASSWORD)
    user.groups.add(Group.objects.get(name="viewers"))
    return user


def sign_in(client: Client, password: str, name: str = "ada", **more: Any) -> Any:
    return client.post("/sign-in/", {"username": name, "password": password, "next": "/submissions/?q=a"}, **more)


def test_signing_in_leads_to_the_requested_page(client: Client, ada: User) -> None:
    answer = sign_in(client, PASSWORD)
    assert answer["Location"] == "/submissions/?q=a"
    assert client.get("/submissions/").status_code == 200
    assert client.post("/sign-out/")["Location"] == "/sign-in/"
    assert client.get("/submissions/").status_code == 302


def test_a_signed_out_user_can_sign_out_again(client: Client, ada: User) -> None:
    """This happens after a session expires. A redirect to the sign-in page would lead back to an address that accepts only POST."""
    assert client.post("/sign-out/")["Location"] == "/sign-in/"


def test_only_a_post_signs_out(client: Client, ada: User) -> None:
    client.force_login(ada)
    assert client.get("/sign-out/").status_code == 405
    assert client.get("/submissions/").status_code == 200


def test_signing_in_starts_a_new_session(client: Client, ada: User) -> None:
    client.get("/sign-in/")
    session = client.session
    session.save()
    before = session.session_key
    sign_in(client, PASSWORD)
    assert client.session.session_key != before


def test_it_never_redirects_to_another_site(client: Client, ada: User) -> None:
    answer = client.post("/sign-in/", {"username": "ada", "password": PASSWORD, "next": "https://evil.example/"})
    assert answer["Location"] == "/submissions/"


def test_a_wrong_password_does_not_say_whether_the_name_exists(client: Client, ada: User) -> None:
    pages = [sign_in(client, "wrong", name).text for name in ("ada", "nobody")]
    assert "The user name and the password do not match" in pages[0]
    assert pages[0].replace("ada", "nobody").count("do not match") == pages[1].count("do not match") == 1


def test_five_wrong_passwords_lock_the_name_for_that_address(client: Client, ada: User) -> None:
    answers = [sign_in(client, "wrong").status_code for _ in range(5)]
    assert answers == [200, 200, 200, 200, 429]
    locked = sign_in(client, PASSWORD)
    assert (locked.status_code, "Sign-in temporarily locked" in locked.text) == (429, True)
    assert sign_in(client, PASSWORD, REMOTE_ADDR="10.0.0.9").status_code == 302
    AccessAttempt.objects.all().delete()  # as an admin does
    assert sign_in(client, PASSWORD).status_code == 302


def test_the_admin_uses_the_same_sign_in_page(client: Client, ada: User) -> None:
    assert client.get("/admin/login/?next=/admin/")["Location"] == "/sign-in/?next=/admin/"


def test_a_request_without_a_csrf_token_gets_a_page(ada: User) -> None:
    client = Client(enforce_csrf_checks=True)
    answer = sign_in(client, PASSWORD)
    assert (answer.status_code, "This page has expired" in answer.text) == (403, True)


@pytest.mark.parametrize("path", ["/sign-in/", "/nothing-here", "/submissions/", "/admin/", "/v1/docs"])
def test_each_page_has_security_headers(admin_client: Client, path: str) -> None:
    answer = admin_client.get(path)
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    headers = (answer["X-Frame-Options"], answer["Referrer-Policy"], answer["X-Content-Type-Options"])
    assert headers == ("DENY", "same-origin", "nosniff")


def test_cookies_have_security_attributes(client: Client, ada: User) -> None:
    cookies = sign_in(client, PASSWORD).cookies
    session = cookies["sessionid"]
    assert session["max-age"] == 36000
    assert {(name, cookie["httponly"], cookie["samesite"]) for name, cookie in cookies.items()} == {
        ("sessionid", True, "Lax"),
        ("csrftoken", True, "Lax"),
    }
