"""Single sign-on with an OpenID Connect provider on a real socket."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from joserfc.jwk import RSAKey

from builds.desk.people import single_sign_on
from builds.models import Identity
from builds.staff.roles import ROLES
from tests.standins.oidc_provider import CLIENT, OidcProvider

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("must_end")]


@pytest.fixture
def provider(settings: Any) -> Iterator[OidcProvider]:
    with OidcProvider() as provider:
        settings.OIDC_ISSUER, settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = provider.url, CLIENT, "secret"
        settings.PUBLIC_URL = "http://testserver"
        provider.claims = {"email": "ada@example.org", "email_verified": True}
        yield provider


def sign_in(client: Client, provider: OidcProvider, address: str = "", **changes: str) -> Any:
    """Go to the provider as a browser would, and return with its code."""
    there = parse_qs(urlsplit(client.get(f"/sign-in/oidc/?next={address}")["Location"]).query)
    provider.nonce = changes.pop("nonce", there["nonce"][0])
    assert there["redirect_uri"] == ["http://testserver/sign-in/oidc/callback/"]
    assert there["code_challenge_method"] == ["S256"]
    return client.get("/sign-in/oidc/callback/", {"code": "c", "state": there["state"][0], **changes}, follow=True)


def roles(name: str = "ada@example.org") -> list[str]:
    return sorted(User.objects.get(username=name).groups.values_list("name", flat=True))


def test_without_an_issuer_there_is_no_single_sign_on(client: Client) -> None:
    assert client.get("/sign-in/oidc/").status_code == 404
    assert "/sign-in/oidc/" not in client.get("/sign-in/").text


def test_a_new_user_becomes_a_viewer(client: Client, provider: OidcProvider) -> None:
    assert "Sign in with single sign-on" in client.get("/sign-in/").text
    answer = sign_in(client, provider, "/submissions/?q=a")
    assert answer.redirect_chain == [("/submissions/?q=a", 302)]
    assert roles() == ["viewers"]
    assert not User.objects.get().has_usable_password()
    assert "code_verifier" in provider.asked[0]


def test_a_returning_user_keeps_the_roles_given_by_an_admin(client: Client, provider: OidcProvider) -> None:
    sign_in(client, provider)
    User.objects.get().groups.set(Group.objects.filter(name="editors"))
    sign_in(Client(), provider)
    assert roles() == ["editors"]


def test_roles_are_copied_from_the_claim_at_each_sign_in(client: Client, provider: OidcProvider, settings: Any) -> None:
    settings.OIDC_ROLE_CLAIM = "groups"
    for named, given in ((["admins", "choir"], ["admins"]), (["viewers"], ["viewers"]), ("admins", []), (None, [])):
        provider.claims["groups"] = named
        sign_in(Client(), provider)
        assert roles() == given
        assert User.objects.get().is_staff == ("admins" in given)


def test_a_user_is_known_by_issuer_and_subject_whatever_name_and_address_it_has(client: Client, provider: OidcProvider) -> None:
    sign_in(client, provider)
    provider.claims = {"email": "ada.lovelace@example.org", "email_verified": True}
    sign_in(Client(), provider)
    assert [user.username for user in User.objects.all()] == ["ada@example.org"]


def test_another_user_with_the_same_address_does_not_get_the_account(client: Client, provider: OidcProvider) -> None:
    sign_in(client, provider)
    provider.claims["sub"] = "2"
    other = Client()
    assert "belongs to another user of the sign-in provider" in sign_in(other, provider).text
    assert other.get("/submissions/").status_code == 302
    assert Identity.objects.get().subject == "1"


UNPROVEN: list[dict[str, Any]] = [{"email_verified": value} for value in (None, False, "true", 1, [True])]


@pytest.mark.parametrize("claims", [*UNPROVEN, {"email_verified": True, "email": "ada@example.org\0"}])
def test_an_address_links_to_an_existing_account_only_if_it_is_verified(
    client: Client, provider: OidcProvider, claims: dict[str, Any]
) -> None:
    User.objects.create_user("ada@example.org")
    provider.claims |= claims
    sign_in(client, provider)
    assert client.get("/submissions/").status_code == 302
    assert not Identity.objects.exists()


def test_a_verified_address_links_to_an_existing_account_once(client: Client, provider: OidcProvider) -> None:
    user = User.objects.create_user("ada@example.org")
    user.groups.set(Group.objects.filter(name="viewers"))
    sign_in(client, provider)
    assert Identity.objects.get().user == user
    assert client.get("/submissions/").status_code == 200
    Identity.objects.get(user=user).delete()  # as an admin can
    provider.claims["sub"] = "2"
    sign_in(Client(), provider)
    assert Identity.objects.get().subject == "2"


def test_another_claim_than_the_address_links_only_with_the_account_s_verified_address(
    client: Client, provider: OidcProvider, settings: Any
) -> None:
    settings.OIDC_USERNAME_CLAIM = "preferred_username"
    User.objects.create_user("ada", email="Ada@example.org").groups.set(Group.objects.filter(name="viewers"))
    provider.claims = {"preferred_username": "ada", "email": "eve@example.org", "email_verified": True}
    assert "belongs to another user" in sign_in(client, provider).text
    provider.claims["email"] = "ada@example.org"
    sign_in(client, provider)
    assert client.get("/submissions/").status_code == 200


@pytest.mark.parametrize("subject", ["", None, 5, "x" * 256, ["1"], "1\0"])
def test_a_user_without_a_subject_is_refused(client: Client, provider: OidcProvider, subject: Any) -> None:
    provider.claims["sub"] = subject
    assert 'class="message error"' in sign_in(client, provider).text
    assert not User.objects.exists()


def test_the_userinfo_of_another_user_is_refused(client: Client, provider: OidcProvider) -> None:
    provider.claims, provider.userinfo = {}, {"email": "ada@example.org", "sub": "2"}
    assert "Signing in did not work." in sign_in(client, provider).text


def test_admins_see_the_link_of_an_account_and_can_erase_it(client: Client, provider: OidcProvider, admin_client: Client) -> None:
    sign_in(client, provider)
    user = User.objects.get(username="ada@example.org")
    address = f"/admin/auth/user/{user.pk}/change/"
    page = admin_client.get(address).text
    assert provider.url in page
    form = {name: value for name, value in re.findall(r'name="([^"]+)" value="([^"]*)"', page) if name.startswith("identity-")}
    answer = admin_client.post(address, {**form, "is_active": "on", "username": user.username, "identity-0-DELETE": "on"})
    assert (answer.status_code, Identity.objects.exists()) == (302, False)


def test_claims_may_come_from_the_userinfo(client: Client, provider: OidcProvider) -> None:
    provider.claims, provider.userinfo = {}, {"email": "ada@example.org"}
    sign_in(client, provider)
    assert roles() == ["viewers"]


@pytest.mark.parametrize("kind", ["password", "superuser", "closed"])
def test_an_existing_or_closed_account_is_not_taken_over(client: Client, provider: OidcProvider, kind: str) -> None:
    user = User.objects.create_user("ada@example.org", password="its own" if kind == "password" else None)
    User.objects.update(is_superuser=kind == "superuser", is_active=kind != "closed")
    page = sign_in(client, provider).text
    assert ("closed" if kind == "closed" else "its own password") in page
    assert client.get("/submissions/").status_code == 302
    assert not set(user.groups.values_list("name", flat=True)) & set(ROLES)


NOBODY: list[dict[str, Any]] = [{}, {"email": ""}, {"email": "x" * 200}, {"email": "Desci-Server"}]


@pytest.mark.parametrize("claims", [*NOBODY, {"email": "a@b.c", "email_verified": False}])
def test_a_user_without_a_verified_name_is_refused(client: Client, provider: OidcProvider, claims: dict[str, Any]) -> None:
    provider.claims = claims
    assert 'class="message error"' in sign_in(client, provider).text
    assert not User.objects.exists()


WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "audience": {"aud": "other"},
    "expired": {"exp": 1},
    "issuer": {"iss": "https://evil"},
}


@pytest.mark.parametrize("fault", ["state", "nonce", "signature", "audience", "expired", "issuer", "down"])
def test_forged_or_invalid_answers_are_refused(client: Client, provider: OidcProvider, fault: str) -> None:
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


PATHS = ["/.well-known/openid-configuration", "/token", "/keys"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fault", ["drips", "floods"])
def test_an_answer_without_an_end_is_not_waited_for(
    client: Client, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch, path: str, fault: str
) -> None:
    monkeypatch.setattr(single_sign_on, "MAX_SECONDS", 1.0)
    there = parse_qs(urlsplit(client.get("/sign-in/oidc/")["Location"]).query)
    provider.nonce = there["nonce"][0]
    setattr(provider, fault, path)
    page = client.get("/sign-in/oidc/callback/", {"code": "c", "state": there["state"][0]}, follow=True).text
    assert "Signing in did not work." in page
    assert not User.objects.exists()


def test_it_never_redirects_to_another_site(client: Client, provider: OidcProvider) -> None:
    assert sign_in(client, provider, "https://evil.example/").redirect_chain == [("/submissions/", 302)]
