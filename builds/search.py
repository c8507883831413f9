"""Finding submissions by what people know of them: words of the title, an author, an ORCID, a repository, a commit, an id, an error.

A search finds the submissions that have, for each of its words, a word that begins so. What a word is is decided here and nowhere
else, so that every database finds the same; a full-text index of the database only makes it fast.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from django.db import connections
from django.db.models import QuerySet

from builds.models import Build, Submission
from builds.search_models import SearchWords

WORD = re.compile(r"[^\W_]+")
# Written without spaces between words: each character is a word.
IDEOGRAPH = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")
LONGEST_WORD = 200
MOST_WORDS = 2000
MOST_BUILDS = 100
MOST_ASKED = 12


def words(text: str) -> Iterator[str]:
    """The words of ``text``; of what is written together (``0000-0002``, ``lab/paper``) the parts and the whole."""
    for chunk in _chunks(text):
        yield from chunk
        if len(chunk) > 1:
            yield "".join(chunk)[:LONGEST_WORD]


def _chunks(text: str) -> Iterator[list[str]]:
    plain = "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))
    for chunk in IDEOGRAPH.sub(r" \1 ", plain).split():
        if parts := WORD.findall(chunk):
            yield [part[:LONGEST_WORD] for part in parts]


# --- keeping


OWN = ("job_id", "node_uuid", "repository", "title", "authors")
OF_BUILDS = ("commit", "ref", "cause", "cause_code", "cause_file")


def index(submission_id: int) -> None:
    """Keep what a submission is found by, as it is now. For :mod:`builds.lifecycle`, which calls it when any of that has changed."""
    own = Submission.objects.values_list(*OWN).get(pk=submission_id)
    builds = Build.objects.filter(submission=submission_id).order_by("-number").values_list(*OF_BUILDS)[:MOST_BUILDS]
    found_by = joined([*own, *(text for build in builds for text in build)])
    SearchWords.objects.update_or_create(submission_id=submission_id, defaults={"words": found_by})


def joined(texts: list[str]) -> str:
    """The words of all ``texts`` as they are stored: each once."""
    every = dict.fromkeys(word for text in texts for word in words(text))
    return " ".join(list(every)[:MOST_WORDS])


# --- finding


def matching(submissions: QuerySet[Submission], asked: str) -> QuerySet[Submission]:
    """Those of ``submissions`` that ``asked`` finds; all where it holds no word."""
    chunks = list(_chunks(asked))[:MOST_ASKED]
    if not chunks:
        return submissions
    vendor = connections[submissions.db].vendor
    return _with_fts5(submissions, chunks) if vendor == "sqlite" else _with_tsvector(submissions, chunks)


def _query(chunks: list[list[str]], *, word: str, prefix: str, both: str, either: str) -> str:
    """The chunks in a database's language: of each either the whole, or all its parts."""

    def term(text: str) -> str:
        return (word if len(text) == 1 else prefix).format(text)

    def alternatives(parts: list[str]) -> str:
        whole = both.join(map(term, parts))
        return f"({whole})" if len(parts) == 1 else f"(({whole}){either}{term(''.join(parts)[:LONGEST_WORD])})"

    return both.join(map(alternatives, chunks))


def _with_fts5(submissions: QuerySet[Submission], chunks: list[list[str]]) -> QuerySet[Submission]:
    query = _query(chunks, word='"{}"', prefix='"{}"*', both=" AND ", either=" OR ")
    # A join, because the planner then reads the index from its newest row and stops when the page is full.
    return submissions.extra(
        tables=["builds_search_index"],
        where=["builds_search_index.rowid = builds_submission.id", "builds_search_index MATCH %s"],
        params=[query],
    )


def _with_tsvector(submissions: QuerySet[Submission], chunks: list[list[str]]) -> QuerySet[Submission]:
    query = _query(chunks, word="'{}'", prefix="'{}':*", both=" & ", either=" | ")
    return submissions.filter(search_words__isnull=False).extra(
        where=["array_to_tsvector(string_to_array(builds_searchwords.words, ' ')) @@ %s::tsquery"], params=[query]
    )
