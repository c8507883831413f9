"""The parts of an author's front matter that are shown and searched. It is untrusted, and may contain anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from builds.lib.text import one_line, storable_text

# Only what surely is one address: it is offered as the recipient of a letter.
EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){1,8}")
MAX_ADDRESSES = 10


def storable(value: Any) -> Any:
    """A JSON value without the characters that databases reject in a text: NUL is removed, half characters are replaced.

    Raises:
        RecursionError: it is nested too deeply.
    """
    text = json.dumps(value)  # much cheaper than visiting every value
    return _cleaned(value) if "\\u0000" in text or "\\ud" in text else value


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    return value


def title(document: dict[str, Any]) -> str:
    return one_line(document.get("title"), 500)


def subject(document: dict[str, Any]) -> str:
    """The journal field: ``Earth Science``."""
    return one_line(document.get("subject"), 100)


def authors(document: dict[str, Any]) -> str:
    """``Ada Lovelace (0000-0002-1825-0097), Charles Babbage``."""
    return one_line(", ".join(_authors(document)), 4000)


def emails(authors: Any) -> list[str]:
    """The e-mail addresses of the corresponding authors; of all authors if none of those has one. ``authors`` is the document's list."""
    listed = [author for author in authors if isinstance(author, dict)] if isinstance(authors, list) else []
    corresponding = [author for author in listed if author.get("corresponding") is True]
    return _addresses(corresponding) or _addresses(listed)


def _addresses(authors: list[dict[str, Any]]) -> list[str]:
    found = dict.fromkeys(str(author.get("email", "")).strip() for author in authors)
    return [address for address in found if EMAIL.fullmatch(address)][:MAX_ADDRESSES]


def _authors(document: dict[str, Any]) -> Iterator[str]:
    listed = document.get("authors") or document.get("author") or []
    for author in listed if isinstance(listed, list) else [listed]:
        name = one_line(author.get("name") if isinstance(author, dict) else author, 200)
        orcid = one_line(author.get("orcid"), 60) if isinstance(author, dict) else ""
        if name:
            yield f"{name} ({orcid})" if orcid else name
