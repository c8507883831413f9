"""Who sees a page. Signed out, a reader is sent to the sign-in; without the right, told which role has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from builds.roles import role_for

VIEW = "builds.view_submission"
RETRY = "builds.retry_submission"
CANCEL = "builds.cancel_submission"
DELIVER = "builds.deliver_submission"
PUSH = "builds.push_submission"

LIVE_HEADER = "X-Live"
SIGNED_OUT = "You are signed out. Sign in again to go on."

View = Callable[..., HttpResponseBase]


class StaffRequest(HttpRequest):
    """A request of somebody who is signed in. For annotations."""

    user: User


class Missing(PermissionDenied):
    """The reader's role does not have the right; shown on the page of refusals."""

    def __init__(self, permission: str) -> None:
        super().__init__(f"This needs the role “{role_for(permission)}”. Ask an admin of Jobsite for it.")


def desk_page(permission: str = VIEW) -> Callable[[View], View]:
    """Open a view to those who have ``permission``, and nothing of it to any cache. Every view of the desk has this."""

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.has_perm(permission):
                raise Missing(permission)
            response = view(request, *args, **kwargs)
            response.headers.setdefault("Cache-Control", "private, no-store")
            return response

        return checked

    return decorate


class SignedInMiddleware(LoginRequiredMiddleware):
    """Every view but those marked ``login_not_required`` is for people who are signed in.

    A script that keeps a page live is told so plainly, since it can't use a sign-in page.
    """

    def handle_no_permission(self, request: HttpRequest, view_func: Any) -> Any:
        if request.headers.get(LIVE_HEADER):
            return HttpResponse(SIGNED_OUT, status=401, content_type="text/plain; charset=utf-8")
        return super().handle_no_permission(request, view_func)
