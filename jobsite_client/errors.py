"""What can go wrong with a call."""

from __future__ import annotations


class ClientError(Exception):
    """Any error of this package. Its text is one sentence for a person."""


class Unreachable(ClientError):
    """The service could not be reached, or could not answer, after all retries."""


class Refused(ClientError):
    """The service refused the request. ``status`` is HTTP's: 400, 401, 404, 409, …"""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class WaitTimedOut(ClientError):
    """The submission has not ended within the time that the caller wanted to wait."""
