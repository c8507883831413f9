"""HTML tables that an export of mystmd can't take."""

from __future__ import annotations

import re
from collections.abc import Iterator

# A comment, also one around a table; and the tags that say whether it stands between the rows of a table.
TOKEN = re.compile(r"<!--.*?(?:-->|\Z)|<(?P<end>/?)(?P<tag>table|tr)\b", re.DOTALL | re.IGNORECASE)


def comments_between_rows(text: str) -> Iterator[int]:
    """The offsets of the comments that stand in a table, but in none of its rows."""
    tables, is_in_row = 0, False
    for token in TOKEN.finditer(text):
        tag = (token["tag"] or "").lower()
        if not tag:
            if tables and not is_in_row:
                yield token.start()
        elif tag == "tr":
            is_in_row = not token["end"]
        else:
            tables = max(tables - 1, 0) if token["end"] else tables + 1
            is_in_row = bool(token["end"])  # a table in a table stands in one of its rows
