"""Reads a request's body, up to a limit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from gunicorn.http.errors import ParseException
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

CHUNK = 1 << 16


class BodyTooLarge(APIException):
    status_code = 413

    def __init__(self) -> None:
        super().__init__(f"The body is larger than the {settings.SUBMISSION_MAX_BYTES} bytes that this service takes.")


class EncodedBody(APIException):
    status_code = 415
    default_detail = "The body must be sent as it is: without the header Content-Encoding."


class SlowBody(APIException):
    status_code = 408
    default_detail = "The body took too long to arrive."


class LimitedJSONParser(BaseParser):
    """A JSON object. A body over SUBMISSION_MAX_BYTES is refused: by its announced length, or as soon as it has grown so far."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        if _meta(parser_context or {}).get("HTTP_CONTENT_ENCODING", "identity") not in ("", "identity"):
            raise EncodedBody
        if _announced(parser_context or {}) > settings.SUBMISSION_MAX_BYTES:
            raise BodyTooLarge
        try:
            value = json.loads(_read(stream), parse_constant=_refuse_constant)
        except (OSError, ParseException) as error:
            if isinstance(error.__cause__, TimeoutError):  # Django wraps it
                raise SlowBody from error
            raise ParseError("The body could not be read to its end.") from error
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is not valid JSON: {str(error)[:200]}.") from error
        if not isinstance(value, dict):
            raise ParseError("The body must be a JSON object.")
        return value


def _meta(parser_context: Mapping[str, Any]) -> Mapping[str, str]:
    return parser_context["request"].META if "request" in parser_context else {}


def _announced(parser_context: Mapping[str, Any]) -> int:
    """The length that the client has announced; 0 where it has not (then CONTENT_LENGTH is how far we read)."""
    meta = _meta(parser_context)
    length = str(meta.get("CONTENT_LENGTH") or "")
    return int(length) if length.isdigit() and "HTTP_TRANSFER_ENCODING" not in meta else 0


def _read(stream: IO[bytes]) -> bytes:
    body = bytearray()
    while chunk := stream.read(CHUNK):
        body += chunk
        if len(body) > settings.SUBMISSION_MAX_BYTES:
            raise BodyTooLarge
    return bytes(body)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
