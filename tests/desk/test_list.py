"""The list: what it shows, finds, filters and keeps up to date."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.test import Client
from django.utils import timezone

from builds import lifecycle
from builds.models import Build, Mode, Stage, Submission
from tests.desk import made

LIST, LIVE, CSV = "/submissions/", "/submissions/live/", "/submissions/csv/"


def titles(client: Client, address: str = LIST) -> list[str]:
    """The titles on the page, in order."""
    return re.findall(r'class="row-title title"[^>]*><bdi>([^<]*)', client.get(address).text)


def test_an_empty_list_says_what_will_be_there(viewer: Client) -> None:
    assert "No submissions yet" in viewer.get(LIST).text
    assert "Nothing needs you" in viewer.get(f"{LIST}?view=needs-me").text
    assert "Nothing matches" in viewer.get(f"{LIST}?q=coral").text


def test_a_row_says_whose_where_and_how_it_goes(viewer: Client) -> None:
    build = made.running(author="Zoë Ångström")
    Stage.objects.filter(build=build, name="build").update(progress_done=50, progress_total=100)
    page = viewer.get(LIST).text
    for words in ("Zoë Ångström<", "lab/paper-1", "main", "c0ffee12c0", "running: build", "1 attempt<", 'max="5" value="2.50"'):
        assert words in page


def test_a_failed_row_says_why(viewer: Client) -> None:
    made.failed()
    page = viewer.get(LIST).text
    assert "<strong>The manuscript:</strong> <bdi>The reference “hopper1953” is not in the bibliography.</bdi>" in page


def test_what_authors_wrote_is_text(viewer: Client) -> None:
    made.submitted(title=f"{made.SCRIPT} \u202eevil", author="<b>")
    assert titles(viewer) == ["&lt;script&gt;alert(1)&lt;/script&gt; evil"]


def test_newest_first_page_by_page_in_both_directions(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builds.desk.submissions.PAGE_SIZE", 2)
    pks = [made.submitted(str(number)).pk for number in range(5)]
    assert titles(viewer) == ["On builds 4", "On builds 3"]
    assert f"before={pks[3]}" in viewer.get(LIST).text
    assert titles(viewer, f"{LIST}?before={pks[3]}") == ["On builds 2", "On builds 1"]
    assert titles(viewer, f"{LIST}?before={pks[1]}") == ["On builds 0"]
    assert titles(viewer, f"{LIST}?after={pks[0]}") == ["On builds 2", "On builds 1"]
    assert titles(viewer, f"{LIST}?after=nonsense&before={'9' * 40}") == ["On builds 4", "On builds 3"]


def test_submissions_are_found_by_the_cause_of_any_of_their_builds(viewer: Client) -> None:
    again = made.failed("1", title="Tried again")
    made.failed("2", title="Failed too")
    made.submitted("3", title="Never failed")
    lifecycle.retry(again.submission, Mode.LATEST, actor="ed")
    code = made.CAUSE.code
    assert titles(viewer, f"{LIST}?cause={code}") == ["Failed too", "Tried again"]
    assert titles(viewer, f"{LIST}?cause={code}&state=queued") == ["Tried again"]
    assert titles(viewer, f"{LIST}?cause=build-timeout") == []
    assert f'name="cause" id="id_cause" maxlength="40" value="{code}"' in viewer.get(f"{LIST}?cause={code}").text


def test_submissions_are_found_by_who_had_them_tried_again(viewer: Client) -> None:
    lifecycle.fail(made.running("1", title="By itself"), made.CAUSE, retry_at=timezone.now())
    lifecycle.retry(made.failed("2", title="Asked for").submission, Mode.LATEST, actor="ed")
    made.failed("3", title="Never")
    assert titles(viewer, f"{LIST}?retried=itself") == ["By itself"]
    assert titles(viewer, f"{LIST}?retried=asked") == ["Asked for"]
    assert titles(viewer, f"{LIST}?retried=asked&state=failed") == []


def test_the_causes_of_the_overview_lead_to_their_submissions(viewer: Client) -> None:
    made.failed()
    address = f"{LIST}?cause={made.CAUSE.code}"
    assert f'href="{address}"' in viewer.get("/overview/").text
    assert len(titles(viewer, address)) == 1


def test_filters_are_in_the_address(viewer: Client) -> None:
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
def test_filters_take_what_people_paste(viewer: Client, query: str) -> None:
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
def test_a_name_that_is_misspelt_leads_to_the_right_one(viewer: Client, asked: str, meant: str) -> None:
    made.failed("1", title="Corals", author="José González and Rosa Müller")
    page = viewer.get(LIST, {"q": asked, "state": "failed"}).text
    assert "Nothing matches" in page
    [query] = re.findall(r"Did you mean <a href=\"\?([^\"]*)\">", page)
    assert parse_qs(unescape(query)) == {"q": [meant], "state": ["failed"]}
    assert titles(viewer, f"{LIST}?{unescape(query)}") == ["Corals"]


@pytest.mark.parametrize(
    "query", ["q=Dijkstra", "q=gonzales&state=running", "q=gonz%C3%A1lez&state=running", "q=0000-0002-1825-0098"]
)
def test_nothing_is_suggested_where_nothing_is_alike(viewer: Client, query: str) -> None:
    made.failed("1", author="José González")
    page = viewer.get(f"{LIST}?{query}").text
    assert "Nothing matches" in page
    assert "Did you mean" not in page


def test_days_are_filtered_to_their_ends(viewer: Client) -> None:
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
        (
            "start=yesterday",
            "“yesterday” was left out: The first day must be a date, written as 2026-03-31, which is in the calendar.",
        ),
        (
            "end=2026-02-30",
            "“2026-02-30” was left out: The last day must be a date, written as 2026-03-31, which is in the calendar.",
        ),
        ("start=2026-01-02&end=2026-01-01", "“2026-01-01” was left out: The last day must not be before the first, 2026-01-02."),
        ("orcid=1825", "“1825” was left out: An ORCID is written as 0000-0002-1825-0097."),
        ("retried=never", "“never” was left out: There is no such kind of retry. Choose one of those in the list."),
        ("state=nonsense", "“nonsense” was left out: There is no such state. Choose one of those in the list."),
        ("fault=nobody", "“nobody” was left out: There is no such group of causes. Choose one of those in the list."),
    ],
)
def test_a_filter_that_can_not_be_understood_is_named(viewer: Client, query: str, said: str) -> None:
    made.submitted()
    assert f'<p class="message warning">{said}</p>' in viewer.get(f"{LIST}?{query}").text
    assert titles(viewer, f"{LIST}?{query}") == ["On builds 1"]


def test_needs_me_is_what_failed_is_stuck_or_untold(viewer: Client) -> None:
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
    assert (page.count(">stuck<"), page.count(">desci-server not told<")) == (3, 1)


def test_a_retry_that_waits_is_not_stuck_and_says_when(viewer: Client) -> None:
    build = made.running()
    lifecycle.fail(build, made.CAUSE, retry_at=timezone.now() + timedelta(minutes=30, seconds=30))
    page = viewer.get(LIST).text
    assert "<strong>The manuscript:</strong> <bdi>The reference “hopper1953” is not in the bibliography.</bdi>" in page
    assert "next try" in page
    assert "in 30 min" in page
    assert titles(viewer, f"{LIST}?view=needs-me") == []


def test_rows_are_brought_up_to_date_and_new_ones_counted(viewer: Client) -> None:
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


def test_new_ones_are_those_that_the_filters_find(viewer: Client) -> None:
    shown = made.failed("1").submission_id
    made.running("2")
    made.failed("3")
    assert viewer.get(LIVE, {"first": "1", "shown": str(shown), "state": "failed"}).json()["new"] == 1


def test_as_a_table_no_cell_is_a_formula(viewer: Client) -> None:
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


def test_the_table_holds_more_than_a_page(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builds.desk.table.AT_ONCE", 2)
    for number in range(5):
        made.submitted(str(number))
    answer: Any = viewer.get(f"{CSV}?state=queued")
    assert len(b"".join(answer.streaming_content).splitlines()) == 6


@pytest.mark.parametrize("address", [LIST, f"{LIST}?view=needs-me", f"{LIST}?q=builds", f"{LIVE}?first=1&shown=1,2,3,4,5,6"])
def test_a_longer_list_asks_no_more_of_the_database(
    editor: Client, address: str, django_assert_num_queries: Callable[..., Any], django_assert_max_num_queries: Callable[..., Any]
) -> None:
    made.running("1")
    made.refused(made.failed("2"))
    with django_assert_max_num_queries(16) as asked:
        editor.get(address)
    for number in range(3, 9, 2):
        made.running(str(number))
        made.refused(made.failed(str(number + 1)))
    with django_assert_num_queries(len(asked)):
        editor.get(address)
