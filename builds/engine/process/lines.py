"""Turns a program's output into log lines: decoded, without terminal control sequences, with progress bars folded."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator

from builds.lib.redact import MAX_SECRET_LENGTH

MAX_LINE_LENGTH = 16 * 1024
CUT = "…"

# ECMA-48: control sequences (CSI), strings (OSC, DCS, SOS, PM, APC), and two-character escapes; all but colours. A string must end on its
# own line: otherwise it would hide the lines after it.
ESCAPE = re.compile(
    r"\x1b(?!\[[0-9;:]*m)"
    r"(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b\n]{0,4096}(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~]?)"
)
# What does not end within the limits is not waited for, and counts as text.
UNFINISHED_ESCAPE = re.compile(r"\x1b(?:\[[0-?]{0,4096}[ -/]{0,4096}|[\]PX^_][^\x07\x1b\n]{0,4096}\x1b?|[ -/]{0,4096})\Z")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]+")
ASCII_CONTROLS = bytes(code for code in range(128) if CONTROL.match(chr(code)))
OTHER_CONTROL = re.compile(rb"\xc2[\x80-\x9f]")  # the rest of them in UTF-8
NOT_A_COLOUR = re.compile(rb"\x1b(?!\[[0-9;:]*m)")


class LineSplitter:
    """Splits one stream into lines. Its memory is bounded: it holds at most one line up to the limit, one secret and one read.

    Bytes that are not UTF-8 become replacement characters. ``10 %\\r20 %\\r100 %\\n`` is one line, ``100 %``. A line above the limit
    comes in pieces with an ellipsis at each cut; ``redact`` is applied to it before it is cut.
    """

    def __init__(self, max_length: int = MAX_LINE_LENGTH, *, redact: Callable[[str], str] = str) -> None:
        self._redact = redact
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._max_length = max_length
        self._escape = ""
        self._line = ""

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes."""
        before = self._decoder.getstate()[0]
        if not self._escape and not before and b"\x1b" not in data and data.isascii():
            return self._take(data.translate(None, ASCII_CONTROLS).decode("ascii"))
        if not self._escape and _is_clean(before + data):
            return self._take(self._decoder.decode(data))
        return self._take(self._clean(self._escape + self._decoder.decode(data)))

    def flush(self) -> list[str]:
        """What is left when the stream ends."""
        rest, self._escape = self._escape + self._decoder.decode(b"", True), ""
        lines = self._take(_without_controls(rest))
        if self._line:
            lines += self._pieces(_folded(self._line))
            self._line = ""
        return lines

    def _clean(self, text: str) -> str:
        unfinished = UNFINISHED_ESCAPE.search(text)
        self._escape = unfinished.group() if unfinished else ""
        return _without_controls(text[: len(text) - len(self._escape)])

    def _take(self, text: str) -> list[str]:
        text = self._line + text
        *lines, self._line = text.split("\n")
        if "\r" in text:
            lines = [_folded(line) for line in lines]
            self._line = _folded(self._line, keep_end=True)
        if max(map(len, lines), default=0) > self._max_length:
            lines = [piece for line in lines for piece in self._pieces(line)]
        return [*lines, *self._overflow()]

    def _overflow(self) -> Iterator[str]:
        """The first pieces of a line that is too long before it has ended."""
        if len(self._line) > self._max_length + MAX_SECRET_LENGTH:
            # A secret that begins before the cut is complete by now.
            self._line = self._redact(self._line)
        while len(self._line) > self._max_length + MAX_SECRET_LENGTH:
            yield self._line[: self._max_length] + CUT
            self._line = CUT + self._line[self._max_length :]

    def _pieces(self, line: str) -> Iterator[str]:
        if len(line) > self._max_length:
            line = self._redact(line)
        while len(line) > self._max_length:
            yield line[: self._max_length] + CUT
            line = CUT + line[self._max_length :]
        yield line


def _is_clean(data: bytes) -> bool:
    """Whether it has no control characters, and no escape sequences except whole colours. May say no wrongly."""
    if len(data.translate(None, ASCII_CONTROLS)) < len(data):
        return False
    # To look for one byte takes a twentieth of the time of a pattern, and most output has neither.
    if b"\xc2" in data and OTHER_CONTROL.search(data):
        return False
    return b"\x1b" not in data or NOT_A_COLOUR.search(data) is None


def _without_controls(text: str) -> str:
    """The text without control characters and escape sequences, except colours."""
    return CONTROL.sub("", ESCAPE.sub("", text))


def _folded(line: str, *, keep_end: bool = False) -> str:
    """What a terminal would still show of a line with carriage returns. One at the end may be half of a CRLF."""
    body = line.rstrip("\r")
    return body.rpartition("\r")[2] + ("\r" if keep_end and body != line else "")
