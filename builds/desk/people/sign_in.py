"""Signing in, signing out, changing the password, and resetting it by e-mail."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm, PasswordResetForm, SetPasswordForm
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.urls import reverse, reverse_lazy
from django.utils.decorators import method_decorator

from builds.models import Notification, clock
from builds.record.notifications import RESET_KIND, send_email

# An account gets one e-mail in this time, however often its reset is asked for.
RESET_PAUSE = timedelta(minutes=5)


class SignInForm(AuthenticationForm):
    error_messages: dict[str, Any] = {
        "invalid_login": "The user name and the password do not match, or the account is switched off. Check both: capital letters matter. "
        "A Jobsite admin can give you a new password."
    }


class SignInView(views.LoginView):
    redirect_authenticated_user = True
    authentication_form = SignInForm

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        provider = settings.OIDC_NAME if settings.OIDC_ISSUER else ""
        return {**super().get_context_data(**kwargs), "provider": provider, "sends_email": bool(settings.EMAIL_HOST)}


class ResetForm(PasswordResetForm):
    """The outbox sends its e-mail, so that a slow mail server holds up no request. Its link never comes from the Host header."""

    def send_mail(
        self,
        subject_template_name: str,
        email_template_name: str,
        context: dict[str, Any],
        from_email: str | None,
        to_email: str,
        html_email_template_name: str | None = None,
    ) -> None:
        recent = Notification.objects.filter(recipient=to_email, kind=RESET_KIND, created_at__gt=clock.now() - RESET_PAUSE)
        if not recent.exists():
            link = reverse("desk:new-password", args=[context["uid"], context["token"]])
            text = render_to_string(
                "registration/reset_email.txt", {"link": f"{settings.PUBLIC_URL}{link}", "user": context["user"]}
            )
            send_email(RESET_KIND, to_email, "Jobsite: reset your password", text)


class PasswordView(views.PasswordChangeView):
    template_name = "desk/password.html"
    success_url = reverse_lazy("desk:submissions")

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        messages.success(self.request, "Your password has been changed. Your other browsers are signed out.")
        return super().form_valid(form)


@method_decorator(login_not_required, name="dispatch")
class ResetView(views.PasswordResetView):
    """Sends a link to the address of an account. It says the same whether or not there is an account, so nobody can find out."""

    template_name = "registration/reset.html"
    form_class = ResetForm
    success_url = reverse_lazy("desk:reset-sent")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not settings.EMAIL_HOST:
            raise Http404("This Jobsite sends no e-mail. Ask a Jobsite admin for a new password.")
        return super().dispatch(request, *args, **kwargs)


@method_decorator(login_not_required, name="dispatch")
class ResetSentView(views.PasswordResetDoneView):
    template_name = "registration/reset_sent.html"


@method_decorator(login_not_required, name="dispatch")
class NewPasswordView(views.PasswordResetConfirmView):
    template_name = "registration/new_password.html"
    success_url = reverse_lazy("desk:sign-in")

    def form_valid(self, form: SetPasswordForm[User]) -> HttpResponse:
        messages.success(self.request, "Your password has been changed. Sign in with it.")
        return super().form_valid(form)


@method_decorator(login_not_required, name="dispatch")
class SignOutView(views.LogoutView):
    """Also open to signed-out users. Otherwise the sign-in page would send them back here and sign them out again."""


@login_not_required
def admin_sign_in(request: HttpRequest) -> HttpResponse:
    """The admin's sign-in page. Users who may not use the admin get a 403, because the sign-in page would redirect them forever."""
    if request.user.is_authenticated and not request.user.is_staff:
        raise PermissionDenied("Your account may not use the admin. Ask a Jobsite admin to allow it.")
    return HttpResponseRedirect(f"{reverse('desk:sign-in')}?{request.META['QUERY_STRING']}")
