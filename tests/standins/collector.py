"""A stand-in for Sentry and for an OpenTelemetry collector: keeps the bodies that it gets."""

from __future__ import annotations

import gzip

from tests.standins._server import Answer, Exchange, StandIn


class Collector(StandIn):
    """``received`` has the path and the unpacked body of each request."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[tuple[str, bytes]] = []

    def respond(self, exchange: Exchange) -> None:
        body = b"".join(exchange.body)
        if exchange.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with self.lock:
            self.received.append((exchange.path, body))
        exchange.send(Answer.json(200, {}))
