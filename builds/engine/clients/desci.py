"""The client of desci-server (CONTRACT §2 and §3): sends status updates and files."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote

import requests

from builds.engine.clients import short_reason
from builds.engine.clients.http import CALL_FAILURES, PLAIN, DeadlineSession, read_beginning
from builds.engine.clients.multipart import Multipart
from builds.errors import DesciServerDown
from builds.lib.redact import Redactor

# In seconds, to connect and between two pieces of the response.
STATUS_TIME_LIMITS = (5, 15)
# For the whole call, whatever the server sends meanwhile.
STATUS_SECONDS = 25.0
SEND_SECONDS = 30.0
# A slower upload is stopped and tried again; sending may take at least this long.
MIN_BYTES_PER_SECOND = 50_000
MIN_SEND_SECONDS = 120.0
# desci-server stores the files before it answers, so the time limit for the answer grows with their size.
ANSWER_SECONDS = 45.0
ANSWER_SECONDS_PER_MEGABYTE = 1.0
# desci-server's answers are short. Of a longer one the beginning is kept, and it is not what desci-server sends.
MAX_BODY_BYTES = 64_000
MAX_SHOWN = 200


@dataclass(frozen=True)
class Answer:
    """desci-server's answer: its code, the beginning of its body, and how many seconds it took."""

    code: int
    body: str
    seconds: float

    def __str__(self) -> str:
        if self.code == 200 and not self.is_ok:
            return f"200, but not as desci-server does: {self.body[:MAX_SHOWN]}".strip()
        return f"{self.code} {self.body[:MAX_SHOWN]}".strip()

    @property
    def is_ok(self) -> bool:
        """Whether desci-server itself says that it succeeded: 200, and JSON with ``"ok": true``. A login page may be a 200 too."""
        if self.code != 200:
            return False
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return False
        return isinstance(value, dict) and value.get("ok") is True


class Outcome(Enum):
    """What an answer means for Jobsite."""

    OK = "received"
    GONE = "the job no longer exists"
    UNAUTHORIZED = "the two services' secrets differ"
    JOB_FAILED = "the import is marked as failed"
    REFUSED = "rejected"
    TRY_AGAIN = "temporary failure"


def classify(answer: Answer) -> Outcome:
    """What the answer means. A 404 or 401 with another body does not come from desci-server but from a proxy in between."""
    body = answer.body.lower()
    if answer.is_ok:
        return Outcome.OK
    if answer.code == 200:
        return Outcome.TRY_AGAIN
    if (answer.code == 404 and "job not found" in body) or (answer.code == 401 and "node not found" in body):
        return Outcome.GONE
    if answer.code == 401:
        return Outcome.UNAUTHORIZED
    if answer.code == 400 and "job failed" in body:
        return Outcome.JOB_FAILED
    if answer.code >= 500 or answer.code in (404, 408, 425, 429):
        return Outcome.TRY_AGAIN
    return Outcome.REFUSED


def seconds_to_send(size: int) -> float:
    """The time limit for sending this many bytes."""
    return max(MIN_SEND_SECONDS, size / MIN_BYTES_PER_SECOND)


class DesciServer:
    """Every call has a time limit. The only error that calls raise is :class:`builds.errors.DesciServerDown`."""

    def __init__(self, base_url: str, secret: str) -> None:
        self._base = base_url.rstrip("/")
        self._secret = secret
        self._redact = Redactor([secret]).redact  # an error page may repeat the request

    def update_status(self, node_uuid: str, job_id: str, status: str, message: str) -> Answer:
        """Send one status update and return the answer, whatever its code."""
        address = self._address(node_uuid, "github-myst-import", job_id, "updateStatus")
        return self._post(address, STATUS_SECONDS, timeout=STATUS_TIME_LIMITS, json={"status": status, "message": message})

    def receive_files(self, node_uuid: str, job_id: str, body: Multipart) -> Answer:
        """Send the files and return the answer, whatever its code. The time limit grows with the size."""
        address = self._address(node_uuid, "finalize-myst-import", job_id, "receiveFiles")
        seconds = ANSWER_SECONDS + ANSWER_SECONDS_PER_MEGABYTE * len(body) / 1e6
        headers = {"Content-Type": body.content_type}
        return self._post(
            address, seconds_to_send(len(body)) + seconds, timeout=(SEND_SECONDS, seconds), data=body, headers=headers
        )

    def _address(self, node_uuid: str, resource: str, job_id: str, action: str) -> str:
        return f"{self._base}/v1/nodes/{quote(node_uuid, safe='')}/{resource}/{quote(job_id, safe='')}/{action}"

    def _post(
        self, address: str, seconds: float, *, timeout: tuple[float, float], headers: dict[str, str] | None = None, **content: Any
    ) -> Answer:
        """Send a request. ``seconds`` is the time limit of the whole call."""
        started_at = time.monotonic()
        with DeadlineSession(seconds) as session:
            try:
                # `auth` makes requests ignore a .netrc file of the machine.
                with session.post(
                    address,
                    headers={"X-Internal-Secret": self._secret, **PLAIN, **(headers or {})},
                    auth=lambda request: request,
                    timeout=timeout,
                    allow_redirects=False,
                    stream=True,
                    **content,
                ) as response:
                    text = read_beginning(response, MAX_BODY_BYTES).decode("utf-8", "replace")
                    session.deadline.check()
                    return Answer(response.status_code, self._redact(text), time.monotonic() - started_at)
            except CALL_FAILURES as error:
                late = isinstance(error, requests.Timeout) or session.deadline.is_over
                what = "did not answer in time" if late else "could not be reached"
                raise DesciServerDown(f"desci-server {what} ({short_reason(error)}).") from error
