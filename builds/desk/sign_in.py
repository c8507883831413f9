"""Signing in, and whose address a sign-in comes from."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import PasswordChangeForm
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse, reverse_lazy
from django.utils.decorators import method_decorator


class SignInView(views.LoginView):
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "provider": settings.OIDC_NAME if settings.OIDC_ISSUER else ""}


class PasswordView(views.PasswordChangeView):
    template_name = "desk/password.html"
    success_url = reverse_lazy("desk:submissions")

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        messages.success(self.request, "Your password is changed. Your other browsers are signed out.")
        return super().form_valid(form)


@method_decorator(login_not_required, name="dispatch")
class SignOutView(views.LogoutView):
    """Also for who is signed out by now: to sign in would lead back here, to be signed out again."""


@login_not_required
def admin_door(request: HttpRequest) -> HttpResponse:
    """Where the admin sends whom it does not let in. The sign-in would send who is signed in back to it, for ever."""
    if request.user.is_authenticated and not request.user.is_staff:
        raise PermissionDenied(
            "The admin is for those whose account is marked “May use the admin”. Ask an admin of Jobsite for it."
        )
    return HttpResponseRedirect(f"{reverse('desk:sign-in')}?{request.META['QUERY_STRING']}")


def client_address(request: HttpRequest) -> str:
    """The reader's own address: the one that the outermost of our own proxies saw; without proxies, whoever connected.

    What stands further left in X-Forwarded-For was written by the reader, who may write anything.
    """
    connected: str = request.META.get("REMOTE_ADDR", "")
    forwarded = [address.strip() for address in request.headers.get("X-Forwarded-For", "").split(",") if address.strip()]
    seen = forwarded[-settings.PROXIES] if settings.PROXIES and len(forwarded) >= settings.PROXIES else connected
    return _client(seen) or _client(connected) or connected


WITH_PORT = re.compile(r"\[([^]]*)](?::\d+)?|([\d.]+):\d+")
OWN_BITS = 64


def _client(text: str) -> str:
    """The address that stands for a client: without a port; of IPv6 the network, in which it may have any. Empty where it is none."""
    try:
        found = WITH_PORT.fullmatch(text)
        address = ipaddress.ip_address(found[1] or found[2] if found else text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped
        return str(inner or ipaddress.IPv6Network((int(address), OWN_BITS), strict=False).network_address)
    return str(address)
