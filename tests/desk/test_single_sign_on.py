"""Single sign-on at an OpenID Connect provider on a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from joserfc.jwk import RSAKey

from builds.roles import ROLES
from tests.standins.oidc_provider import CLIENT, OidcProvider

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider(settings: Any) -> Iterator[OidcProvider]:
    with OidcProvider() as provider:
        settings.OIDC_ISSUER, settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = provider.url, CLIENT, "secret"
        settings.PUBLIC_URL = "http://testserver"
        provider.claims = {"email": "ada@example.org", "email_verified": True}
        yield provider


def sign_in(client: Client, provider: OidcProvider, address: str = "", **changes: str) -> Any:
    """As a browser would: to the provider, and back with its code."""
    there = parse_qs(urlsplit(client.get(f"/sign-in/oidc/?next={address}")["Location"]).query)
    provider.nonce = changes.pop("nonce", there["nonce"][0])
    assert there["redirect_uri"] == ["http://testserver/sign-in/oidc/callback/"]
    assert there["code_challenge_method"] == ["S256"]
    return client.get("/sign-in/oidc/callback/", {"code": "c", "state": there["state"][0], **changes}, follow=True)


def roles(name: str = "ada@example.org") -> list[str]:
    return sorted(User.objects.get(username=name).groups.values_list("name", flat=True))


def test_without_an_issuer_there_is_none(client: Client) -> None:
    assert client.get("/sign-in/oidc/").status_code == 404
    assert "/sign-in/oidc/" not in client.get("/sign-in/").text


def test_who_comes_for_the_first_time_is_a_viewer(client: Client, provider: OidcProvider) -> None:
    assert "Sign in with single sign-on" in client.get("/sign-in/").text
    answer = sign_in(client, provider, "/submissions/?q=a")
    assert answer.redirect_chain == [("/submissions/?q=a", 302)]
    assert roles() == ["viewers"]
    assert not User.objects.get().has_usable_password()
    assert "code_verifier" in provider.asked[0]


def test_who_comes_again_keeps_the_roles_that_an_admin_gave(client: Client, provider: OidcProvider) -> None:
    sign_in(client, provider)
    User.objects.get().groups.set(Group.objects.filter(name="editors"))
    sign_in(Client(), provider)
    assert roles() == ["editors"]


def test_roles_are_taken_over_from_the_claim_at_each_sign_in(client: Client, provider: OidcProvider, settings: Any) -> None:
    settings.OIDC_ROLE_CLAIM = "groups"
    for named, given in ((["admins", "choir"], ["admins"]), (["viewers"], ["viewers"]), ("admins", []), (None, [])):
        provider.claims["groups"] = named
        sign_in(Client(), provider)
        assert roles() == given
        assert User.objects.get().is_staff == ("admins" in given)


def test_claims_may_come_from_the_userinfo(client: Client, provider: OidcProvider) -> None:
    provider.claims, provider.told = {}, {"email": "ada@example.org"}
    sign_in(client, provider)
    assert roles() == ["viewers"]


@pytest.mark.parametrize("kind", ["password", "superuser", "closed"])
def test_an_account_that_is_not_the_provider_s_is_not_taken(client: Client, provider: OidcProvider, kind: str) -> None:
    user = User.objects.create_user("ada@example.org", password="its own" if kind == "password" else None)
    User.objects.update(is_superuser=kind == "superuser", is_active=kind != "closed")
    page = sign_in(client, provider).text
    assert ("closed" if kind == "closed" else "a password of its own") in page
    assert client.get("/submissions/").status_code == 302
    assert not set(user.groups.values_list("name", flat=True)) & set(ROLES)


NOBODY: list[dict[str, Any]] = [{}, {"email": ""}, {"email": "x" * 200}, {"email": "Desci-Server"}]


@pytest.mark.parametrize("claims", [*NOBODY, {"email": "a@b.c", "email_verified": False}])
def test_who_has_no_verified_name_does_not_come_in(client: Client, provider: OidcProvider, claims: dict[str, Any]) -> None:
    provider.claims = claims
    assert 'class="message error"' in sign_in(client, provider).text
    assert not User.objects.exists()


WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "audience": {"aud": "other"},
    "expired": {"exp": 1},
    "issuer": {"iss": "https://evil"},
}


@pytest.mark.parametrize("fault", ["state", "nonce", "signature", "audience", "expired", "issuer", "down"])
def test_what_is_not_from_the_provider_does_not_come_in(client: Client, provider: OidcProvider, fault: str) -> None:
    changes = {fault: "forged"} if fault in ("state", "nonce") else {}
    provider.claims |= WRONG_CLAIMS.get(fault, {})
    if fault == "signature":
        provider.signed_by = RSAKey.generate_key(2048, {"kid": "1"})
    if fault == "down":
        client.get("/sign-in/oidc/")
        provider.down = True
        page = client.get("/sign-in/oidc/", follow=True).text
    else:
        page = sign_in(client, provider, **changes).text
    assert "Signing in did not work." in page
    assert not User.objects.exists()


def test_a_stranger_s_address_is_not_gone_to(client: Client, provider: OidcProvider) -> None:
    assert sign_in(client, provider, "https://evil.example/").redirect_chain == [("/submissions/", 302)]
