"""The page that describes the API for people. It is made from the same schema as ``/v1/schema``."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from builds.api import description, openapi


@require_safe
@login_not_required
def docs(request: HttpRequest) -> HttpResponse:
    """The page. Readers without an account see it only if a setting allows that."""
    if not settings.API_DOCS_PUBLIC and not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    schema = openapi.document()
    found = description.endpoints(schema, address=settings.PUBLIC_URL)
    return render(request, "api_docs.html", {"info": schema["info"], "endpoints": found})
