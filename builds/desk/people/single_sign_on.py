"""Single sign-on with an OpenID Connect provider. Authlib runs the protocol and checks the signatures; this module finds the account.

Accounts with a password are never taken over: somebody at the provider could claim any user name.
"""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import Group, User
from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_safe

from builds.engine.clients.http import BoundedAdapter
from builds.lib.text import without_controls
from builds.lifecycle import NO_PERSONS
from builds.models import Identity
from builds.models.identity import MAX_SUBJECT_CHARACTERS
from builds.staff.roles import ADMINS, ROLES

logger = logging.getLogger(__name__)

NEXT = "oidc-next"
BACKEND = "django.contrib.auth.backends.ModelBackend"
FAILED = "Signing in did not work. Try again; if it fails again, tell a Jobsite admin."
NO_NAME = "The sign-in provider did not send a valid user name. Tell a Jobsite admin."
SIGN_IN_BELOW = "This account has its own password. Sign in with it below."
MAX_NAME_CHARACTERS = 150
# For one answer of the provider. A sign-in needs up to five.
MAX_SECONDS = 10.0
MAX_ANSWER_BYTES = 1_000_000


class Refused(Exception):
    """The provider's user may not sign in here. The message says why."""


def _provider() -> Any:
    """The provider, configured from its discovery document. Nothing is cached between two sign-ins."""
    if not settings.OIDC_ISSUER:
        raise Http404
    from authlib.integrations.django_client import OAuth  # noqa: PLC0415 - installed only where single sign-on is used

    provider = OAuth().register(
        "oidc",
        client_id=settings.OIDC_CLIENT_ID,
        client_secret=settings.OIDC_CLIENT_SECRET,
        server_metadata_url=f"{settings.OIDC_ISSUER}/.well-known/openid-configuration",
        client_kwargs={"scope": "openid email profile", "code_challenge_method": "S256", "timeout": 10},
    )
    provider.client_cls = _bounded(provider.client_cls)
    return provider


def _bounded(client: Any) -> Any:
    """Authlib's class of sessions, with a deadline and a maximum size for each answer of the provider."""

    class Client(client):  # type: ignore[misc]  # a class of a package without types
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            for scheme in ("https://", "http://"):
                self.mount(scheme, BoundedAdapter(MAX_SECONDS, MAX_ANSWER_BYTES))

    return Client


@login_not_required
@require_safe
def start_single_sign_on(request: HttpRequest) -> HttpResponse:
    """Redirect to the provider."""
    provider = _provider()
    request.session[NEXT] = request.GET.get("next", "")
    try:
        answer: HttpResponse = provider.authorize_redirect(request, settings.PUBLIC_URL + reverse("desk:oidc-callback"))
    except Exception:
        return _failed(request)
    return answer


@login_not_required
@require_safe
def finish_single_sign_on(request: HttpRequest) -> HttpResponse:
    """Sign in the user that the provider sends back."""
    provider = _provider()
    try:
        token = provider.authorize_access_token(request)
        claims = {**(token.get("userinfo") or {})}
        if not claims.get(settings.OIDC_USERNAME_CLAIM):
            userinfo = provider.userinfo(token=token)
            if userinfo.get("sub") != claims.get("sub"):  # OpenID Connect Core 1.0, section 5.3.2
                return _failed(request)
            claims = {**userinfo, **claims}
    except Exception:
        return _failed(request)
    try:
        user = known_user(claims)
    except IntegrityError:  # a second first sign-in at the same time
        return _failed(request)
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect("desk:sign-in")
    address = request.session.pop(NEXT, "")
    login(request, user, backend=BACKEND)
    return redirect(address if url_has_allowed_host_and_scheme(address, {request.get_host()}) else settings.LOGIN_REDIRECT_URL)


def _failed(request: HttpRequest) -> HttpResponse:
    """Log the reason for the operators. The user gets only a general message."""
    logger.warning("single sign-on failed", exc_info=True)
    messages.error(request, FAILED)
    return redirect("desk:sign-in")


@transaction.atomic
def known_user(claims: dict[str, Any]) -> User:
    """The account of the provider's user, with its roles. Creates or links the account at the first sign-in.

    The provider's user is known by issuer and subject. Names and e-mail addresses can be given to another person later.

    Raises:
        Refused: the claims name nobody, the address is not verified, or the account is closed, another user's or has a password.
    """
    issuer, subject = str(claims.get("iss") or settings.OIDC_ISSUER), claims.get("sub")
    if not isinstance(subject, str) or not subject or not subject.isprintable() or len(subject) > MAX_SUBJECT_CHARACTERS:
        raise Refused(NO_NAME)
    user = User.objects.filter(identity__issuer=issuer, identity__subject=subject).first()
    is_new = False
    if user is None:
        user, is_new = _first_sign_in(claims)
        Identity.objects.create(user=user, issuer=issuer, subject=subject, email=_email(claims))
    elif user.has_usable_password() or user.is_superuser:
        raise Refused(SIGN_IN_BELOW)
    if not user.is_active:
        raise Refused("This account is closed. Ask a Jobsite admin.")
    _give_roles(user, claims, is_new=is_new)
    return user


def _first_sign_in(claims: dict[str, Any]) -> tuple[User, bool]:
    """The account for somebody who signs in for the first time, and whether it is new."""
    name = str(claims.get(settings.OIDC_USERNAME_CLAIM) or "").strip()
    if not name or not name.isprintable() or len(name) > MAX_NAME_CHARACTERS or name.casefold() in NO_PERSONS:
        raise Refused(NO_NAME)
    if settings.OIDC_USERNAME_CLAIM == "email" and claims.get("email_verified", True) is not True:
        raise Refused("Your e-mail address is not verified at the sign-in provider.")
    user, is_new = User.objects.get_or_create(username=name, defaults={"email": _email(claims)})
    if is_new:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    elif user.has_usable_password() or user.is_superuser:
        raise Refused(SIGN_IN_BELOW)
    elif user.is_active and (hasattr(user, "identity") or not _is_owner(user, claims)):
        raise Refused("This account belongs to another user of the sign-in provider. Ask a Jobsite admin.")
    return user, is_new


def _is_owner(user: User, claims: dict[str, Any]) -> bool:
    """Whether the provider has verified that the account's e-mail address is this person's."""
    email = _email(claims).casefold()
    return claims.get("email_verified") is True and email != "" and email in (user.username.casefold(), user.email.casefold())


def _email(claims: dict[str, Any]) -> str:
    return without_controls(str(claims.get("email") or "")).strip()[:254]


def _give_roles(user: User, claims: dict[str, Any], *, is_new: bool) -> None:
    if settings.OIDC_ROLE_CLAIM:
        named = claims.get(settings.OIDC_ROLE_CLAIM)
        roles = {role for role in ROLES if isinstance(named, list) and role in named}
        user.groups.remove(*Group.objects.filter(name__in=set(ROLES) - roles))
        user.groups.add(*Group.objects.filter(name__in=roles))
        User.objects.filter(pk=user.pk).update(is_staff=ADMINS in roles)
    elif is_new and settings.OIDC_DEFAULT_ROLE != "none":
        user.groups.add(*Group.objects.filter(name=settings.OIDC_DEFAULT_ROLE))
