"""Marks findings at their places in an article: where a finding quotes words, the first place that has them.

JATS does not say from which line of the source a paragraph came, so most findings have no place here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from builds.desk.submissions.findings import Shown

QUOTED = re.compile(r'["“]([^"“”]{8,500})["”]')
# The beginning of a long quotation is enough, and less often interrupted by markup.
MAX_BEGINNING = 40
MIN_BEGINNING = 8
# A tag as nh3 writes it: every value is between double quotes, and has none in it.
TAG = re.compile(r'(<(?:[^<>"]|"[^"]*")*>)')
# Our links must not be inside these: the author's links, formulas and other marks.
BEGUN, ENDED = ("<a ", "<a>", "<math ", "<math>", "<mark "), ("</a>", "</math>", "</mark>")
# Looking for one takes some hundredths of a second in the largest article.
MAX_MARKED = 20


@dataclass(frozen=True)
class Listed:
    """A finding with its number in the list, and whether its place is marked."""

    number: int
    shown: Shown
    is_marked: bool = False


def mark(html: str, findings: Sequence[Shown]) -> tuple[SafeString, list[Listed]]:
    """The article with marks, and the findings. ``html`` has been cleaned."""
    pieces = TAG.split(html) if html else []
    listed = []
    for number, shown in enumerate(findings, 1):
        words = next((each for each in _quotations(shown.finding.text) if each in html), "") if number <= MAX_MARKED else ""
        listed.append(Listed(number, shown, bool(words) and _mark_first(pieces, number, words)))
    return mark_safe("".join(pieces)), listed  # noqa: S308 - only elements of our own were added to texts between tags


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
