"""Submissions are found by words of their title, authors, ids and errors, on both databases."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from builds import lifecycle
from builds.errors import Cause, Fault
from builds.models import Mode, SearchWords, Submission
from builds.record import search
from tests.support.rows import claim, submit

pytestmark = pytest.mark.django_db

COMMIT = "12e45678" * 5


WAYS = {"by the index": (0, search.FEW), "as if many match": (0, 0), "one by one": (10, 0), "one by one, further": (2, 0)}


@pytest.fixture(autouse=True, params=WAYS.values(), ids=list(WAYS))
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All ways find the same. Few rows are looked at one by one, if that is not switched off."""
    looked_at_first, few = request.param
    monkeypatch.setattr(search, "LOOKED_AT_FIRST", looked_at_first)
    monkeypatch.setattr(search, "FEW", few)


def made() -> Submission:
    submission = lifecycle.submit(
        lifecycle.Request(
            job_id="myst-import-77",
            node_uuid="3f2a9c1e-8f4b-4c8e-9a1d-5e6f7a8b9c0d",
            url="https://github.com/ocean-lab/coral_growth/blob/main/myst.yml",
            repository="ocean-lab/coral_growth",
            document={
                "title": "Größe und Wachstum: how corals don't grow 珊瑚",
                "authors": [{"name": "Zoë Ångström", "orcid": "0000-0002-1825-0097"}],
            },
        )
    )
    build = claim(submission)
    lifecycle.pin(build, commit=COMMIT, ref="feature/tides", path="myst.yml")
    lifecycle.fail(build, Cause(Fault.MANUSCRIPT, "build-failed", "Undefined control sequence \\foo.", "Mend it.", "paper.md", 3))
    return submission


def found(asked: str) -> list[Submission]:
    ids = search.ids(Submission.objects.all(), asked, search.Window(limit=50))
    return list(Submission.objects.filter(pk__in=ids))


@pytest.mark.parametrize(
    "asked",
    [
        *(
            "coral",
            "CORALS grow",
            "grosse",
            "Größe",
            "größe wachs",
            "zoe angstrom",
            "Ångström",
            "ångström Zoë",
            "don't",
            "珊瑚",
            "瑚",
        ),
        *(
            "0000-0002-1825-0097",
            "0000-0002-18",
            "0000000218250097",
            *("https://orcid.org/0000-0002-1825-0097", "orcid.org/0000-0002-1825"),
            "1825",
        ),
        *("ocean-lab/coral_growth", "ocean-lab", "coral_growth", "coral_gro", "ocean-lab/coral", "lab growth"),
        *(COMMIT, COMMIT[:7], "12e4", "3f2a9c1e-8f4b", "3f2a9c1e8f4b", "myst-import-77", "mystimport77", "77", "feature/tides"),
        *("undefined control", "\\foo", "build-failed", "paper.md"),
    ],
)
def test_a_submission_is_found(asked: str) -> None:
    submission = made()
    submit("another")
    assert found(asked) == [submission]


@pytest.mark.parametrize(
    "asked",
    [
        *(f"{scheme}github.com/Ocean-Lab/coral_growth" for scheme in ("", "https://", "http://www.", "ssh://git@", "git://")),
        *(
            f"https://github.com/ocean-lab/coral_growth{rest}"
            for rest in ("/", ".git", "#readme", "?tab=readme-ov-file", "/issues/3")
        ),
        *(
            f"https://github.com/ocean-lab/coral_growth/{rest}"
            for rest in ("blob/main/paper.md#L118", "tree/x/docs", "archive/x.zip")
        ),
        *("git@github.com:ocean-lab/coral_growth.git", "ocean-lab/coral_growth.git", "https://github.com/ocean-lab"),
        *(
            "https://raw.githubusercontent.com/ocean-lab/coral_growth/main/myst.yml",
            "(https://github.com/ocean-lab/coral_growth)",
        ),
        *(
            f"https://github.com/ocean-lab/coral_growth/commit/{COMMIT}",
            f"https://github.com/ocean-lab/coral_growth/commits/{COMMIT[:9]}",
        ),
        *(
            f"https://nodes.desci.com/node/3f2a9c1e-8f4b-4c8e-9a1d-5e6f7a8b9c0d{rest}"
            for rest in ("", "/root/index.md", "?shareId=9")
        ),
        *("ORCID: 0000-0002-1825-0097", "orcid:0000-0002-1825-0097", "corals https://github.com/ocean-lab/coral_growth, Zoë"),
    ],
)
def test_a_submission_is_found_by_what_people_paste(asked: str) -> None:
    submission = made()
    submit("another")
    assert found(asked) == [submission]


@pytest.mark.parametrize(
    "asked", [f"https://github.com/ocean-lab/coral_growth/commit/{'ab' * 20}", "https://github.com/ocean-lab/coral"]
)
def test_a_pasted_address_of_something_else_does_not_find_it(asked: str) -> None:
    submission = made()
    assert found(asked) == ([submission] if asked.endswith("coral") else [])


@pytest.mark.parametrize("name", ["Łukasz Sørensen", "łukasz sørensen", "Lukasz Sorensen", "LUKASZ SORENSEN"])
def test_a_name_is_found_without_its_special_letters(name: str) -> None:
    submission = submit("one")
    for written in ("Łukasz Sørensen", "Lukasz Sorensen"):
        Submission.objects.update(authors=written)
        search.index(submission.pk)
        assert found(name) == [submission]


def test_a_name_is_found_as_an_older_release_stored_it() -> None:
    submission = submit("one")
    SearchWords.objects.filter(submission=submission).update(words="łukasz wojcik")
    assert found("Łukasz Wójcik") == [submission]


@pytest.mark.parametrize("asked", ["0000-0002-1825-0097", "000000021825", "https://orcid.org/0000-0002-1825-0097", "Ada"])
def test_an_orcid_is_found_however_the_author_wrote_it(asked: str) -> None:
    submission = submit("one")
    Submission.objects.update(authors="Ada Lovelace (https://orcid.org/0000-0002-1825-0097), Charles")
    search.index(submission.pk)
    assert found(asked) == [submission]


@pytest.mark.parametrize(
    "asked", ["orals", "coral tuna", "0000-0002-1825-0098", "88", "-", "NOT", "words:coral", "' OR 1=1", '"', "a*"]
)
def test_other_words_do_not_find_it(asked: str) -> None:
    made()
    assert found(asked) == ([] if asked not in ("-", '"') else list(Submission.objects.all()))


def test_a_former_title_no_longer_finds_it() -> None:
    submission = submit("one")
    build = claim(submission)
    lifecycle.request_cancel(build, actor="a", reason="r")
    lifecycle.finish_cancel(build)
    again = lifecycle.Request("one", submission.node_uuid, submission.url, submission.repository, {"title": "Renamed"})
    lifecycle.submit(again)
    assert (found("renamed"), found("title")) == ([submission], [])


def test_a_deleted_submission_is_not_found() -> None:
    submission = submit("one")
    SearchWords.objects.all().delete()
    assert found("one") == []
    search.index(submission.pk)
    assert found("one") == [submission]


@pytest.mark.parametrize("asked", ["lab/paper", "node-one.", "one"])
def test_a_submission_accepted_by_an_older_release_is_indexed_soon(asked: str) -> None:
    submission, _ = submit("one", repository="lab/paper"), submit("two")
    SearchWords.objects.filter(submission=submission).delete()
    search.Missing().index()
    assert found(asked) == [submission]


def test_a_new_submission_is_found_after_the_next_round_of_the_reconciler() -> None:
    missing = search.Missing()
    missing.index()
    submission = unindexed("one", title="Of kelp")
    assert found("kelp") == []
    missing.index()
    assert found("kelp") == [submission]


def test_all_submissions_without_words_are_indexed_however_many_came_since(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, limit in {"INDEXED_AT_ONCE": 2, "LOOKED_AT_ONCE": 3, "NEWEST": 1}.items():
        monkeypatch.setattr(search, name, limit)
    made = [unindexed(f"job-{number}") for number in range(8)]
    missing = search.Missing()
    for _round in range(made[-1].pk // 3 + 2):  # PostgreSQL's ids go on from those of other tests
        missing.index()
    assert SearchWords.objects.count() == len(made)


def test_words_that_another_process_wrote_meanwhile_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    submission = unindexed("one", title="Of kelp")

    def joined(texts: list[str]) -> str:
        SearchWords.objects.create(submission=submission, words="newer")
        return "older"

    monkeypatch.setattr(search, "joined", joined)
    search.index_missing()
    assert SearchWords.objects.get().words == "newer"


def unindexed(job_id: str, title: str = "On builds") -> Submission:
    """A submission as it is after its answer."""
    node, address = f"node-{job_id}.", "https://github.com/a/b/blob/main/myst.yml"
    return lifecycle.submit(lifecycle.Request(job_id, node, address, "a/b", {"title": title}))


def test_a_very_long_word_does_not_break_the_index() -> None:
    submission = submit("one")
    Submission.objects.update(title="x" * 500, authors=" ".join(f"w{number}" for number in range(5000)))
    search.index(submission.pk)
    assert found("x" * 500) == [submission]


def test_a_submission_says_whose_fault_it_is_while_it_is_failed() -> None:
    submission = made()
    assert Submission.objects.get().fault == "manuscript"
    lifecycle.retry(submission, Mode.LATEST, actor="a")
    assert Submission.objects.get().fault == ""


def test_results_come_page_by_page_in_the_order_of_ids() -> None:
    made = [submit(f"job-{number}").pk for number in range(6)]
    everything = Submission.objects.all()
    for asked in ("job", ""):
        assert search.ids(everything, asked, search.Window(2)) == [made[5], made[4]]
        assert search.ids(everything, asked, search.Window(2, before=made[4])) == [made[3], made[2]]
        assert search.ids(everything, asked, search.Window(2, after=made[0])) == [made[1], made[2]]
        assert search.ids(everything.filter(job_id="job-3"), asked, search.Window(2)) == [made[3]]


# The submissions are odd-5, even-4, odd-3, even-2, odd-1 and even-0. One of the first two is even, so five are looked at for two of them.
@pytest.mark.parametrize(
    ("asked", "limit", "found", "index_is_used"),
    [("odd", 1, [5], False), ("even", 2, [4, 2], False), ("even", 3, [4, 2, 0], True), ("even-0", 1, [0], True)],
)
def test_the_first_matches_are_found_without_the_index_if_many_match(
    monkeypatch: pytest.MonkeyPatch, asked: str, limit: int, found: list[int], index_is_used: bool
) -> None:
    numbers = {submit(f"{'odd' if number % 2 else 'even'}-{number}").pk: number for number in range(6)}
    monkeypatch.setattr(search, "LOOKED_AT_FIRST", 2)
    monkeypatch.setattr(search, "MAX_LOOKED_AT", 5)
    monkeypatch.setattr(search, "FEW", 5000)
    with CaptureQueriesContext(connection) as captured:
        ids = search.ids(Submission.objects.all(), asked, search.Window(limit))
    assert [numbers[pk] for pk in ids] == found
    assert reads_the_index(captured) is index_is_used


def reads_the_index(captured: CaptureQueriesContext) -> bool:
    return any("MATCH" in query["sql"] or "@@" in query["sql"] for query in captured.captured_queries)


def test_postgresql_looks_at_more_if_its_index_has_too_many_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's index is read only until enough are found."""
    made = [submit(f"{'kelp' if number % 3 else 'tides'}-{number}").pk for number in range(40)]
    for name, limit in {"LOOKED_AT_FIRST": 4, "MAX_LOOKED_AT": 5, "FEW": 20}.items():
        monkeypatch.setattr(search, name, limit)
    with CaptureQueriesContext(connection) as captured:
        ids = search.ids(Submission.objects.all(), "kelp", search.Window(10))
    assert ids == [pk for number, pk in enumerate(made) if number % 3][:-11:-1]
    assert reads_the_index(captured) is (connection.vendor == "sqlite")


def test_every_page_is_the_same_whichever_way_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids in between belong to submissions that the filters leave out, and pages may end there."""
    made = [submit(f"{'kelp' if number % 5 in (1, 2) else 'tides'}-{number}").pk for number in range(40)]
    rest = Submission.objects.exclude(pk__in=made[10:30:3])
    expected = [pk for number, pk in enumerate(made) if number % 5 in (1, 2) and pk not in made[10:30:3]]
    for first, limit in ((3, 7), (4, 3), (7, 50)):
        monkeypatch.setattr(search, "LOOKED_AT_FIRST", min(first, search.LOOKED_AT_FIRST))
        for pk in made[::4]:
            newer = search.ids(rest, "kelp", search.Window(limit, after=pk))
            older = search.ids(rest, "kelp", search.Window(limit, before=pk))
            both = search.ids(rest, "kelp", search.Window(limit, before=pk, after=made[6]))
            assert newer == [other for other in expected if other > pk][:limit]
            assert older == [other for other in reversed(expected) if other < pk][:limit]
            assert both == [other for other in expected if made[6] < other < pk][:limit]


def test_reindexing_finds_names_that_an_older_release_stored_otherwise() -> None:
    submissions = [submit(f"job-{number}") for number in range(3)]
    Submission.objects.update(title="On łukasz")
    SearchWords.objects.update(words="on łukasz")
    assert stored_words() == {"on łukasz"}
    call_command("reindex", batch=2, pause=0, stdout=StringIO())
    assert all("lukasz" in words for words in stored_words())
    assert set(found("Lukasz")) == set(submissions)


def stored_words() -> set[str]:
    return set(SearchWords.objects.values_list("words", flat=True))


def test_reindexing_goes_on_where_a_run_ended() -> None:
    first, second = submit("job-1"), submit("job-2")
    SearchWords.objects.update(words="old")
    call_command("reindex", after=first.pk, pause=0, stdout=StringIO())
    assert [SearchWords.objects.get(pk=each.pk).words == "old" for each in (first, second)] == [True, False]


def test_ids_that_lie_close_together_behind_a_gap_are_not_all_looked_at() -> None:
    """The newest submissions may be what is left of many, and the older ones all of them."""
    sparse = search.Looked(first=1_000_000, span=400_000, count=400)
    assert sparse.further(found=10, limit=50).span == 400_000 + search.MAX_WALKED
    assert search.Looked(first=1_000_000, span=400, count=400).further(found=10, limit=50).span == 2500
