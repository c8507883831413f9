"""Finding submissions by what people know of them: words of the title, an author, an ORCID, a repository, a commit, an id, an error.

A search finds the submissions that have, for each of its words, a word that begins so. What a word is is decided here and nowhere
else, so that every database finds the same; a full-text index of the database only makes it fast.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from django.db import connections, transaction
from django.db.models import QuerySet

from builds.models import Build, Submission
from builds.search_models import SearchWords

WORD = re.compile(r"[^\W_]+")
# Written without spaces between words: each character is a word.
IDEOGRAPH = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")
# An ORCID is the same with its address before it, as many write it, or without.
ADDRESS_OF_ORCIDS = re.compile(r"(?:https?://)?(?:www\.)?orcid\.org/(?=[0-9]{4})")
GROUP_OF_AN_ORCID = re.compile(r"[0-9]{4}")
# Letters that Unicode does not take apart, as they are written by who has no key for them.
LETTERS = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "ı": "i", "þ": "th", "æ": "ae", "œ": "oe"})
LONGEST_WORD = 200
FEW = 5000
MOST_WORDS = 2000
MOST_BUILDS = 100
MOST_ASKED = 12
NEWEST = 1000
# A word is taken for another that is misspelt: from so many letters on, and if so much of both is the same.
SHORTEST_MISSPELT = 4
CLOSE = 0.75

FTS5 = "builds_search_index"
TSVECTOR = "array_to_tsvector(string_to_array(builds_searchwords.words, ' '))"


def words(text: str) -> Iterator[str]:
    """The words of ``text``; of what is written together (``0000-0002``, ``lab/paper``) the parts and the whole."""
    for chunk in _chunks(text, LETTERS):
        yield from chunk
        if len(chunk) > 1:
            yield "".join(chunk)[:LONGEST_WORD]


def _chunks(text: str, letters: Mapping[int, str]) -> Iterator[list[str]]:
    plain = "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))
    for chunk in IDEOGRAPH.sub(r" \1 ", ADDRESS_OF_ORCIDS.sub("", plain.translate(letters))).split():
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


def index_forgotten() -> None:
    """Keep it for those of the newest submissions that have nothing: a process of an older release accepted them during an update."""
    newest = Submission.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    forgotten = Submission.objects.filter(pk__gt=newest - NEWEST, search_words=None)
    for submission_id in forgotten.order_by().values_list("pk", flat=True):
        index(submission_id)


def joined(texts: list[str]) -> str:
    """The words of all ``texts`` as they are stored: each once."""
    every = dict.fromkeys(word for text in texts for word in words(text))
    return " ".join(list(every)[:MOST_WORDS])


# --- asking

# What people paste of a repository: its address or one of anything in it, for a browser, for git, or of the raw file.
ADDRESS_ON_GITHUB = re.compile(
    r"(?:(?:https?|ssh|git)://)?(?:[\w.-]+@)?(?:www\.)?(?:github\.com|raw\.githubusercontent\.com)[/:]"
    r"(?P<owner>[\w-]+)(?:/(?P<name>[\w.-]+)(?:/commits?/(?P<commit>[0-9a-f]{7,40}))?)?[^\s,;)>\"']*",
    re.IGNORECASE,
)
ADDRESS_OF_A_NODE = re.compile(r"https?://[^\s/]+/node/(?P<uuid>[\w-]+)\S*", re.IGNORECASE)
ADDRESS_OF_GIT = re.compile(r"(?<=/)([\w.-]+)\.git\b", re.IGNORECASE)
NAME_OF_ORCIDS = re.compile(r"\borcid(?:\s+id)?\s*:?\s*(?=[0-9]{4})", re.IGNORECASE)


def without_addresses(asked: str) -> str:
    """What is looked for, with addresses on GitHub as ``owner/name``, and with the commit that they name; of nodes their uuids."""
    text = ADDRESS_OF_GIT.sub(r"\1", ADDRESS_ON_GITHUB.sub(_repository, ADDRESS_OF_A_NODE.sub(r"\g<uuid>", asked)))
    return NAME_OF_ORCIDS.sub("", text)


def _asked_for(asked: str) -> list[list[list[str]]]:
    """The chunks of what is looked for, each as it is kept; and as older releases kept it, where that is something else."""
    text = without_addresses(asked)
    chunks = zip(_chunks(text, LETTERS), _chunks(text, {}), strict=True)
    return [[now] if now == before else [now, before] for now, before in chunks][:MOST_ASKED]


def alike(asked: str) -> str:
    """What to look for instead where nothing is found: words of the newest submissions for those that none of them has, or without
    them. Empty where that is nothing else."""
    newest = SearchWords.objects.order_by("-submission").values_list("words", flat=True)[:NEWEST]
    known = {word for words_of_one in newest for word in words_of_one.split(" ")}
    chunks = list(_chunks(without_addresses(asked), LETTERS))[:MOST_ASKED]
    nearest = [word for chunk in chunks for word in _nearest(chunk, known)]
    return "" if nearest == [word for chunk in chunks for word in chunk] else " ".join(nearest)


def _nearest(chunk: list[str], known: set[str]) -> list[str]:
    """A number or an id is one of those known, or left out: it is never taken for another."""
    whole = "".join(chunk)
    if whole.isalpha():
        return [near for word in chunk if (near := _nearest_word(word, known))]
    return chunk if any(other.startswith(whole) for other in known) else []


def _nearest_word(word: str, known: set[str]) -> str:
    """``word`` where a known one begins so, else the one that differs least; empty where they all differ much."""
    if len(word) > 1 and any(other.startswith(word) for other in known):
        return word
    if len(word) < SHORTEST_MISSPELT:
        return ""
    like = [other for other in known if abs(len(other) - len(word)) <= 2 and (other[0] == word[0] or other[-2:] == word[-2:])]
    return next(iter(get_close_matches(word, sorted(like), 1, CLOSE)), "")


def _repository(address: re.Match[str]) -> str:
    owner, name, commit = address["owner"], address["name"], address["commit"]
    return " ".join(part for part in (f"{owner}/{name}" if name else owner, commit) if part)


# --- finding


@dataclass(frozen=True)
class Window:
    """Which of the found ids are wanted: the ``most`` newest that are older than ``before``, or the oldest newer than ``after``."""

    most: int
    before: int | None = None
    after: int | None = None

    def of(self, submissions: QuerySet[Submission]) -> QuerySet[Submission]:
        submissions = submissions if self.before is None else submissions.filter(pk__lt=self.before)
        return submissions if self.after is None else submissions.filter(pk__gt=self.after)

    @property
    def sign(self) -> str:
        return "-" if self.after is None else ""


def ids(submissions: QuerySet[Submission], asked: str, window: Window) -> list[int]:
    """The ids of those of ``submissions`` that ``asked`` finds (all, where it holds no word), in the window's order."""
    chunks = _asked_for(asked)
    if not chunks:
        found = window.of(submissions).order_by(f"{window.sign}pk")
    elif connections[submissions.db].vendor == "sqlite":
        found = _with_fts5(submissions, chunks, window)
    else:
        found = _with_tsvector(submissions, chunks, window)
    return list(found.values_list("pk", flat=True)[: window.most])


def _query(chunks: list[list[list[str]]], *, word: str, prefix: str, both: str, either: str) -> str:
    """The chunks in a database's language: of each either its parts, the last one perhaps only begun, or the whole."""

    def begun(text: str) -> str:
        return (word if len(text) == 1 else prefix).format(text)

    def alternatives(parts: list[str]) -> str:
        if len(parts) > 1 and all(map(GROUP_OF_AN_ORCID.fullmatch, parts[:-1])):
            return begun("".join(parts))  # everybody has its first groups: to look for each would read all of the index
        of_parts = both.join([*(word.format(part) for part in parts[:-1]), begun(parts[-1])])
        return f"({of_parts})" if len(parts) == 1 else f"(({of_parts}){either}{begun(''.join(parts)[:LONGEST_WORD])})"

    readings = (either.join(map(alternatives, chunk)) for chunk in chunks)
    return both.join(f"({reading})" for reading in readings)


def _with_fts5(submissions: QuerySet[Submission], chunks: list[list[list[str]]], window: Window) -> QuerySet[Submission]:
    """Read from the index in the order of ids, until there are enough, whatever else is asked for.

    The plus keeps the planner from reading the submissions first and asking the index for each.
    """
    bounds = [(sign, bound) for sign, bound in (("<", window.before), (">", window.after)) if bound is not None]
    return submissions.extra(  # noqa: S610 - what is asked for is a parameter; the ORM has no words for a table of FTS5
        tables=[FTS5],
        where=[
            f"builds_submission.id = +{FTS5}.rowid",
            f"{FTS5} MATCH %s",
            *(f"{FTS5}.rowid {sign} %s" for sign, _ in bounds),
        ],
        params=[_query(chunks, word='"{}"', prefix='"{}"*', both=" AND ", either=" OR "), *(bound for _, bound in bounds)],
        order_by=[f"{window.sign}{FTS5}.rowid"],
    )


def _with_tsvector(submissions: QuerySet[Submission], chunks: list[list[list[str]]], window: Window) -> QuerySet[Submission]:
    """What few have is fetched from the index at once; what many have is met soon enough on the way through the newest.

    Left to itself the planner takes the second way for rare words too, because it can't tell how seldom they stand together.
    """
    query = _query(chunks, word="'{}'", prefix="'{}':*", both=" & ", either=" | ")
    found = window.of(submissions).order_by(f"{window.sign}pk")
    few = _few(query, submissions.db)
    if few is not None:
        return found.filter(pk__in=few)
    with_words = found.filter(search_words__isnull=False)
    return with_words.extra(where=[f"{TSVECTOR} @@ %s::tsquery"], params=[query])  # noqa: S610 - a parameter


def _few(query: str, alias: str) -> list[int] | None:
    """The ids of all that match; None where they are more than a few."""
    table = "SELECT submission_id FROM builds_searchwords"
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"{table} WHERE {TSVECTOR} @@ %s::tsquery LIMIT {FEW + 1}", [query])
        ids = [pk for (pk,) in cursor.fetchall()]
        cursor.execute("SET LOCAL enable_seqscan = on")
    return ids if len(ids) <= FEW else None
