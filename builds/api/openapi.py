"""Makes the OpenAPI description once, keeps it, and serves it.

The code that makes it is loaded in a short-lived child process, because no other page needs it: it takes 5 MB, and the
description itself 55 kB.
"""

from __future__ import annotations

import json
from tempfile import TemporaryFile
from typing import IO, Any

from django.http import HttpResponse
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from builds.service import fork

MEDIA_TYPE = "application/vnd.oai.openapi+json"

_text = b""


def load() -> None:
    """Make the description in a child process, for this process and its forks. See :mod:`builds.service.preload`."""
    global _text
    with TemporaryFile() as file:
        fork.in_child(lambda: _write(file))
        file.seek(0)
        _text = file.read()


def _write(file: IO[bytes]) -> None:
    file.write(_make())
    file.flush()


def text() -> bytes:
    """The description as JSON. A process that has not loaded its pages, such as ``manage.py runserver``, makes it each time."""
    return _text or _make()


def document() -> Any:
    return json.loads(text())


def _make() -> bytes:
    from builds.api import schema  # noqa: PLC0415 - with it comes what no other page needs

    return schema.make()


class SchemaView(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)
    schema = None  # it does not describe itself

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(text(), content_type=MEDIA_TYPE, headers={"Content-Disposition": 'inline; filename="Jobsite.json"'})
