"""Every path that the service answers."""

from django.contrib import admin
from django.urls import include, path

from builds.desk.people.sign_in import admin_sign_in
from jobsite.static_serving import redirect_to_this_release

urlpatterns = [
    path("", include("builds.api.urls")),
    path("static/<path:name>", redirect_to_this_release),
    path("admin/login/", admin_sign_in),
    path("admin/", admin.site.urls),
    path("", include("builds.desk.urls")),
]

handler400 = "builds.api.envelope.bad_request"
handler404 = "builds.api.envelope.not_found"
handler500 = "builds.api.envelope.server_error"
