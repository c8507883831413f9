"""The door to desci-server (CONTRACT §2 and §3): a status update, and the files."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote

import requests

from builds.clients.multipart import Multipart
from builds.errors import DesciServerDown
from builds.output import Redactor

STATUS_TIME_LIMITS = (5, 15)
SEND_SECONDS = 30.0
# How long an answer to the files may take, at least, and for each million bytes more: they are put into its storage before.
ANSWER_SECONDS = 45.0
ANSWER_SECONDS_PER_MEGABYTE = 1.0
BODY_BYTES = 4000


@dataclass(frozen=True)
class Answer:
    """What desci-server answered: code, the beginning of the body, and after how many seconds."""

    code: int
    body: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.code} {self.body[:200]}".strip()


class Outcome(Enum):
    """What an answer means to us."""

    OK = "received"
    GONE = "nobody wants the result any more"
    UNAUTHORIZED = "the two services' secrets differ"
    JOB_FAILED = "the import stands as failed over there"
    REFUSED = "refused"
    TRY_AGAIN = "may pass"


def classify(answer: Answer) -> Outcome:
    """What the answer means. A 404 or 401 with other words is no word of desci-server's: a proxy on the way may say it."""
    body = answer.body.lower()
    if answer.code == 200:
        return Outcome.OK
    if (answer.code == 404 and "job not found" in body) or (answer.code == 401 and "node not found" in body):
        return Outcome.GONE
    if answer.code == 401:
        return Outcome.UNAUTHORIZED
    if answer.code == 400 and "job failed" in body:
        return Outcome.JOB_FAILED
    if answer.code >= 500 or answer.code in (404, 408, 425, 429):
        return Outcome.TRY_AGAIN
    return Outcome.REFUSED


class DesciServer:
    """Every call has a time limit; the only error that leaves it is :class:`builds.errors.DesciServerDown`."""

    def __init__(self, base_url: str, secret: str) -> None:
        self._base = base_url.rstrip("/")
        self._secret = secret
        self._redact = Redactor([secret]).redact  # what answers with an error may repeat what it was asked with

    def update_status(self, node_uuid: str, job_id: str, status: str, message: str) -> Answer:
        """Send one status update and return what was answered, whatever it was."""
        address = self._address(node_uuid, "github-myst-import", job_id, "updateStatus")
        return self._post(address, timeout=STATUS_TIME_LIMITS, json={"status": status, "message": message})

    def receive_files(self, node_uuid: str, job_id: str, body: Multipart) -> Answer:
        """Send the files and return what was answered. The time limit grows with the size."""
        address = self._address(node_uuid, "finalize-myst-import", job_id, "receiveFiles")
        seconds = ANSWER_SECONDS + ANSWER_SECONDS_PER_MEGABYTE * len(body) / 1e6
        headers = {"Content-Type": body.content_type}
        return self._post(address, timeout=(SEND_SECONDS, seconds), data=body, headers=headers)

    def _address(self, node_uuid: str, resource: str, job_id: str, act: str) -> str:
        return f"{self._base}/v1/nodes/{quote(node_uuid, safe='')}/{resource}/{quote(job_id, safe='')}/{act}"

    def _post(
        self, address: str, *, timeout: tuple[float, float], headers: dict[str, str] | None = None, **content: Any
    ) -> Answer:
        started_at = time.monotonic()
        try:
            # `auth` keeps a .netrc of the machine out of it.
            with requests.post(
                address,
                headers={"X-Internal-Secret": self._secret, **(headers or {})},
                auth=lambda request: request,
                timeout=timeout,
                allow_redirects=False,
                stream=True,
                **content,
            ) as response:
                text = next(response.iter_content(BODY_BYTES), b"").decode("utf-8", "replace")
                return Answer(response.status_code, self._redact(text), time.monotonic() - started_at)
        except (requests.RequestException, OSError) as error:
            what = "did not answer in time" if isinstance(error, requests.Timeout) else "could not be reached"
            raise DesciServerDown(f"desci-server {what} ({_short(error)}).") from error


def _short(error: BaseException) -> str:
    while error.__context__:
        error = error.__context__
    return (getattr(error, "strerror", "") or type(error).__name__)[:100]
