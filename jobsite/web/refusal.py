"""Answers of the web server itself, in the API's envelope: no view has seen the request."""

from __future__ import annotations

import json
from http import HTTPStatus

from waitress.task import ErrorTask
from waitress.utilities import Error

SENTENCES = {
    400: "The request is not valid HTTP.",
    401: "Unauthorized",
    408: "The request took too long to arrive.",
    413: "The body is larger than what is accepted here.",
    414: "The address is too long.",
    417: "The Expect header asks for something that is not supported.",
    431: "The request has too many headers, or headers that are too large.",
    500: "Something went wrong inside Jobsite; its operators can find the reason in its log.",
    501: "The request uses a transfer encoding that is not supported.",
    503: "Jobsite is busy at the moment. Try again.",
}
RETRY_AFTER_SECONDS = "2"


class Refusal(Error):  # type: ignore[misc]  # waitress has no types
    """A status, and the sentence that goes with it. After it the connection is closed."""

    def __init__(self, status: int, sentence: str = "") -> None:
        self.code, self.reason = status, HTTPStatus(status).phrase
        super().__init__(sentence or SENTENCES[status])

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        headers = [("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff")]
        if self.code == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append(("Retry-After", RETRY_AFTER_SECONDS))
        return f"{self.code} {self.reason}", headers, json.dumps({"ok": False, "message": self.body}).encode()


class RefusalTask(ErrorTask):  # type: ignore[misc]  # waitress has no types
    """Answers with a refusal, also where waitress or a view has failed."""

    def execute(self) -> None:
        if not isinstance(self.request.error, Refusal):
            self.request.error = Refusal(self.request.error.code)
        super().execute()
