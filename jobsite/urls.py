"""Every address that the service answers."""

from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", include("builds.api.urls")),
    path("admin/login/", login_not_required(RedirectView.as_view(pattern_name="desk:sign-in", query_string=True))),
    path("admin/", admin.site.urls),
    path("", include("builds.desk.urls")),
]

handler400 = "builds.api.envelope.bad_request"
handler404 = "builds.api.envelope.not_found"
handler500 = "builds.api.envelope.server_error"
