"""Finds submissions by words of the title, an author, an ORCID, a repository, a commit, an id or an error.

A query finds the submissions that have, for each word of the query, a word that begins with it. Only this module decides what a word
is, so every database finds the same; the database's full-text index only makes it fast.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import reduce
from itertools import groupby, islice
from math import ceil, inf
from operator import and_, itemgetter, or_
from typing import Any

from django.db import connections, transaction
from django.db.models import BooleanField, ExpressionWrapper, OuterRef, Q, QuerySet, Subquery, TextField, Value
from django.db.models.functions import Concat, StrIndex
from django.db.models.lookups import GreaterThan

from builds.models import Build, SearchWords, Submission

WORD = re.compile(r"[^\W_]+")
# Written without spaces between words, so each character is a word.
IDEOGRAPH = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")
# An ORCID is the same with or without its address in front.
ADDRESS_OF_ORCIDS = re.compile(r"(?:https?://)?(?:www\.)?orcid\.org/(?=[0-9]{4})")
GROUP_OF_AN_ORCID = re.compile(r"[0-9]{4}")
# Letters that Unicode normalization does not decompose, as people write them without such a key.
LETTERS = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "ı": "i", "þ": "th", "æ": "ae", "œ": "oe"})
MAX_WORD_CHARACTERS = 200
FEW = 5000
# How many submissions are looked at without the index, at first and at most.
LOOKED_AT_FIRST, MAX_LOOKED_AT = 400, 5000
# The more were looked at, the better it is known how often they match. The second look is at up to MAX_LOOKED_AT.
MAX_GROWTH = 12.5
# How many more may be looked at in one query; on PostgreSQL also, how many in all where many match. Otherwise the planner decides.
MAX_WALKED = 20_000
MAX_WORDS = 2000
MAX_BUILDS = 100
MAX_QUERY_CHUNKS = 12
NEWEST = 1000
INDEXED_AT_ONCE = 500
LOOKED_AT_ONCE = 50_000
MAX_ID = 2**63 - 1
# A misspelt word is corrected if it has this many letters, and is this similar to a known word.
MIN_MISSPELT_CHARACTERS = 4
MIN_SIMILARITY = 0.75

FTS5 = "builds_search_index"
# For each chunk of a query its alternatives, each a list of words. They begin with a space, and whole words also end with one.
Query = list[list[list[str]]]
TSVECTOR = "array_to_tsvector(string_to_array(builds_searchwords.words, ' '))"


def words(text: str) -> Iterator[str]:
    """The words of ``text``. A compound (``0000-0002``, ``lab/paper``) gives its parts and the whole."""
    for chunk in _chunks(text, LETTERS):
        yield from chunk
        if len(chunk) > 1:
            yield "".join(chunk)[:MAX_WORD_CHARACTERS]


def _chunks(text: str, letters: Mapping[int, str]) -> Iterator[list[str]]:
    plain = "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))
    for chunk in IDEOGRAPH.sub(r" \1 ", ADDRESS_OF_ORCIDS.sub("", plain.translate(letters))).split():
        if parts := WORD.findall(chunk):
            yield [part[:MAX_WORD_CHARACTERS] for part in parts]


# --- indexing


OWN = ("job_id", "node_uuid", "repository", "title", "authors")
OF_BUILDS = ("commit", "ref", "cause", "cause_code", "cause_file")


def index(submission_id: int) -> None:
    """Store the words of a submission as they are now. :mod:`builds.lifecycle` calls it whenever they have changed."""
    own = Submission.objects.values_list(*OWN).get(pk=submission_id)
    builds = Build.objects.filter(submission=submission_id).order_by("-number").values_list(*OF_BUILDS)[:MAX_BUILDS]
    found_by = joined([*own, *(text for build in builds for text in build)])
    row = SearchWords(submission_id=submission_id, words=found_by)
    SearchWords.objects.bulk_create([row], update_conflicts=True, unique_fields=["submission"], update_fields=["words"])


class Missing:
    """Writes the words of submissions that have none: accepting one leaves that to the reconciler, so that its answer need not wait.

    Each :meth:`index` looks at the ids above those that it has seen before, and at the newest of these again: a transaction that took a
    lower id may be committed later. At its start it looks at all of them, some at a time.
    """

    def __init__(self) -> None:
        self._seen = 0

    def index(self) -> None:
        newest = Submission.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        last = min(self._seen + LOOKED_AT_ONCE, newest)
        while index_missing(self._seen, last) == INDEXED_AT_ONCE:
            pass
        self._seen = last if last < newest else max(newest - NEWEST, 0)


def index_missing(after: int = 0, last: int = MAX_ID) -> int:
    """Index some submissions that have no words and an id of at most ``last``, larger than ``after``. Returns how many they were.

    Words that another process writes meanwhile are newer, and stay.
    """
    missing = Submission.objects.filter(pk__gt=after, pk__lte=last, search_words=None).order_by("pk")
    own = {pk: list(texts) for pk, *texts in missing.values_list("pk", *OWN)[:INDEXED_AT_ONCE]}
    builds = Build.objects.filter(submission__in=own).order_by("submission", "-number").values_list("submission", *OF_BUILDS)
    for submission_id, few in groupby(builds.iterator(), itemgetter(0)):
        own[submission_id] += [text for _submission, *texts in islice(few, MAX_BUILDS) for text in texts]
    SearchWords.objects.bulk_create(
        [SearchWords(submission_id=pk, words=joined(texts)) for pk, texts in own.items()], ignore_conflicts=True
    )
    return len(own)


def reindex(after: int, limit: int) -> list[int]:
    """Index the first ``limit`` submissions whose id is larger than ``after``, in one transaction. Returns their ids."""
    with transaction.atomic():
        found = list(Submission.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:limit])
        for submission_id in found:
            index(submission_id)
    return found


def joined(texts: list[str]) -> str:
    """The words of all ``texts`` as they are stored, each once."""
    every = dict.fromkeys(word for text in texts for word in words(text))
    return " ".join(list(every)[:MAX_WORDS])


# --- queries

# Addresses that people paste: of a repository or of anything in it, for a browser, for git, or of a raw file.
ADDRESS_ON_GITHUB = re.compile(
    r"(?:(?:https?|ssh|git)://)?(?:[\w.-]+@)?(?:www\.)?(?:github\.com|raw\.githubusercontent\.com)[/:]"
    r"(?P<owner>[\w-]+)(?:/(?P<name>[\w.-]+)(?:/commits?/(?P<commit>[0-9a-f]{7,40}))?)?[^\s,;)>\"']*",
    re.IGNORECASE,
)
ADDRESS_OF_A_NODE = re.compile(r"https?://[^\s/]+/node/(?P<uuid>[\w-]+)\S*", re.IGNORECASE)
ADDRESS_OF_GIT = re.compile(r"(?<=/)([\w.-]+)\.git\b", re.IGNORECASE)
NAME_OF_ORCIDS = re.compile(r"\borcid(?:\s+id)?\s*:?\s*(?=[0-9]{4})", re.IGNORECASE)


def without_addresses(query: str) -> str:
    """The query with GitHub addresses reduced to ``owner/name`` and a commit, and node addresses reduced to uuids."""
    text = ADDRESS_OF_GIT.sub(r"\1", ADDRESS_ON_GITHUB.sub(_repository, ADDRESS_OF_A_NODE.sub(r"\g<uuid>", query)))
    return NAME_OF_ORCIDS.sub("", text)


def _chunks_of_query(query: str) -> list[list[list[str]]]:
    """The chunks of the query, each as it is stored now and, if different, as older releases stored it."""
    text = without_addresses(query)
    chunks = zip(_chunks(text, LETTERS), _chunks(text, {}), strict=True)
    return [[now] if now == before else [now, before] for now, before in chunks][:MAX_QUERY_CHUNKS]


def similar(query: str) -> str:
    """A query to try instead of one that finds nothing; empty if there is no other.

    A word that none of the newest submissions has is replaced by a similar word, or left out.
    """
    newest = SearchWords.objects.order_by("-submission").values_list("words", flat=True)[:NEWEST]
    known = {word for words_of_one in newest for word in words_of_one.split(" ")}
    chunks = list(_chunks(without_addresses(query), LETTERS))[:MAX_QUERY_CHUNKS]
    nearest = [word for chunk in chunks for word in _nearest(chunk, known)]
    return "" if nearest == [word for chunk in chunks for word in chunk] else " ".join(nearest)


def _nearest(chunk: list[str], known: set[str]) -> list[str]:
    """The known words nearest to a chunk. A number or an id that is not known is left out, not replaced."""
    whole = "".join(chunk)
    if whole.isalpha():
        return [near for word in chunk if (near := _nearest_word(word, known))]
    return chunk if any(other.startswith(whole) for other in known) else []


def _nearest_word(word: str, known: set[str]) -> str:
    """``word`` if a known word begins with it, else the most similar known word; empty if none is similar."""
    if len(word) > 1 and any(other.startswith(word) for other in known):
        return word
    if len(word) < MIN_MISSPELT_CHARACTERS:
        return ""
    like = [other for other in known if abs(len(other) - len(word)) <= 2 and (other[0] == word[0] or other[-2:] == word[-2:])]
    return next(iter(get_close_matches(word, sorted(like), 1, MIN_SIMILARITY)), "")


def _repository(address: re.Match[str]) -> str:
    owner, name, commit = address["owner"], address["name"], address["commit"]
    return " ".join(part for part in (f"{owner}/{name}" if name else owner, commit) if part)


# --- finding


@dataclass(frozen=True)
class Window:
    """At most ``limit`` of the ids found: the newest ones below ``before``, or the oldest ones above ``after``."""

    limit: int
    before: int | None = None
    after: int | None = None

    def of(self, submissions: QuerySet[Submission]) -> QuerySet[Submission]:
        return self._of(submissions, "pk")

    def first_of(self, rows: QuerySet[Any, int]) -> list[int]:
        """The first ids of submissions that have one of the ``rows`` or several, read no further than needed."""
        return list(self._of(rows, "submission").distinct().order_by(f"{self.sign}submission_id")[: self.limit])

    def _of(self, rows: QuerySet[Any, Any], name: str) -> QuerySet[Any, Any]:
        """The rows whose column ``name``, the id of a submission, is in the window."""
        rows = rows if self.before is None else rows.filter(**{f"{name}__lt": self.before})
        return rows if self.after is None else rows.filter(**{f"{name}__gt": self.after})

    def between(self, first: int, near: int, far: int) -> Q:
        """More than ``near`` and at most ``far`` ids behind ``first``, in the window's order."""
        if self.after is None:
            return Q(pk__lt=first - near, pk__gte=first - far)
        return Q(pk__gt=first + near, pk__lte=first + far)

    @property
    def sign(self) -> str:
        return "-" if self.after is None else ""


def ids(submissions: QuerySet[Submission], query: str, window: Window) -> list[int]:
    """The ids of the ``submissions`` that match ``query``, in the window's order. A query without words matches all."""
    wanted = [[terms for parts in chunk for terms in _alternatives(parts)] for chunk in _chunks_of_query(query)]
    if not wanted:
        found = window.of(submissions).order_by(f"{window.sign}pk")
        return list(found.values_list("pk", flat=True)[: window.limit])
    first, expected = _among_first(submissions, wanted, window)
    if not expected:
        return first
    if connections[submissions.db].vendor == "sqlite":
        found = _with_fts5(submissions, wanted, window)
    else:
        found = _with_tsvector(submissions, wanted, window, is_walk_short=expected <= MAX_WALKED)
    return list(found.values_list("pk", flat=True)[: window.limit])


def _alternatives(parts: list[str]) -> Iterator[list[str]]:
    """The words, each with its ends, by which a chunk matches: all its parts, of which the last may be a prefix, or the whole."""
    whole = _begun("".join(parts)[:MAX_WORD_CHARACTERS])
    # All ORCIDs share their first groups: searching for each would read the whole index.
    if len(parts) == 1 or not all(map(GROUP_OF_AN_ORCID.fullmatch, parts[:-1])):
        yield [*(f" {part} " for part in parts[:-1]), _begun(parts[-1])]
    if len(parts) > 1:
        yield [whole]


def _begun(text: str) -> str:
    """A word that begins with ``text``, or that is this one letter."""
    return f" {text} " if len(text) == 1 else f" {text}"


def _among_first(submissions: QuerySet[Submission], wanted: Query, window: Window) -> tuple[list[int], float]:
    """The matches among the first submissions of the window, and 0 if they suffice.

    If the index is likely to be faster: some of the matches, and how many submissions would have to be looked at for enough of them.
    If many match a word, the indexes would collect them all before the first is known: PostgreSQL's always, SQLite's for a prefix.
    """
    first = window.of(submissions).order_by(f"{window.sign}pk").values_list("pk", _matching(wanted))
    rows = list(first[:LOOKED_AT_FIRST])
    found = [pk for pk, is_match in rows if is_match]
    if len(found) >= window.limit or len(rows) < LOOKED_AT_FIRST:
        return found[: window.limit], 0
    looked = Looked(rows[0][0], abs(rows[0][0] - rows[-1][0]), len(rows)) if found else None
    while looked and looked.is_continued(len(found), window.limit, submissions.db):
        further = looked.further(len(found), window.limit)
        between = window.of(submissions).filter(window.between(looked.first, looked.span, further.span))
        found += _walk(between, wanted, window).values_list("pk", flat=True)[: window.limit - len(found)]
        if len(found) == window.limit:
            return found, 0
        looked = further
    return found, looked.count * window.limit / len(found) if looked else inf


@dataclass(frozen=True)
class Looked:
    """The submissions that were looked at one by one: the first id, how many ids behind it the last is, and about how many they were."""

    first: int
    span: int
    count: float

    def further(self, found: int, limit: int) -> Looked:
        """As many as would suffice if the next ones match as often as these, and a quarter more.

        The ids may have been far apart until now and lie close together from here on, so there is a limit to how many are added.
        """
        growth = min(limit * 1.25 / found, MAX_GROWTH)
        return Looked(self.first, ceil(min(self.span * growth, self.span + MAX_WALKED)), self.count * growth)

    def is_continued(self, found: int, limit: int, alias: str) -> bool:
        """Whether to look at more. More than ``MAX_LOOKED_AT`` only on PostgreSQL, if its index would have too many matches to be of use.

        SQLite's index has them in the order of ids.
        """
        if self.count * limit * 1.25 / found <= MAX_LOOKED_AT:
            return True
        in_all = found * self.first // self.span
        return connections[alias].vendor == "postgresql" and in_all > FEW


def _walk(submissions: QuerySet[Submission], wanted: Query, window: Window) -> QuerySet[Submission]:
    """The matches, found by looking at one submission after the other until enough are read."""
    return submissions.alias(is_match=_matching(wanted)).filter(is_match=True).order_by(f"{window.sign}pk")


def _matching(wanted: Query) -> Subquery:
    """Whether a submission matches, by its words alone.

    It is not a join, so that no planner can read the words of all submissions at once.
    """
    text = Concat(Value(" "), "words", Value(" "), output_field=TextField())
    every = [
        reduce(or_, (reduce(and_, (Q(GreaterThan(StrIndex(text, Value(term)), 0)) for term in terms)) for terms in alternatives))
        for alternatives in wanted
    ]
    of_one = SearchWords.objects.filter(pk=OuterRef("pk")).values(is_match=ExpressionWrapper(Q(*every), BooleanField()))
    return Subquery(of_one, BooleanField())


def _query(wanted: Query, *, word: str, prefix: str, both: str, either: str) -> str:
    """The query in a database's syntax."""

    def every(terms: list[str]) -> str:
        return both.join((word if term.endswith(" ") else prefix).format(term.strip()) for term in terms)

    return both.join(f"({either.join(f'({every(terms)})' for terms in alternatives)})" for alternatives in wanted)


def _with_fts5(submissions: QuerySet[Submission], wanted: Query, window: Window) -> QuerySet[Submission]:
    """Read the index in the order of ids until there are enough, whatever the other filters are.

    The plus keeps the planner from reading the submissions first and looking each one up in the index.
    """
    bounds = [(sign, bound) for sign, bound in (("<", window.before), (">", window.after)) if bound is not None]
    return submissions.extra(  # noqa: S610 - the query is a parameter; the ORM cannot express a join with an FTS5 table
        tables=[FTS5],
        where=[
            f"builds_submission.id = +{FTS5}.rowid",
            f"{FTS5} MATCH %s",
            *(f"{FTS5}.rowid {sign} %s" for sign, _ in bounds),
        ],
        params=[_query(wanted, word='"{}"', prefix='"{}"*', both=" AND ", either=" OR "), *(bound for _, bound in bounds)],
        order_by=[f"{window.sign}{FTS5}.rowid"],
    )


def _with_tsvector(
    submissions: QuerySet[Submission], wanted: Query, window: Window, *, is_walk_short: bool
) -> QuerySet[Submission]:
    """Fetch all matches from the index if there are few. If there are many, reading the newest submissions finds enough of them soon.

    Unless too few of these match: the other filters may leave out nearly all matches. Then the planner decides. It alone would read the
    newest for rare words too, because it can't estimate how rarely they occur together.
    """
    query = _query(wanted, word="'{}'", prefix="'{}':*", both=" & ", either=" | ")
    few = _few(query, submissions.db)
    found = window.of(submissions).order_by(f"{window.sign}pk")
    if few is not None:
        return found.filter(pk__in=few)
    if is_walk_short:
        return _walk(found, wanted, window)
    with_words = found.filter(search_words__isnull=False)
    return with_words.extra(where=[f"{TSVECTOR} @@ %s::tsquery"], params=[query])  # noqa: S610 - a parameter


def _few(query: str, alias: str) -> list[int] | None:
    """The ids of all matches; None if there are more than ``FEW``."""
    table = "SELECT submission_id FROM builds_searchwords"
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"{table} WHERE {TSVECTOR} @@ %s::tsquery LIMIT {FEW + 1}", [query])
        ids = [pk for (pk,) in cursor.fetchall()]
        cursor.execute("SET LOCAL enable_seqscan = on")
    return ids if len(ids) <= FEW else None
