"""Signing in at an OpenID Connect provider. Authlib speaks with it and checks what it signs; here it is decided who that is.

Accounts with a password of their own are not taken over: whoever may write the claim that names people could be anybody.
"""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_safe

from builds.lifecycle import NO_PERSONS
from builds.roles import ADMINS, ROLES

logger = logging.getLogger(__name__)

NEXT = "oidc-next"
BACKEND = "django.contrib.auth.backends.ModelBackend"
FAILED = "Signing in did not work. Try again; if it fails again, tell an admin of Jobsite."
LONGEST_NAME = 150


class Refused(Exception):
    """Who has signed in at the provider does not come in; the message says why."""


def _provider() -> Any:
    """The provider, as its own description tells. Nothing of it is kept between two sign-ins."""
    if not settings.OIDC_ISSUER:
        raise Http404
    from authlib.integrations.django_client import OAuth  # noqa: PLC0415 - installed only where it is used

    return OAuth().register(
        "oidc",
        client_id=settings.OIDC_CLIENT_ID,
        client_secret=settings.OIDC_CLIENT_SECRET,
        server_metadata_url=f"{settings.OIDC_ISSUER}/.well-known/openid-configuration",
        client_kwargs={"scope": "openid email profile", "code_challenge_method": "S256", "timeout": 10},
    )


@login_not_required
@require_safe
def begin(request: HttpRequest) -> HttpResponse:
    """Send the reader to the provider."""
    provider = _provider()
    request.session[NEXT] = request.GET.get("next", "")
    try:
        answer: HttpResponse = provider.authorize_redirect(request, settings.PUBLIC_URL + reverse("desk:oidc-callback"))
    except Exception:
        return _failed(request)
    return answer


@login_not_required
@require_safe
def callback(request: HttpRequest) -> HttpResponse:
    """Where the provider sends the reader back to."""
    provider = _provider()
    try:
        token = provider.authorize_access_token(request)
        claims = {**(token.get("userinfo") or {})}
        if not claims.get(settings.OIDC_USERNAME_CLAIM):
            claims = {**provider.userinfo(token=token), **claims}
    except Exception:
        return _failed(request)
    try:
        user = known_user(claims)
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect("desk:sign-in")
    address = request.session.pop(NEXT, "")
    login(request, user, backend=BACKEND)
    return redirect(address if url_has_allowed_host_and_scheme(address, {request.get_host()}) else settings.LOGIN_REDIRECT_URL)


def _failed(request: HttpRequest) -> HttpResponse:
    """Whatever it was that the provider did, or did not answer: the reason is for the operators."""
    logger.warning("single sign-on failed", exc_info=True)
    messages.error(request, FAILED)
    return redirect("desk:sign-in")


@transaction.atomic
def known_user(claims: dict[str, Any]) -> User:
    """The account of who the provider says it is, made where there is none yet, with the roles that the provider names.

    Raises:
        Refused: there is no name, it is not verified, or the account is not to be taken.
    """
    name = str(claims.get(settings.OIDC_USERNAME_CLAIM) or "").strip()
    if not name or len(name) > LONGEST_NAME or name.casefold() in NO_PERSONS:
        raise Refused("The provider does not say who you are. Tell an admin of Jobsite.")
    if settings.OIDC_USERNAME_CLAIM == "email" and claims.get("email_verified") is False:
        raise Refused("Your e-mail address is not verified yet at the provider.")
    user, is_new = User.objects.get_or_create(username=name, defaults={"email": str(claims.get("email") or "")[:254]})
    if is_new:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    elif user.has_usable_password() or user.is_superuser:
        raise Refused("This account has a password of its own: sign in with it below.")
    if not user.is_active:
        raise Refused("This account is closed. Ask an admin of Jobsite.")
    _give_roles(user, claims, is_new=is_new)
    return user


def _give_roles(user: User, claims: dict[str, Any], *, is_new: bool) -> None:
    if settings.OIDC_ROLE_CLAIM:
        named = claims.get(settings.OIDC_ROLE_CLAIM)
        roles = {role for role in ROLES if isinstance(named, list) and role in named}
        user.groups.remove(*Group.objects.filter(name__in=set(ROLES) - roles))
        user.groups.add(*Group.objects.filter(name__in=roles))
        User.objects.filter(pk=user.pk).update(is_staff=ADMINS in roles)
    elif is_new and settings.OIDC_DEFAULT_ROLE != "none":
        user.groups.add(*Group.objects.filter(name=settings.OIDC_DEFAULT_ROLE))
