"""The list of submissions: rows, search, filters, live updates and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds import lifecycle
from builds.desk.submissions.filters import Filters
from builds.engine.findings import Finding
from builds.errors import Cause, Fault
from builds.models import Build, Mode, Stage, Submission
from tests.support import made
from tests.support.found import CHECKS, MISSING, NO_DOI, OWN, write_findings

LIST, LIVE, CSV = "/submissions/", "/submissions/live/", "/submissions/csv/"


def titles(client: Client, address: str = LIST) -> list[str]:
    """The titles on the page, in order."""
    return re.findall(r'class="row-title title"[^>]*><bdi>([^<]*)', client.get(address).text)


def test_an_empty_list_says_so(viewer: Client) -> None:
    assert "No submissions yet" in viewer.get(LIST).text
    assert "Nothing needs you" in viewer.get(f"{LIST}?view=needs-me").text
    assert "No matches" in viewer.get(f"{LIST}?q=coral").text


def test_a_row_shows_author_source_and_state(viewer: Client) -> None:
    build = made.running(author="Zoë Ångström")
    Stage.objects.filter(build=build, name="build").update(progress_done=50, progress_total=100)
    page = viewer.get(LIST).text
    for words in ("Zoë Ångström<", "lab/paper-1", "main", "c0ffee12c0", "running: build", "1 attempt<", 'max="5" value="2.50"'):
        assert words in page


def test_a_failed_row_shows_the_cause(viewer: Client) -> None:
    made.failed()
    page = viewer.get(LIST).text
    assert "<strong>The manuscript:</strong> <bdi>The reference “hopper1953” is not in the bibliography.</bdi>" in page


def test_the_authors_text_is_escaped(viewer: Client) -> None:
    made.submitted(title=f"{made.SCRIPT} \u202eevil", author="<b>")
    assert titles(viewer) == ["&lt;script&gt;alert(1)&lt;/script&gt; evil"]


def test_pages_are_newest_first_in_both_directions(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builds.desk.submissions.listing.PAGE_SIZE", 2)
    pks = [made.submitted(str(number)).pk for number in range(5)]
    assert titles(viewer) == ["On builds 4", "On builds 3"]
    assert f"before={pks[3]}" in viewer.get(LIST).text
    assert titles(viewer, f"{LIST}?before={pks[3]}") == ["On builds 2", "On builds 1"]
    assert titles(viewer, f"{LIST}?before={pks[1]}") == ["On builds 0"]
    assert titles(viewer, f"{LIST}?after={pks[0]}") == ["On builds 2", "On builds 1"]
    assert titles(viewer, f"{LIST}?after=nonsense&before={'9' * 40}") == ["On builds 4", "On builds 3"]


def test_submissions_are_found_by_the_cause_of_any_attempt(viewer: Client) -> None:
    again = made.failed("1", title="Tried again")
    made.failed("2", title="Failed too")
    made.submitted("3", title="Never failed")
    lifecycle.retry(again.submission, Mode.LATEST, actor="ed")
    code = made.CAUSE.code
    assert titles(viewer, f"{LIST}?cause={code}") == ["Failed too", "Tried again"]
    assert titles(viewer, f"{LIST}?cause={code}&state=queued") == ["Tried again"]
    assert titles(viewer, f"{LIST}?cause=build-timeout") == []
    assert f'name="cause" id="id_cause" maxlength="60" value="{code}"' in viewer.get(f"{LIST}?cause={code}").text


def with_findings(name: str, *findings: Finding, title: str = "") -> Build:
    build = made.running(name, title=title)
    write_findings(build, *findings)
    return made.delivered(build)


def test_a_success_with_problems_says_so_in_words_with_a_sign_and_the_first_problem(viewer: Client) -> None:
    with_findings("1", MISSING, NO_DOI)
    page = viewer.get(LIST).text
    assert re.search(r'<span class="state state-problems"><svg .*?</svg>succeeded, with 2 problems</span>', page)
    assert "The figure “a.png” is missing." in page
    assert "and 1 more" in page


def test_a_success_with_notices_only_is_a_success(viewer: Client) -> None:
    with_findings("1", OWN, *CHECKS)
    page = viewer.get(LIST).text
    assert "state-succeeded" in page
    assert "state-problems" not in page


def test_submissions_are_found_by_their_problems(viewer: Client) -> None:
    with_findings("1", MISSING, OWN, title="Damaged")
    with_findings("2", OWN, title="Sound")
    made.failed("3", title="Failed")
    assert titles(viewer, f"{LIST}?problems=yes") == ["Damaged"]
    assert titles(viewer, f"{LIST}?problems=no") == ["Sound"]
    assert titles(viewer, f"{LIST}?finding=own-template-used") == ["Sound", "Damaged"]
    assert titles(viewer, f"{LIST}?finding=image-missing&problems=yes") == ["Damaged"]
    assert titles(viewer, f"{LIST}?finding=nonsense") == []


def test_a_submission_that_is_tried_again_is_no_longer_one_with_problems(viewer: Client) -> None:
    build = with_findings("1", MISSING)
    lifecycle.retry(build.submission, Mode.LATEST, actor="ed")
    assert titles(viewer, f"{LIST}?problems=yes") == []
    assert titles(viewer, f"{LIST}?finding=image-missing") == ["On builds 1"]


def test_the_filter_offers_the_codes_of_findings_with_the_number_of_submissions(viewer: Client) -> None:
    with_findings("1", MISSING, replace(MISSING, line=9), OWN)
    with_findings("2", OWN, *CHECKS)
    offered = re.findall(r'<option value="([a-z-]+)"( selected)?>([^<]*)', viewer.get(f"{LIST}?finding=doi-unknown").text)
    assert [
        option for option in offered if option[0] in ("own-template-used", "image-missing", "doi-unknown", "editorial-title")
    ] == [
        ("own-template-used", "", "own-template-used (2)"),
        ("image-missing", "", "image-missing (1)"),
        ("doi-unknown", " selected", "doi-unknown"),
    ]


def test_the_csv_has_the_number_and_the_codes_of_problems(viewer: Client) -> None:
    with_findings("1", MISSING, replace(MISSING, line=9), NO_DOI, OWN)
    [row] = csv.DictReader(io.StringIO("".join(chunk.decode() for chunk in viewer.get(CSV).streaming_content)))  # type: ignore[attr-defined]
    assert (row["state"], row["problems"], row["problem codes"]) == ("succeeded", "3", "image-missing, doi-unknown")


def test_submissions_are_found_by_kind_of_retry(viewer: Client) -> None:
    lifecycle.fail(made.running("1", title="By itself"), made.CAUSE, retry_at=timezone.now())
    lifecycle.retry(made.failed("2", title="Asked for").submission, Mode.LATEST, actor="ed")
    made.failed("3", title="Never")
    assert titles(viewer, f"{LIST}?retried=itself") == ["By itself"]
    assert titles(viewer, f"{LIST}?retried=asked") == ["Asked for"]
    assert titles(viewer, f"{LIST}?retried=asked&state=failed") == []


def test_a_cause_is_that_of_any_attempt_or_of_what_still_fails_by_it(viewer: Client) -> None:
    made.failed("1", title="Still")
    lifecycle.retry(made.failed("2", title="Again").submission, Mode.LATEST, actor="ed")
    other = lifecycle.retry(made.failed("3", title="Otherwise").submission, Mode.LATEST, actor="ed").submission
    lifecycle.fail(made.started(other), Cause(Fault.SERVICE, "worker-lost", "It was lost."))
    assert titles(viewer, f"{LIST}?cause=build-failed") == ["Otherwise", "Again", "Still"]
    assert titles(viewer, f"{LIST}?cause=build-failed&state=failed") == ["Still"]
    assert titles(viewer, f"{LIST}?cause=worker-lost&state=failed") == ["Otherwise"]


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL plans by what is in the tables, and here they are empty")
def test_the_attempts_that_failed_by_a_cause_are_found_without_reading_them() -> None:
    [part] = Filters(QueryDict("cause=build-failed&subject=Physics"), AnonymousUser())._parts()
    assert "COVERING INDEX build_failed_with" in part.values_list("pk").explain()


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL plans by what is in the tables, and here they are empty")
@pytest.mark.parametrize(
    ("query", "index"),
    [("cause=build-failed", "COVERING INDEX build_failed_with"), ("finding=image-missing", "COVERING INDEX finding_code")],
)
@pytest.mark.parametrize("place", [{}, {"before": 9}, {"after": 9}], ids=str)
def test_a_filter_by_other_rows_reads_no_more_of_their_index_than_a_page(query: str, index: str, place: dict[str, int]) -> None:
    """It reads them in the order of ids, so it neither sorts nor collects them."""
    with CaptureQueriesContext(connection) as captured:
        Filters(QueryDict(query), AnonymousUser()).page(size=50, **place)
    [asked] = captured.captured_queries
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {asked['sql']}")
        [(*_, step)] = cursor.fetchall()
    assert index in step


def test_a_filter_by_other_rows_finds_the_same_alone_and_with_another(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together with a period that has all of them, submissions are filtered instead."""
    monkeypatch.setattr("builds.desk.submissions.listing.PAGE_SIZE", 2)
    for number in range(6):
        build = with_findings(str(number), MISSING, replace(MISSING, line=9)) if number % 3 else made.failed(str(number))
        lifecycle.retry(build.submission, Mode.LATEST, actor="ed")
    first = Submission.objects.earliest("pk").pk
    for query in ("cause=build-failed", "finding=image-missing"):
        for place in ("", f"&before={first + 4}", f"&after={first}", f"&before={first + 5}&after={first}"):
            alone = titles(viewer, f"{LIST}?{query}{place}")
            assert alone and alone == titles(viewer, f"{LIST}?{query}{place}&start=2000-01-01"), (query, place)


def test_filters_are_in_the_query_string(viewer: Client) -> None:
    made.failed("1")
    made.succeeded("2", title="Corals", node="node-x.")
    made.running("3")
    for query, found in {
        "state=failed": ["On builds 1"],
        "state=failed&fault=manuscript": ["On builds 1"],
        "fault=service": [],
        "state=succeeded": ["Corals"],
        "repository=lab/paper-3": ["On builds 3"],
        "node=node-x.": ["Corals"],
        "q=coral": ["Corals"],
        "q=hopper1953": ["On builds 1"],
        "q=coral&state=failed": [],
        "orcid=0000-0002-1825-0097": ["On builds 3", "Corals", "On builds 1"],
        "orcid=https://orcid.org/0000-0002-1825-0097&q=coral": ["Corals"],
        "orcid=000000021825009x": [],
        "state=nonsense": ["On builds 3", "Corals", "On builds 1"],
    }.items():
        assert titles(viewer, f"{LIST}?{query}") == found, query


@pytest.mark.parametrize(
    "query",
    [
        *("repository=LAB/Paper-2", "repository=https://github.com/lab/paper-2/blob/main/index.md", "repository=lab/paper-2.git"),
        *("node=node-x", "node=https://nodes.desci.com/node/node-x", "q=coral&repository=lab/paper-2"),
        *("orcid=0000 0002 1825 0097&q=coral", "orcid=orcid.org/0000-0002-1825-0097&q=coral"),
    ],
)
def test_filters_accept_pasted_addresses(viewer: Client, query: str) -> None:
    made.submitted("2", title="Corals", node="node-x.")
    made.submitted("22")
    assert titles(viewer, f"{LIST}?{query}") == ["Corals"]


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        *(("Gonzales", "gonzalez"), ("gonsalez", "gonzalez"), ("Mueller", "muller"), ("Gonzalez Muler", "gonzalez muller")),
        *(("J. González", "gonzalez"), ("Prof González", "gonzalez"), ("job id job-1", "job job 1"), ("hopper 1954", "hopper")),
    ],
)
def test_a_misspelt_name_leads_to_the_right_one(viewer: Client, asked: str, meant: str) -> None:
    made.failed("1", title="Corals", author="José González and Rosa Müller")
    page = viewer.get(LIST, {"q": asked, "state": "failed"}).text
    assert "No matches" in page
    [query] = re.findall(r"Did you mean <a href=\"\?([^\"]*)\">", page)
    assert parse_qs(unescape(query)) == {"q": [meant], "state": ["failed"]}
    assert titles(viewer, f"{LIST}?{unescape(query)}") == ["Corals"]


@pytest.mark.parametrize(
    "query", ["q=Dijkstra", "q=gonzales&state=running", "q=gonz%C3%A1lez&state=running", "q=0000-0002-1825-0098"]
)
def test_nothing_is_suggested_without_a_similar_word(viewer: Client, query: str) -> None:
    made.failed("1", author="José González")
    page = viewer.get(f"{LIST}?{query}").text
    assert "No matches" in page
    assert "Did you mean" not in page


def test_the_filter_by_days_includes_the_whole_last_day(viewer: Client) -> None:
    for day in (1, 2, 3):
        at = datetime(2026, 3, day, 23, 59, tzinfo=UTC)
        Submission.objects.filter(pk=made.submitted(str(day)).pk).update(created_at=at)
    assert titles(viewer, f"{LIST}?start=2026-03-02") == ["On builds 3", "On builds 2"]
    assert titles(viewer, f"{LIST}?end=2026-03-02") == ["On builds 2", "On builds 1"]
    assert titles(viewer, f"{LIST}?start=2026-03-02&end=2026-03-02") == ["On builds 2"]
    assert titles(viewer, f"{LIST}?start=2027-01-01") == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("start=yesterday", "“yesterday” was ignored: The first day must be a valid date, such as 2026-03-31."),
        ("end=9999-12-31", "“9999-12-31” was ignored: The last day must be in the years 2000 to 2100."),
        ("start=0001-01-01", "“0001-01-01” was ignored: The first day must be in the years 2000 to 2100."),
        ("end=2026-02-30", "“2026-02-30” was ignored: The last day must be a valid date, such as 2026-03-31."),
        ("start=2026-01-02&end=2026-01-01", "“2026-01-01” was ignored: The last day is before the first day, 2026-01-02."),
        ("orcid=1825", "“1825” was ignored: An ORCID looks like 0000-0002-1825-0097."),
        ("retried=never", "“never” was ignored: This is not a kind of retry. Choose one from the list."),
        ("state=nonsense", "“nonsense” was ignored: This is not a state. Choose one from the list."),
        ("fault=nobody", "“nobody” was ignored: This is not a group of causes. Choose one from the list."),
    ],
)
def test_an_invalid_filter_is_reported_and_ignored(viewer: Client, query: str, said: str) -> None:
    made.submitted()
    assert f'<p class="message warning">{said}</p>' in viewer.get(f"{LIST}?{query}").text
    assert titles(viewer, f"{LIST}?{query}") == ["On builds 1"]


def test_needs_me_lists_failed_stuck_and_unconfirmed_submissions(viewer: Client) -> None:
    made.failed("failed")
    made.refused(made.succeeded("untold"))
    long_ago = timezone.now() - timedelta(hours=3)
    Build.objects.filter(pk=made.submitted("waits").newest_build().pk).update(created_at=long_ago)
    Build.objects.filter(pk=made.running("runs").pk).update(started_at=long_ago)
    stops = made.running("stops")
    lifecycle.request_cancel(stops, actor="ada", reason="r")
    Build.objects.filter(pk=stops.pk).update(cancel_requested_at=long_ago)
    made.succeeded("well")
    made.running("goes on")
    assert titles(viewer, f"{LIST}?view=needs-me") == [
        f"On builds {name}" for name in ("stops", "runs", "waits", "untold", "failed")
    ]
    assert titles(viewer, f"{LIST}?view=needs-me&q=waits") == ["On builds waits"]
    page = viewer.get(f"{LIST}?view=needs-me").text
    assert (page.count(">stuck<"), page.count(">desci-server not notified<")) == (3, 1)


def test_a_waiting_retry_is_not_stuck_and_shows_when(viewer: Client) -> None:
    build = made.running()
    lifecycle.fail(build, made.CAUSE, retry_at=timezone.now() + timedelta(minutes=30, seconds=30))
    page = viewer.get(LIST).text
    assert "<strong>The manuscript:</strong> <bdi>The reference “hopper1953” is not in the bibliography.</bdi>" in page
    assert "next try" in page
    assert "in 30 min" in page
    assert titles(viewer, f"{LIST}?view=needs-me") == []


def test_live_updates_rows_and_counts_new_ones(viewer: Client) -> None:
    build = made.running("1")
    made.submitted("2")
    other = made.submitted("3")
    answer = viewer.get(LIVE, {"first": "1", "shown": str(build.submission_id)}).json()
    assert (answer["new"], list(answer["rows"])) == (2, [str(build.submission_id)])
    lifecycle.fail(build, made.CAUSE)
    answer = viewer.get(LIVE, {"shown": f"{build.submission_id},{other.pk},x,999999"}).json()
    assert answer["states"] == {str(build.submission_id): "On builds 1: failed", str(other.pk): "On builds 3: queued"}
    assert answer["new"] == 0
    assert "hopper1953" in answer["rows"][str(build.submission_id)]


def test_live_counts_only_new_rows_that_match_the_filters(viewer: Client) -> None:
    shown = made.failed("1").submission_id
    made.running("2")
    made.failed("3")
    assert viewer.get(LIVE, {"first": "1", "shown": str(shown), "state": "failed"}).json()["new"] == 1


def test_the_processor_time_is_in_the_csv_and_on_the_attempt_s_page(viewer: Client) -> None:
    unknown, known = made.submitted("unknown"), made.submitted("known")
    known.builds.update(processor_seconds=83.27)
    rows = csv.DictReader(io.StringIO("".join(chunk.decode() for chunk in viewer.get(CSV).streaming_content)))  # type: ignore[attr-defined]
    assert {row["node uuid"]: row["processor seconds"] for row in rows} == {"node-unknown.": "", "node-known.": "83.3"}
    pages = [viewer.get(f"/submissions/{submission.pk}/").content.decode() for submission in (unknown, known)]
    assert ["Processor time" in page for page in pages] == [False, True]
    assert "<dt>Processor time</dt><dd>1 min 23 s</dd>" in pages[1]


def test_no_cell_of_the_csv_is_a_formula(viewer: Client) -> None:
    made.failed("1", title='=HYPERLINK("x")', author="@SUM(A1)")
    made.succeeded("2")
    answer: Any = viewer.get(CSV)
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["title"] for row in rows] == ["On builds 2", '\'=HYPERLINK("x")']
    assert rows[1]["authors"] == "'@SUM(A1) (0000-0002-1825-0097)"
    assert (rows[1]["state"], rows[1]["fault"], rows[1]["cause code"], rows[1]["attempts"]) == (
        "failed",
        "manuscript",
        "build-failed",
        "1",
    )
    assert answer["Content-Disposition"].startswith('attachment; filename="submissions-')


def test_the_csv_has_more_rows_than_a_page(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builds.desk.submissions.table.FIRST_BATCH_SIZE", 1)
    monkeypatch.setattr("builds.desk.submissions.table.BATCH_SIZE", 2)
    for number in range(5):
        made.submitted(str(number))
    answer: Any = viewer.get(f"{CSV}?state=queued")
    header, *batches = (part.decode().splitlines() for part in answer.streaming_content)
    assert [len(header), *map(len, batches)] == [1, 1, 2, 2]
    assert [line.partition(",")[0] for batch in batches for line in batch] == [f"job-{number}" for number in range(4, -1, -1)]


@pytest.mark.parametrize(
    "address", [LIST, f"{LIST}?view=needs-me", f"{LIST}?view=mine", f"{LIST}?q=builds", f"{LIVE}?first=1&shown=1,2,3,4,5,6"]
)
def test_a_longer_list_needs_no_more_queries(
    editor: Client, address: str, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    made.running("1")
    made.refused(made.failed("2"))
    # A search on PostgreSQL has four statements around it.
    with django_assert_max_num_queries(25 if connection.vendor == "postgresql" else 21) as asked:
        editor.get(address)
    for number in range(3, 9, 2):
        made.running(str(number))
        made.refused(made.failed(str(number + 1)))
    with django_assert_max_num_queries(len(asked)):
        editor.get(address)
