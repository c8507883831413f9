"""A stand-in for doi.org: answers a request for a DOI with its metadata as CSL JSON, or with 404."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from tests.standins._server import Answer, Exchange, StandIn

CSL = "application/vnd.citationstyles.csl+json"


class DoiService(StandIn):
    """``known`` maps a DOI, as it stands in the path, to its metadata."""

    def __init__(self, *, port: int = 0) -> None:
        super().__init__(port=port)
        self.known: dict[str, Any] = {}

    @property
    def asked(self) -> list[str]:
        """The DOIs that were asked for, in order."""
        return [unquote(request.path.removeprefix("/")) for request in self.requests]

    def respond(self, exchange: Exchange) -> None:
        path = exchange.record.path.removeprefix("/")
        value = self.known.get(path, self.known.get(unquote(path)))
        answer = Answer.text(404, "DOI Not Found") if value is None else Answer.json(200, value, **{"Content-Type": CSL})
        if fault := self.take_fault(exchange.record.path):
            exchange.apply(fault, answer)
        else:
            exchange.send(answer)
