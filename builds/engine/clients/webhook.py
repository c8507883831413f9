"""A webhook: posts a message as JSON, signed so that its receiver can tell that it is ours and not old.

The signature is the hexadecimal HMAC-SHA256, with the shared secret, of the time stamp, a dot and the body.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping

from builds.engine.clients import short_reason
from builds.engine.clients.http import CALL_FAILURES, DeadlineSession

TIME_LIMITS = (5, 10)
SECONDS = 20.0
SIGNATURE, TIMESTAMP = "X-Jobsite-Signature", "X-Jobsite-Timestamp"


class WebhookFailed(Exception):
    """The receiver did not answer with 2xx; the message says why."""


def sign(secret: str, timestamp: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def post(url: str, secret: str, message: Mapping[str, object]) -> None:
    """Post the message.

    Raises:
        WebhookFailed: it was not accepted in time.
    """
    body, timestamp = json.dumps(message).encode(), str(int(time.time()))
    headers = {"Content-Type": "application/json", TIMESTAMP: timestamp, SIGNATURE: sign(secret, timestamp, body)}
    try:
        with DeadlineSession(SECONDS) as session:
            answer = session.post(url, data=body, headers=headers, timeout=TIME_LIMITS, stream=True)
    except CALL_FAILURES as error:
        raise WebhookFailed(f"it could not be reached: {short_reason(error)}") from error
    if not 200 <= answer.status_code < 300:
        raise WebhookFailed(f"it answered {answer.status_code}")
