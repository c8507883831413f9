"""The calls of Jobsite's API.

Every call is repeated on connection errors, time-outs, and answers 429, 500, 502, 503 and 504, with growing pauses, or as long as
Retry-After says. That is safe: the service does nothing twice for one ``jobId``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from jobsite_client.errors import Refused, Unreachable, WaitTimedOut
from jobsite_client.submission import Submission

SUBMISSIONS = "/v1/services/process-journal-submission"
TRY_AGAIN = (429, 500, 502, 503, 504)
CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
MAX_PAUSE_SECONDS = 60
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class LogLine:
    """``number`` counts from 1 within the attempt."""

    attempt: int
    number: int
    text: str


class Client:
    """Calls the service at ``base_url`` with the shared ``secret``.

    ``retries`` is how often a call is repeated, ``pause_seconds`` the first pause before that; each is twice as long as the one before,
    up to a minute. A client may be used by one thread at a time.

    Raises (from all calls):
        Unreachable: the service could not be reached, or could not answer, after all retries.
        Refused: the service refused the request; its ``status`` and text say why.
    """

    def __init__(self, base_url: str, secret: str, *, retries: int = 6, pause_seconds: float = 0.5) -> None:
        self._address = base_url.rstrip("/") + SUBMISSIONS
        self._session = requests.Session()
        self._session.headers["X-Internal-Secret"] = secret
        retry = Retry(
            total=retries,
            backoff_factor=pause_seconds,
            backoff_max=MAX_PAUSE_SECONDS,
            retry_after_max=MAX_PAUSE_SECONDS,
            status_forcelist=TRY_AGAIN,
            allowed_methods=None,  # also POST
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()

    def submit(self, *, url: str, job_id: str, uuid: str, document: Mapping[str, Any]) -> Submission:
        """Submit a manuscript. ``document`` is its front matter. Repeating it while the submission is unfinished starts nothing."""
        body = {"url": url, "jobId": job_id, "uuid": uuid, "parsedDocument": dict(document)}
        self._call("POST", "", json=body)
        return self.status(job_id)

    def status(self, job_id: str) -> Submission:
        return self._submission("GET", _path(job_id))

    def cancel(self, job_id: str, *, reason: str = "") -> Submission:
        """Cancel an unfinished submission. A running one is shown as cancelled once none of its processes runs."""
        return self._submission("POST", f"{_path(job_id)}/cancel", json={"reason": reason})

    def retry(self, job_id: str, *, mode: str = "latest", reason: str = "") -> Submission:
        """Queue a new attempt at a submission that has ended. ``mode`` says what it reuses (docs/api.md)."""
        before = self.status(job_id)
        try:
            return self._submission("POST", f"{_path(job_id)}/retry", json={"mode": mode, "reason": reason})
        except Refused as refused:
            after = self.status(job_id)
            # The answer to the first request was lost, and the repeated one met the new attempt.
            if refused.status == 409 and before.is_final and after.newest_attempt > before.newest_attempt:
                return after
            raise

    def wait(self, job_id: str, *, seconds: float | None = None, poll_seconds: float = 2.0) -> Submission:
        """Wait until the submission has ended, its automatic retries included. Without ``seconds``, for as long as it takes.

        Raises:
            WaitTimedOut: it has not ended after ``seconds``.
        """
        ends_at = None if seconds is None else time.monotonic() + seconds
        while not (submission := self.status(job_id)).is_final:
            _pause(submission, poll_seconds, ends_at)
        return submission

    def log(self, job_id: str, *, attempt: int | None = None, first: int = 1) -> Iterator[LogLine]:
        """The lines that the log has now, of the newest attempt if none is named."""
        number = attempt or self.status(job_id).newest_attempt
        yield from self._read(job_id, number, first)

    def follow_log(self, job_id: str, *, seconds: float | None = None, poll_seconds: float = 1.0) -> Iterator[LogLine]:
        """The log of the newest attempt and of those that follow it, while they are written, until the submission has ended.

        Raises:
            WaitTimedOut: it has not ended after ``seconds``.
        """
        ends_at = None if seconds is None else time.monotonic() + seconds
        attempt, first = self.status(job_id).newest_attempt, 1
        while True:
            submission = self.status(job_id)
            for line in self._read(job_id, attempt, first):
                yield line
                first = line.number + 1
            if submission.newest_attempt > attempt:
                attempt, first = attempt + 1, 1
            elif submission.is_final:
                return
            else:
                _pause(submission, poll_seconds, ends_at)

    def _read(self, job_id: str, attempt: int, first: int) -> Iterator[LogLine]:
        where = {"from": first, "attempt": attempt}
        with self._call("GET", f"{_path(job_id)}/log", params=where, stream=True) as response:
            for number, text in enumerate(_lines(response), first):
                yield LogLine(attempt, number, text)

    def _submission(self, method: str, path: str, **options: Any) -> Submission:
        with self._call(method, path, **options) as response:
            try:
                return Submission.of(response.json()["data"])
            except (ValueError, LookupError, TypeError) as error:
                raise Unreachable(f"{self._address} did not answer as Jobsite does. Check the address of the service.") from error

    def _call(self, method: str, path: str, **options: Any) -> requests.Response:
        """The answer to a request that the service has accepted. No redirect is followed: the secret must not go anywhere else."""
        times = (CONNECT_SECONDS, READ_SECONDS)
        try:
            response = self._session.request(method, self._address + path, timeout=times, allow_redirects=False, **options)
        except requests.RequestException as error:
            raise Unreachable(f"The service at {self._address} could not be reached: {error}") from error
        if response.status_code in (200, 202):
            return response
        if response.status_code in TRY_AGAIN or response.status_code < 400:
            raise Unreachable(f"The service answered {response.status_code}: {_message(response)}")
        raise Refused(response.status_code, _message(response))


def _path(job_id: str) -> str:
    return f"/{quote(job_id, safe='')}"


def _pause(submission: Submission, seconds: float, ends_at: float | None) -> None:
    left = seconds if ends_at is None else ends_at - time.monotonic()
    if left <= 0:
        raise WaitTimedOut(f"{submission.job_id} has not ended in time: it is {submission.state}.")
    time.sleep(min(seconds, left))


def _message(response: requests.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, LookupError, TypeError):
        return response.reason or "no reason given"


def _lines(response: requests.Response) -> Iterator[str]:
    """The lines of a text. Only a newline ends one: log lines may contain other characters that Python counts as line breaks."""
    rest = b""
    try:
        for chunk in response.iter_content(CHUNK_BYTES):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in whole)
    except requests.RequestException as error:
        raise Unreachable(f"The connection broke while the log was read: {error}") from error
