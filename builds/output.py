"""A program's output as log lines: text from bytes, terminal tricks taken out, progress folded, secrets masked."""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Callable, Iterable, Iterator

LINE_LIMIT = 16 * 1024
CUT = "…"
MASK = "***"
SHORTEST_SECRET = 6
# In its longest form; a line that grows is cut only where so much more of it is known.
LONGEST_SECRET = 2048

# ECMA-48: control sequences (CSI), strings (OSC, DCS, SOS, PM, APC), and two-character escapes. A string that is not ended on its line
# is no string: it must not swallow what comes after.
ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\n]{0,4096}(?:\x07|\x1b\\)|\x1b[ -/]*[0-Z\\^-~]?")
UNFINISHED_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\n]{0,4096}\x1b?|[ -/]*)\Z")
COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]+")


URLSAFE = str.maketrans("+/", "-_")


class LineSplitter:
    """Cuts one stream into lines. Holds at most a line's limit, a secret and one read in memory, whatever comes.

    Bytes that are not UTF-8 become replacement characters. ``10 %\\r20 %\\r100 %\\n`` is one line, ``100 %``. A line longer than the
    limit comes in pieces that end, and go on, with an ellipsis; it is given to ``redact`` before it is cut.
    """

    def __init__(self, limit: int = LINE_LIMIT, *, redact: Callable[[str], str] = str) -> None:
        self._redact = redact
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._limit = limit
        self._escape = ""
        self._line = ""

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that ``data`` completes."""
        yield from self._take(self._clean(self._escape + self._decode(data)))

    def flush(self) -> Iterator[str]:
        """What is left when the stream ends."""
        rest, self._escape = self._escape + self._decode(b"", True), ""
        yield from self._take(self._without_tricks(rest))
        if self._line:
            yield from self._pieces(self._folded(self._line))
            self._line = ""

    def _clean(self, text: str) -> str:
        unfinished = UNFINISHED_ESCAPE.search(text)
        self._escape = unfinished.group() if unfinished else ""
        return self._without_tricks(text[: len(text) - len(self._escape)])

    @staticmethod
    def _without_tricks(text: str) -> str:
        kept = ESCAPE.sub(lambda match: match.group() if COLOUR.fullmatch(match.group()) else "", text)
        return CONTROL.sub("", kept)

    def _take(self, text: str) -> Iterator[str]:
        *whole, self._line = (self._line + text).split("\n")
        for line in whole:
            yield from self._pieces(self._folded(line))
        self._line = self._folded(self._line, keep_end=True)
        if len(self._line) > self._limit + LONGEST_SECRET:
            # A secret that begins before the cut is here as a whole by now.
            self._line = self._redact(self._line)
        while len(self._line) > self._limit + LONGEST_SECRET:
            yield self._line[: self._limit] + CUT
            self._line = CUT + self._line[self._limit :]

    def _pieces(self, line: str) -> Iterator[str]:
        if len(line) > self._limit:
            line = self._redact(line)
        while len(line) > self._limit:
            yield line[: self._limit] + CUT
            line = CUT + line[self._limit :]
        yield line

    @staticmethod
    def _folded(line: str, *, keep_end: bool = False) -> str:
        """What a terminal would still show of a line that goes back to its start. A carriage return at the end may be half a CRLF."""
        body = line.rstrip("\r")
        return body.rpartition("\r")[2] + ("\r" if keep_end and body != line else "")


class Redactor:
    """Masks secrets in a line: as they are, URL-encoded, in base64 and in hex, and what looks like a credential.

    Not found is what is spread over several lines, or was changed in other ways than these.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        masked = sorted({secret for secret in secrets if len(secret) >= SHORTEST_SECRET}, key=len, reverse=True)
        forms = sorted({form for secret in masked for form in self._forms(secret)}, key=len, reverse=True)
        known = "|".join([*map(self._in_an_address, masked), *map(re.escape, forms)])
        self._known = re.compile(known) if known else None

    @staticmethod
    def _in_an_address(secret: str) -> str:
        """A pattern for the secret with any of its characters percent-encoded, or none."""
        return "".join(f"(?:{re.escape(letter)}|{''.join(map(_percent, letter.encode()))})" for letter in secret)

    @staticmethod
    def _forms(secret: str) -> Iterator[str]:
        data = secret.encode()
        yield from (data.hex(), data.hex().upper())
        for shift in range(3):
            # In the middle of a longer text a secret's base64 depends on where in a group of three bytes it begins.
            encoded = base64.b64encode(b"\0" * shift + data).decode().rstrip("=")
            core = encoded[(0, 2, 3)[shift] : len(encoded) - (0 if (shift + len(data)) % 3 == 0 else 1)]
            if len(core) >= SHORTEST_SECRET:
                yield from (core, core.translate(URLSAFE))

    SHAPES = re.compile(
        r"(?P<before>[?&]token=|\bAuthorization:\s*(?:Bearer|Basic|token)\s+|https?://[^\s/:@]{1,100}:)"
        r"(?P<secret>[^\s&\"'@/]{1,200})"
        r"|\b(?:gh[pousr]_[A-Za-z0-9]{20,100}|github_pat_\w{20,100})",
        re.IGNORECASE,
    )

    def redact(self, text: str) -> str:
        if self._known:
            text = self._known.sub(MASK, text)
        return self.SHAPES.sub(self._masked, text)

    @staticmethod
    def _masked(match: re.Match[str]) -> str:
        before = match.group("before") or ""
        if before.lower().startswith("http") and match.string[match.end() : match.end() + 1] != "@":
            return match.group()  # a port, not a password
        return before + MASK


def _percent(byte: int) -> str:
    """A pattern for the byte as %XX, in either case."""
    return "%" + "".join(digit if digit.isdigit() else f"[{digit}{digit.lower()}]" for digit in f"{byte:02X}")
