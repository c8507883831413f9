"""Every address that the service answers."""

from django.contrib import admin
from django.urls import include, path

from builds.desk import sign_in

urlpatterns = [
    path("", include("builds.api.urls")),
    path("admin/login/", sign_in.admin_door),
    path("admin/", admin.site.urls),
    path("", include("builds.desk.urls")),
]

handler400 = "builds.api.envelope.bad_request"
handler404 = "builds.api.envelope.not_found"
handler500 = "builds.api.envelope.server_error"
