"""Reads a request, and refuses one that nobody should wait for as soon as its headers are here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from waitress.parser import HTTPRequestParser, ParsingError

from jobsite.web.refusal import Refusal

# A client that is not known may send this much.
SMALL_BODY_BYTES = 1 << 17
MAX_ADDRESS_BYTES = 4094
MAX_HEADER_BYTES = 8190


@dataclass(frozen=True)
class Limits:
    """``admit`` says who may send a large body: it gets the path and the headers (``X_INTERNAL_SECRET``, …) and returns a refusal, or
    None. Sizes in bytes."""

    max_headers: int
    max_body_bytes: int
    admit: Callable[[str, Mapping[str, str]], Refusal | None]


class Request(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """waitress's parser, stricter: what two parsers could read in two ways is refused."""

    limits: Limits  # set by the server for its subclass
    _is_admitted = False

    def received(self, data: bytes) -> int:
        consumed = int(super().received(data))
        if self.headers_finished and self.error is None:
            self._check_body(max(self.content_length, self.body_bytes_received))
        return consumed

    def _check_body(self, size: int) -> None:
        if size <= SMALL_BODY_BYTES or (self._is_admitted and size <= self.limits.max_body_bytes):
            return
        refusal = None if self._is_admitted else self.limits.admit(self.path, self.headers)
        if refusal is None and size > self.limits.max_body_bytes:
            refusal = Refusal(413)
        self._is_admitted = refusal is None
        if refusal:
            self.refuse(refusal)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with ``refusal`` instead of waiting for the rest."""
        self.error, self.completed, self.expect_continue = refusal, True, False

    def parse_header(self, header_plus: bytes) -> None:
        """As waitress does, then look for what it lets through.

        Raises:
            ParsingError: the head is not valid.
        """
        super().parse_header(header_plus)
        first, *lines = header_plus.rstrip(b"\r\n").split(b"\r\n")
        if len(first) > MAX_ADDRESS_BYTES:
            self.refuse(Refusal(414))
        elif len(lines) > self.limits.max_headers or any(len(line) > MAX_HEADER_BYTES for line in lines):
            self.refuse(Refusal(431))
        elif not first.endswith((b" HTTP/1.0", b" HTTP/1.1")) or not self.path.startswith("/"):
            raise ParsingError("Start line is invalid")
        elif "TRANSFER_ENCODING" in self.headers or (self.chunked and "CONTENT_LENGTH" in self.headers):
            raise ParsingError("The length of the body is not clear")
        elif self.headers.get("EXPECT", "100-continue").lower() != "100-continue":
            self.refuse(Refusal(417))


def request_class(limits: Limits) -> type[Request]:
    """The parser with these limits: waitress makes one for each request, from a class."""
    members: dict[str, Any] = {"limits": limits}
    return type("LimitedRequest", (Request,), members)
