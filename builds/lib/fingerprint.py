"""The fingerprint of a failure: the same for the same error in two manuscripts, whatever their files, names and numbers are."""

from __future__ import annotations

import hashlib
import re

# What is read of a line, and what is kept of it.
MAX_READ, MAX_LINE = 1000, 300
LENGTH = 16
# A quotation with more spaces is a sentence, such as a server's answer, not a name.
MAX_SPACES = 3

# An apostrophe inside a word does not open or close a quotation. Up to this many characters are a name.
QUOTED = re.compile(r"""(?<!\w)(?:'[^']{1,300}'|"[^"]{1,300}"|`[^`]{1,300}`|‘[^’]{1,300}’|“[^”]{1,300}”)(?!\w)""")
URL = re.compile(r"\b(https?://[^\s/]+)/\S*")
PATH = re.compile(r"(?<![\w:/])[^\s/:]*(?:/[^\s/]+)+/?|(?<!\S)/(?=\s|$)")
FILE = re.compile(r"(?<![\w.])(?!e\.g\.|i\.e\.)[\w-]+(?:\.[\w-]+)*\.(?!(?:com|edu|io|net|org)\b)[A-Za-z]\w{0,4}(?![\w.]\w)")
STATUS = re.compile(r"[45]\d\d")
WORD = re.compile(r"[\w.,:-]*\w")
SEVERAL = re.compile(r"…(?:(?:,| and| or)? ?…)+")


def normalise(line: str) -> str:
    """``line`` with an ellipsis for each quoted name, path, file, hash and number, and one for a list of them."""
    text = QUOTED.sub(_without_name, " ".join(line[:MAX_READ].split()))
    text = PATH.sub("…", URL.sub(r"\1", text))
    text = WORD.sub(_without_number, FILE.sub("…", text))
    return SEVERAL.sub("…", text)[:MAX_LINE]


def _without_name(quotation: re.Match[str]) -> str:
    return "…" if quotation[0].count(" ") <= MAX_SPACES else quotation[0]


def _without_number(word: re.Match[str]) -> str:
    """An ellipsis for a word with a digit: a number, a hash, a size, the key of a citation. What a server answered stays."""
    is_status = STATUS.fullmatch(word[0]) and word.string.endswith(("answered ", "("), 0, word.start())
    return "…" if not is_status and any(map(str.isdigit, word[0])) else word[0]


def fingerprint(code: str, stage: str, line: str) -> str:
    """The fingerprint of a failure with this code, in this stage, with this normalised line."""
    return hashlib.sha256("\0".join((code, stage, line)).encode(errors="replace")).hexdigest()[:LENGTH]
