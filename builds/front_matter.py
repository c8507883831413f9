"""What of an author's front matter is shown and searched. Anything may stand in it; nothing of it is trusted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

# Control characters, and marks that change the direction of the text after them: a title must not rearrange a page.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


def clean(text: Any, limit: int) -> str:
    """``text`` in one line without control characters, at most ``limit`` long; empty where it is no text."""
    if not isinstance(text, str | int | float):
        return ""
    line = " ".join(UNPRINTABLE.sub(" ", str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def storable(value: Any) -> Any:
    """``value``, a JSON value, with what no database takes in a text made harmless: NUL is left out, half characters are replaced.

    Raises:
        RecursionError: it is nested too deeply.
    """
    text = json.dumps(value)  # a look at the whole is much cheaper than a walk through it
    return _mended(value) if "\\u0000" in text or "\\ud" in text else value


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    return value


def title(document: dict[str, Any]) -> str:
    return clean(document.get("title"), 500)


def authors(document: dict[str, Any]) -> str:
    """``Ada Lovelace (0000-0002-1825-0097), Charles Babbage``."""
    return clean(", ".join(_authors(document)), 4000)


def _authors(document: dict[str, Any]) -> Iterator[str]:
    listed = document.get("authors") or document.get("author") or []
    for author in listed if isinstance(listed, list) else [listed]:
        name = clean(author.get("name") if isinstance(author, dict) else author, 200)
        orcid = clean(author.get("orcid"), 60) if isinstance(author, dict) else ""
        if name:
            yield f"{name} ({orcid})" if orcid else name
