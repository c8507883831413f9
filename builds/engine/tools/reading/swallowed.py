"""Words of the sources that are in no page that mystmd made, such as those of an unknown tag or of a cell too many."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .markdown import Markdown
from .passages import plain

MIN_LETTERS = 4
MAX_JSON_DEPTH = 300
# What MyST reads and does not print, or prints otherwise.
UNPRINTED = (
    re.compile(r"^\s*\([^()\n]+\)=\s*$"),  # a label
    re.compile(r"^\s*\+\+\+.*$"),  # the start of a block
    re.compile(r"^\s*\[[^\]^][^\]]*\]:\s.*$"),  # the address of a link
    re.compile(r"\]\((?:[^()\n]|\([^()\n]*\))*\)"),
    re.compile(r"\]\[[^\]\n]*\]"),
    re.compile(r"\{[^{}\n]*\}"),
    re.compile(r"<(?:[a-z][a-z0-9+.-]*:|[^<>\s@]+@)[^<>\s]*>|(?:https?|ftp)://\S+|www\.\S+|\S+@\S+", re.IGNORECASE),
    re.compile(r"\[-?\s*@[^\]\n]*\]|(?<!\w)@[\w:.+/-]+"),
    re.compile(r"\[\^[^\]\n]+\]:?"),
    re.compile(r"&#?\w+;"),
    re.compile(r"\$\$?[^$\n]*\$\$?"),
    re.compile(r"\[![A-Z]+\]"),
)
TAG_NAMES = (
    "a abbr acronym address article aside audio b big blockquote body br button canvas caption center cite code col "
    "colgroup dd del details dfn div dl dt em embed figcaption figure font footer form h1 h2 h3 h4 h5 h6 head "
    "header hr html i iframe img input ins kbd label legend li link main mark math meta nav ol option p param "
    "picture pre q s samp script section select small source span strike strong style sub summary sup svg table "
    "tbody td textarea tfoot th thead time title tr tt u ul var video wbr path g rect circle line text"
)
TAGS = re.compile(rf"</?(?:{'|'.join(TAG_NAMES.split())})\b[^<>]*>", re.IGNORECASE)
WORDS = re.compile(r"[^\W_]+(?:[ '’-][^\W_]+)*")


def known_words(pages: Iterable[Any]) -> str:
    """Every text of the pages' JSON: first those that are printed, in their order, as one word may consist of several."""
    texts: list[str] = []
    others: list[str] = []
    for page in pages:
        _take(page, texts, others, 0)
    return "\0".join((plain("".join(texts)), *map(plain, others)))


def _take(value: Any, texts: list[str], others: list[str], depth: int) -> None:
    if depth > MAX_JSON_DEPTH:
        return
    if isinstance(value, dict):
        for key, part in value.items():
            if isinstance(part, str):
                (texts if key == "value" else others).append(part)
            else:
                _take(part, texts, others, depth + 1)
    elif isinstance(value, list):
        for part in value:
            _take({"": part} if isinstance(part, str) else part, texts, others, depth + 1)


def swallowed(text: Markdown, *known: str) -> Iterator[tuple[int, str]]:
    """The lines of a text that hold words which are not among the ``known`` ones, and the first of these. At most one for a paragraph.

    Each of ``known`` is from :func:`known_words`, the most likely one first.
    """
    last = -1
    for number, line in enumerate(text.plain.split("\n"), text.first_line):
        if lost := _lost(line, known):
            if number != last + 1:
                yield number, lost
            last = number


def _lost(line: str, known: Sequence[str]) -> str:
    line = TAGS.sub("\n", unicodedata.normalize("NFKC", line))
    for pattern in UNPRINTED:
        line = pattern.sub("\n", line)
    for words in WORDS.findall(line):
        short = plain(words)
        if len(short) >= MIN_LETTERS and not any(short in text for text in known):
            return str(words)
    return ""
