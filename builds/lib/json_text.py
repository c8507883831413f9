"""JSON for people to read."""

from __future__ import annotations

import json
import re

PIECE = re.compile(r'"(?:[^"\\]|\\.)*"?|\{\s*\}|\[\s*\]|[\[\]{},:]|[^\s\[\]{},:"]+')
MAX_INDENT = 20


def indented(text: str) -> str:
    """JSON, complete or cut anywhere, with each value on its own line."""
    depth, parts = 0, []
    for piece in PIECE.findall(text):
        depth += (piece in "[{") - (piece in "]}")
        line = "\n" + "  " * min(depth, MAX_INDENT)
        if piece in "[{,":
            parts.append(piece + line)
        elif piece in "]}":
            parts.append(line + piece)
        else:
            parts.append(": " if piece == ":" else _readable(piece))
    return "".join(parts)


def _readable(piece: str) -> str:
    """``piece`` with its escaped characters written out. A number stays as it is written."""
    if "\\" not in piece:
        return piece
    try:
        return json.dumps(json.loads(piece), ensure_ascii=False)
    except ValueError:  # a string that was cut
        return piece
