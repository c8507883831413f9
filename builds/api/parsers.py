"""Reads a request's body, within limits of size, number and depth of its values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

CHUNK = 1 << 16
# Each value takes up to 100 bytes of memory, and a body of 100 MB could have 33 million. Commas in texts count as values.
MAX_VALUES = 500_000
# Far below the limit of Python's recursion: what is stored is read again by code that is itself nested deeper than this.
MAX_DEPTH = 100


class BodyTooLarge(APIException):
    status_code = 413

    def __init__(self) -> None:
        super().__init__(f"The body is larger than the limit of {settings.SUBMISSION_MAX_BYTES} bytes.")


class TooManyValues(APIException):
    status_code = 413
    default_detail = f"The body has more values than the limit of {MAX_VALUES:,}."


class EncodedBody(APIException):
    status_code = 415
    default_detail = "The body must not be encoded or compressed: send it without the header Content-Encoding."


class LimitedJSONParser(BaseParser):
    """Parses a JSON object. Refuses a body over SUBMISSION_MAX_BYTES by its announced length, or while reading it."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        if _meta(parser_context or {}).get("HTTP_CONTENT_ENCODING", "identity") not in ("", "identity"):
            raise EncodedBody
        if _announced(parser_context or {}) > settings.SUBMISSION_MAX_BYTES:
            raise BodyTooLarge
        try:
            body = _read(stream)
            if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
                raise TooManyValues
            value = json.loads(body, parse_constant=_refuse_constant)
        except OSError as error:
            raise ParseError("The body could not be read completely.") from error
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is not valid JSON: {str(error)[:200]}.") from error
        if not isinstance(value, dict):
            raise ParseError("The body must be a JSON object.")
        if _is_deep(value):
            raise ParseError(f"The body is nested more than {MAX_DEPTH} levels deep.")
        return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _depth in range(MAX_DEPTH):
        if not level:
            break
        children = (each.values() if isinstance(each, dict) else each for each in level)
        level = [child for some in children for child in some if isinstance(child, dict | list)]
    return bool(level)


def _meta(parser_context: Mapping[str, Any]) -> Mapping[str, str]:
    return parser_context["request"].META if "request" in parser_context else {}


def _announced(parser_context: Mapping[str, Any]) -> int:
    """The length of the body; 0 if it is not known."""
    length = str(_meta(parser_context).get("CONTENT_LENGTH") or "")
    return int(length) if length.isdigit() else 0


def _read(stream: IO[bytes]) -> bytearray:
    body = bytearray()
    while chunk := stream.read(CHUNK):
        body += chunk
        if len(body) > settings.SUBMISSION_MAX_BYTES:
            raise BodyTooLarge
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not allowed")
