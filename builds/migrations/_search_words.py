"""The words of a submission as migration 0009 stores them. A copy of :mod:`builds.record.search`, so that the migration never changes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

WORD = re.compile(r"[^\W_]+")
# Written without spaces between words, so each character is a word.
IDEOGRAPH = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")
ADDRESS_OF_ORCIDS = re.compile(r"(?:https?://)?(?:www\.)?orcid\.org/(?=[0-9]{4})")
# Letters that Unicode normalization does not decompose.
LETTERS = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "ı": "i", "þ": "th", "æ": "ae", "œ": "oe"})
MAX_WORD_CHARACTERS = 200
MAX_WORDS = 2000


def joined(texts: list[str]) -> str:
    """The words of all ``texts``, each once, separated by spaces."""
    every = dict.fromkeys(word for text in texts for word in _words(text))
    return " ".join(list(every)[:MAX_WORDS])


def _words(text: str) -> Iterator[str]:
    """The words of ``text``. A compound (``0000-0002``, ``lab/paper``) gives its parts and the whole."""
    for chunk in _chunks(text):
        yield from chunk
        if len(chunk) > 1:
            yield "".join(chunk)[:MAX_WORD_CHARACTERS]


def _chunks(text: str) -> Iterator[list[str]]:
    plain = "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))
    for chunk in IDEOGRAPH.sub(r" \1 ", ADDRESS_OF_ORCIDS.sub("", plain.translate(LETTERS))).split():
        if parts := WORD.findall(chunk):
            yield [part[:MAX_WORD_CHARACTERS] for part in parts]
