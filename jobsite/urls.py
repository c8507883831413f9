"""Every address that the service answers."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", include("builds.api.urls")),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
]

handler400 = "builds.api.envelope.bad_request"
handler404 = "builds.api.envelope.not_found"
handler500 = "builds.api.envelope.server_error"
