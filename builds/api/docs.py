"""The page that describes the API for people, rendered from the schema that is served to machines."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator

from builds.api import description


@require_safe
@login_required
def docs(request: HttpRequest) -> HttpResponse:
    generator: Any = SchemaGenerator
    schema = generator().get_schema(request=None, public=True)
    found = description.endpoints(schema, address=settings.PUBLIC_URL)
    return render(request, "api_docs.html", {"info": schema["info"], "endpoints": found})
