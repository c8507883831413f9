"""Submissions are found by what people know of them, and fast on either database."""

from __future__ import annotations

import pytest

from builds import lifecycle, search
from builds.errors import Cause, Fault
from builds.models import Mode, Submission
from builds.search_models import SearchWords
from tests.rows import claim, submit

pytestmark = pytest.mark.django_db

COMMIT = "12e45678" * 5


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
    ids = search.ids(Submission.objects.all(), asked, search.Window(most=50))
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
def test_a_name_is_found_without_a_key_for_its_letters(name: str) -> None:
    submission = submit("one")
    for written in ("Łukasz Sørensen", "Lukasz Sorensen"):
        Submission.objects.update(authors=written)
        search.index(submission.pk)
        assert found(name) == [submission]


def test_a_name_is_found_as_an_older_release_kept_it() -> None:
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
def test_what_it_has_not_does_not_find_it(asked: str) -> None:
    made()
    assert found(asked) == ([] if asked not in ("-", '"') else list(Submission.objects.all()))


def test_it_is_no_longer_found_by_a_title_that_it_had() -> None:
    submission = submit("one")
    build = claim(submission)
    lifecycle.request_cancel(build, actor="a", reason="r")
    lifecycle.finish_cancel(build)
    again = lifecycle.Request("one", submission.node_uuid, submission.url, submission.repository, {"title": "Renamed"})
    lifecycle.submit(again)
    assert (found("renamed"), found("title")) == ([submission], [])


def test_what_is_deleted_is_found_no_more() -> None:
    submission = submit("one")
    SearchWords.objects.all().delete()
    assert found("one") == []
    search.index(submission.pk)
    assert found("one") == [submission]


@pytest.mark.parametrize("asked", ["lab/paper", "node-one.", "one"])
def test_what_an_older_release_accepted_during_an_update_is_found_soon(asked: str) -> None:
    submission, _ = submit("one", repository="lab/paper"), submit("two")
    SearchWords.objects.filter(submission=submission).delete()
    search.index_forgotten()
    assert found(asked) == [submission]


def test_one_word_that_is_endless_does_not_break_the_index() -> None:
    submission = submit("one")
    Submission.objects.update(title="x" * 500, authors=" ".join(f"w{number}" for number in range(5000)))
    search.index(submission.pk)
    assert found("x" * 500) == [submission]


def test_a_submission_says_whose_fault_it_is_while_it_is_failed() -> None:
    submission = made()
    assert Submission.objects.get().fault == "manuscript"
    lifecycle.retry(submission, Mode.LATEST, actor="a")
    assert Submission.objects.get().fault == ""


def test_what_is_found_comes_page_by_page_in_the_order_of_ids() -> None:
    made = [submit(f"job-{number}").pk for number in range(6)]
    everything = Submission.objects.all()
    for asked in ("job", ""):
        assert search.ids(everything, asked, search.Window(2)) == [made[5], made[4]]
        assert search.ids(everything, asked, search.Window(2, before=made[4])) == [made[3], made[2]]
        assert search.ids(everything, asked, search.Window(2, after=made[0])) == [made[1], made[2]]
        assert search.ids(everything.filter(job_id="job-3"), asked, search.Window(2)) == [made[3]]
