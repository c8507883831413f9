"""How much of an untrusted text may be shown: titles, names, log lines and messages can contain any character.

Hidden are control characters, marks that change the direction of the text after them, line separators, and halves of characters
that cannot be sent as UTF-8.
"""

from __future__ import annotations

import re
from typing import Any

# The colour sequences of ECMA-48 (SGR). Logs keep them; their one group holds the codes.
COLOUR = re.compile(r"\x1b\[([0-9;:]*)m")
COLOUR_BYTES = re.compile(rb"\x1b\[[0-9;:]*m")
# All but tab and newline, which a text of several lines may contain.
_CONTROLS = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
_DIRECTIONS = r"\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_CONTROL = re.compile(f"[{_CONTROLS}]+")
_HIDDEN = re.compile(f"[{_CONTROLS}{_DIRECTIONS}]")
_UNPRINTABLE = re.compile(rf"[\t\n{_CONTROLS}{_DIRECTIONS}]+")


def one_line(value: Any, limit: int) -> str:
    """``value`` in one line without hidden characters, cut to ``limit`` characters; empty if it is not a text or a number."""
    if not isinstance(value, str | int | float):
        return ""
    line = " ".join(_UNPRINTABLE.sub(" ", str(value)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def visible(text: str) -> str:
    """``text`` with every hidden character written as its code (``\\u202e``). Tabs and newlines stay."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def plain(text: str) -> str:
    """A log line for a file or a terminal: without colours, and with hidden characters written as their codes."""
    return visible(without_colour(text))


def printable(text: str) -> str:
    """``text`` for a terminal: without colours, and with a space for hidden characters, tabs and newlines."""
    return _UNPRINTABLE.sub(" ", without_colour(text))


def without_controls(text: str) -> str:
    """``text`` without colours, and with a space for control characters. Tabs, newlines and direction marks stay."""
    return _CONTROL.sub(" ", without_colour(text))


def without_colour(text: str) -> str:
    if "\x1b" not in text:
        return text
    # ``re`` takes out of bytes in half the time that it takes with signs beyond ASCII, the way there and back included.
    return COLOUR_BYTES.sub(b"", text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def storable_text(text: str) -> str:
    """``text`` as PostgreSQL takes it: without NUL, and with a question mark for each half of a character."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = text.encode("utf-8", "replace")
        text = data.decode()
    # In bytes the look takes a thirtieth of the time.
    return text.replace("\0", "") if b"\0" in data else text
