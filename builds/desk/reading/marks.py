"""Marks findings at their places in an article: where it has the words that a finding quotes, or those of the line that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from builds.desk.reading.sources import Sources
from builds.desk.submissions.findings import Shown
from builds.models import Finding

QUOTED = re.compile(r'["“]([^"“”]{8,500})["”]')
# The beginning of a long quotation is enough, and less often interrupted by markup.
MAX_BEGINNING = 40
MIN_BEGINNING = 8
# A tag as nh3 writes it: every value is between double quotes, and has none in it.
TAG = re.compile(r'(<(?:[^<>"]|"[^"]*")*>)')
# Our links must not be inside these: the author's links, formulas and other marks.
BEGUN, ENDED = ("<a ", "<a>", "<math ", "<math>", "<mark "), ("</a>", "</math>", "</mark>")
# Looking for one takes some hundredths of a second in the largest article.
MAX_MARKED, MAX_CANDIDATES, MAX_LOOKED_FOR = 20, 12, 100


@dataclass(frozen=True)
class Listed:
    """A finding with its number in the list, and whether its place is marked, or only the text before it."""

    number: int
    shown: Shown
    is_marked: bool = False
    is_near: bool = False


def mark(html: str, findings: Sequence[Shown], sources: Sources | None = None) -> tuple[SafeString, list[Listed]]:
    """The article with marks, and the findings. ``html`` has been cleaned. Without ``sources``, only quotations are found."""
    pieces = TAG.split(html) if html else []
    listed, left = [], MAX_LOOKED_FOR if html else 0
    for number, shown in enumerate(findings, 1):
        candidates = list(islice(_candidates(shown.finding, sources), min(left, MAX_CANDIDATES))) if number <= MAX_MARKED else []
        found = next((each for each in candidates if each.is_in(html) and _mark_first(pieces, number, each.words)), None)
        left -= len(candidates)
        listed.append(Listed(number, shown, found is not None, found is not None and found.is_near))
    return mark_safe("".join(pieces)), listed  # noqa: S308 - only elements of our own were added to texts between tags


@dataclass(frozen=True)
class _Candidate:
    """Words to look for, as HTML. Words of a source must be in the article once: elsewhere they may say something else."""

    words: str
    is_quoted: bool = False
    is_near: bool = False

    def is_in(self, html: str) -> bool:
        return self.words in html if self.is_quoted else html.count(self.words) == 1


def _candidates(finding: Finding, sources: Sources | None) -> Iterator[_Candidate]:
    yield from (_Candidate(words, is_quoted=True) for words in _quotations(finding.text))
    if sources:
        for words, is_near in sources.words_at(finding.file, finding.line):
            yield _Candidate(escape(words, quote=False), is_near=is_near)


def _mark_first(pieces: list[str], number: int, words: str) -> bool:
    """Mark the first text that has the words. ``pieces`` has texts and tags in turn."""
    depth = 0
    for at in range(0, len(pieces), 2):
        if at:
            depth += pieces[at - 1].startswith(BEGUN) - pieces[at - 1].startswith(ENDED)
        before, found, after = pieces[at].partition(words)
        if found and not depth:
            pieces[at : at + 1] = [before, *_made(number, found), after]
            return True
    return False


def _quotations(text: str) -> Iterator[str]:
    """What to look for, as HTML: a quotation, or else its beginning up to the end of a word."""
    for quoted in QUOTED.findall(text):
        words = escape(quoted.rstrip("… "), quote=False)
        yield words
        beginning = words[:MAX_BEGINNING].rpartition(" ")[0]
        if len(words) > MAX_BEGINNING and len(beginning) >= MIN_BEGINNING:
            yield beginning


def _made(number: int, words: str) -> list[str]:
    """The marked words, as tags and texts in turn: so a second finding can be marked in what is left of the text."""
    link = format_html('</mark><a class="mark-link" href="#problem-{0}">problem {0}</a>', number)
    return [format_html('<mark id="place-{}">', number), words, link]
