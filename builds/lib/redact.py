"""Masks secrets in texts that leave the service: log lines, causes, messages."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator

from builds.lib.scan import Scan

MASK = "***"
MIN_SECRET_LENGTH = 6
# Of a secret in its longest encoding.
MAX_SECRET_LENGTH = 2048

URLSAFE = str.maketrans("+/", "-_")

# Finds everything that Redactor.CREDENTIAL finds, and more. The letter i has two forms that only Python takes for it regardless of case.
_I = "[iıİ]"
MAYBE_CREDENTIAL = rf"(?i)[?&]token=|author{_I}zat{_I}on:|https?://[^\s/:@]+:[^\s&\"'@/]+@|gh[pousr]_|g{_I}thub_pat_"


class Redactor:
    """Masks the known ``secrets``, plain or encoded (URL, base64, hex), and everything that looks like a credential.

    It does not find a secret that is spread over several lines, or encoded in another way. It ignores secrets that are shorter than
    ``MIN_SECRET_LENGTH``.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        masked = sorted({secret for secret in secrets if len(secret) >= MIN_SECRET_LENGTH}, key=len, reverse=True)
        forms = sorted({form for secret in masked for form in self._encoded(secret)}, key=len, reverse=True)
        known = "|".join([*map(self._url_pattern, masked), *map(re.escape, forms)])
        self._known = re.compile(known) if known else None
        self._scan = Scan("|".join(filter(None, (known, MAYBE_CREDENTIAL))))

    @staticmethod
    def _url_pattern(secret: str) -> str:
        """A pattern for the secret, in which any of its characters may be percent-encoded."""
        return "".join(f"(?:{re.escape(letter)}|{''.join(map(_percent_pattern, letter.encode()))})" for letter in secret)

    @staticmethod
    def _encoded(secret: str) -> Iterator[str]:
        data = secret.encode()
        yield from (data.hex(), data.hex().upper())
        for shift in range(3):
            # Inside a longer text, a secret's base64 depends on its position in a group of three bytes.
            encoded = base64.b64encode(b"\0" * shift + data).decode().rstrip("=")
            core = encoded[(0, 2, 3)[shift] : len(encoded) - (0 if (shift + len(data)) % 3 == 0 else 1)]
            if len(core) >= MIN_SECRET_LENGTH:
                yield from (core, core.translate(URLSAFE))

    CREDENTIAL = re.compile(
        r"(?P<before>[?&]token=|\bAuthorization:\s*(?:Bearer|Basic|token)\s+|https?://[^\s/:@]{1,100}:)"
        r"(?P<secret>[^\s&\"'@/]{1,200})"
        r"|\b(?:gh[pousr]_[A-Za-z0-9]{20,100}|github_pat_\w{20,100})",
        re.IGNORECASE,
    )

    def redact(self, text: str) -> str:
        """``text`` with ``***`` in place of each secret.

        Of a text without secrets this takes a nanosecond for each character, so many lines can be passed at once.
        """
        if not self._scan.finds(text):
            return text
        if self._known:
            text = self._known.sub(MASK, text)
        return self.CREDENTIAL.sub(self._mask, text)

    @staticmethod
    def _mask(match: re.Match[str]) -> str:
        before = match.group("before") or ""
        if before.lower().startswith("http") and match.string[match.end() : match.end() + 1] != "@":
            return match.group()  # a port, not a password
        return before + MASK


def _percent_pattern(byte: int) -> str:
    """A pattern for the byte as %XX, in upper or lower case."""
    return "%" + "".join(digit if digit.isdigit() else f"[{digit}{digit.lower()}]" for digit in f"{byte:02X}")
