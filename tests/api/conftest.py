"""A client of the API, and what it posts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

SUBMISSIONS = "/v1/services/process-journal-submission"
SECRET = "test-secret"


class ApiClient:
    """Sends JSON with the secret; a fault in a view answers as in production instead of being raised here."""

    def __init__(self) -> None:
        self._client = Client(raise_request_exception=False)

    def call(self, method: str, path: str, body: Any = None, *, secret: str | None = SECRET, **options: Any) -> Any:
        content = body if isinstance(body, bytes | str) else json.dumps(body)
        headers = {"X-Internal-Secret": secret} if secret is not None else {}
        return self._client.generic(
            method,
            path,
            b"" if body is None else content,
            options.pop("content_type", "application/json"),
            headers=headers,
            **options,
        )

    def submit(self, **changes: Any) -> Any:
        return self.call("POST", SUBMISSIONS, submission(**changes))


def submission(**changes: Any) -> dict[str, Any]:
    """A good body; a change to ``...`` leaves the field out."""
    body = {
        "url": "https://github.com/a/b/blob/main/myst.yml",
        "jobId": "myst-import-1",
        "uuid": "abc123.",
        "parsedDocument": {"title": "On builds", "exports": ["meca"]},
        "unknown": "ignored",
    }
    return {name: value for name, value in {**body, **changes}.items() if value is not ...}


@pytest.fixture
def api() -> ApiClient:
    return ApiClient()
