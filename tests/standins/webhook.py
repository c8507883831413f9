"""A stand-in for the receiver of a webhook: keeps the messages whose signature is right, and refuses others with 403."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from tests.standins._server import Answer, Exchange, StandIn

SECRET = "shared"


class Webhook(StandIn):
    def __init__(self, *, port: int = 0) -> None:
        super().__init__(port=port)
        self.messages: list[dict[str, Any]] = []

    def respond(self, exchange: Exchange) -> None:
        body = b"".join(exchange.body)
        stamp = exchange.headers["X-Jobsite-Timestamp"]
        expected = "sha256=" + hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        if fault := self.take_fault(exchange.record.path):
            exchange.apply(fault, Answer.text(200, "ok"))
        elif hmac.compare_digest(expected, exchange.headers["X-Jobsite-Signature"]):
            self.messages.append(json.loads(body))
            exchange.send(Answer.text(200, "ok"))
        else:
            exchange.send(Answer.text(403, "wrong signature"))
