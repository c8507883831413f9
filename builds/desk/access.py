"""Access to the pages. Signed-out readers go to the sign-in page; readers without the permission learn which role has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from builds.staff.roles import role_for

VIEW = "builds.view_submission"
RETRY = "builds.retry_submission"
CANCEL = "builds.cancel_submission"
DELIVER = "builds.deliver_submission"
PUSH = "builds.push_submission"
WRITE = "builds.write_submission"
SHARE = "builds.share_savedview"

LIVE_HEADER = "X-Live"
SIGNED_OUT = "You are signed out. Sign in again to continue."

View = Callable[..., HttpResponseBase]


class StaffRequest(HttpRequest):
    """A request from a signed-in user. For annotations only."""

    user: User


class MissingPermission(PermissionDenied):
    """The reader's role does not have the permission. The 403 page shows the message."""

    def __init__(self, permission: str) -> None:
        super().__init__(f"You need the role “{role_for(permission)}” for this. Ask a Jobsite admin for it.")


def desk_page(permission: str = VIEW) -> Callable[[View], View]:
    """Require ``permission`` for a view and forbid caching its response. Every view of the desk uses this decorator."""

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.has_perm(permission):
                raise MissingPermission(permission)
            response = view(request, *args, **kwargs)
            response.headers.setdefault("Cache-Control", "private, no-store")
            return response

        return checked

    return decorate


class SignedInMiddleware(LoginRequiredMiddleware):
    """Require a signed-in user for every view that is not marked ``login_not_required``.

    Scripts that keep a page live get a plain 401, because they cannot use a sign-in page.
    """

    def handle_no_permission(self, request: HttpRequest, view_func: Any) -> Any:
        if request.headers.get(LIVE_HEADER):
            return HttpResponse(SIGNED_OUT, status=401, content_type="text/plain; charset=utf-8")
        return super().handle_no_permission(request, view_func)
