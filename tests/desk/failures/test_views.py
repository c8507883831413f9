"""The pages of failures that are alike, and the ways to them: from the overview, the list, and a failed submission."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds import lifecycle
from builds.desk.failures import groups
from builds.desk.submissions.filters import Filters
from builds.errors import Cause, Fault
from builds.models import Build, FailureGroup, HandlingState, Mode, Stage, State, Submission
from builds.staff.failures import GROWS_FROM, count_lately, count_open
from tests.desk.submissions.test_listing import LIST, titles
from tests.support import made

pytestmark = pytest.mark.django_db

LIST_OF_GROUPS, OVERVIEW = "/failures/", "/overview/"
DOWN = Cause(Fault.OUTSIDE, "desci-server-down", "desci-server did not answer for 300 s.", "Deliver again.")
BUG = Cause(Fault.SERVICE, "internal-error", "The build failed because of an internal error in Jobsite.")


def undelivered(name: str) -> Build:
    """A build that made its exports and failed in the stage deliver."""
    build = made.running(name)
    made.keep(build, 1, "typst", "exports/paper.pdf", b"%PDF-1.7 content")
    lifecycle.leave_stage(build.stages.get(name="build"), Stage.State.SUCCEEDED)
    made.go_through(build, "collect")
    lifecycle.enter_stage(build, "deliver")
    lifecycle.fail(build, DOWN, stage="deliver")
    return build


def broken(name: str, cause: Cause = BUG) -> Build:
    build = made.running(name)
    lifecycle.fail(build, cause, stage="build")
    return build


def group_of(build: Build) -> FailureGroup:
    return FailureGroup.objects.get(pk=Build.objects.get(pk=build.pk).fingerprint)


def page_of(build: Build) -> str:
    return f"/failures/{group_of(build).pk}/"


def offers(page: str) -> dict[str, str]:
    """The addresses of the links that confirm an action on all of a group, by their texts."""
    return {text: unescape(address) for address, text in re.findall(r'href="(/submissions/act/[^"]+)">([^<]+)<', page)}


def test_the_group_that_grew_last_is_first(viewer: Client) -> None:
    made.failed("1"), broken("2"), made.failed("3")
    page = viewer.get(LIST_OF_GROUPS).text
    first, second = page.index("The reference … is not"), page.index("because of an internal error")
    assert first < second
    assert "2 submissions to look at" in page and "1 submission to look at" in page
    assert "2 in the last hour" in page


def test_a_group_of_ours_that_grows_says_so(viewer: Client) -> None:
    for name in range(GROWS_FROM - 1):
        broken(str(name)), made.failed(f"theirs-{name}")
    made.failed("theirs")
    assert "growing" not in viewer.get(LIST_OF_GROUPS).text
    broken("one more")
    assert viewer.get(LIST_OF_GROUPS).text.count("growing") == 1
    Build.objects.update(finished_at=timezone.now() - timedelta(hours=2))
    assert "growing" not in viewer.get(LIST_OF_GROUPS).text


def test_a_group_says_what_is_known_of_it(viewer: Client) -> None:
    made.failed("1"), made.failed("2")
    build = made.failed("3")
    FailureGroup.objects.update(first_at=timezone.now() - timedelta(days=2))
    page = viewer.get(page_of(build)).text
    for known in (
        "The reference “hopper1953” is not",
        "Add it.",
        "The authors, in the manuscript.",
        "build-failed",
        "On builds 2",
    ):
        assert known in page
    assert "3 attempts of 3 manuscripts; 3 manuscripts in the last hour" in page
    assert "2 d ago" in page
    assert "after the upgrade" not in page


def test_a_group_that_began_after_an_upgrade_says_so(viewer: Client) -> None:
    build = made.failed("1")
    FailureGroup.objects.update(upgraded_at=timezone.now() - timedelta(hours=3))
    for address in (page_of(build), LIST_OF_GROUPS, f"/submissions/{build.submission_id}/"):
        assert "after the upgrade of" in viewer.get(address).text, address


def test_a_failed_submission_says_how_many_others_failed_like_it(viewer: Client) -> None:
    build = made.failed("1")
    address = f"/submissions/{build.submission_id}/"
    assert "No other manuscript</a>, 1 attempt since" in viewer.get(address).text
    made.failed("2"), made.failed("3")
    page = viewer.get(address).text
    assert f'<a href="{page_of(build)}">2 other manuscripts</a>, 3 attempts since' in page


def test_all_of_a_cause_are_retried_from_the_overview_and_the_group(editor: Client) -> None:
    for name in ("1", "2", "3"):
        broken(name)
    for address in (OVERVIEW, LIST_OF_GROUPS, page_of(Build.objects.all()[0])):
        [(text, confirm)] = offers(editor.get(address).text).items()
        assert text == "Retry all 3"
    asked = editor.get(confirm, headers={"Referer": f"http://testserver{address}"}).text
    assert "Retry: 3 submissions?" in asked and f'name="back" value="{address}"' in asked
    chosen = re.findall(r'name="id" value="(\d+)"', asked)
    answer = editor.post("/submissions/act/", {"act": "retry", "id": chosen, "mode": "latest", "reason": "", "back": address})
    assert (answer.status_code, answer["Location"]) == (302, address)
    assert set(Submission.objects.values_list("state", flat=True)) == {State.QUEUED}
    assert offers(editor.get(address).text) == {}


def test_what_was_not_delivered_is_delivered_again(editor: Client) -> None:
    for name in ("1", "2"):
        build = undelivered(name)
    found = offers(editor.get(page_of(build)).text)
    assert list(found) == ["Deliver all 2 again", "Retry all 2"]
    assert "Deliver again: 2 submissions?" in editor.get(found["Deliver all 2 again"]).text


@pytest.mark.parametrize("fault", [Fault.MANUSCRIPT, Fault.TEMPLATE])
def test_nothing_is_offered_where_the_author_has_to_change_something(editor: Client, fault: Fault) -> None:
    build = broken("1", Cause(fault, "export-broken", "An export is damaged."))
    page = editor.get(page_of(build)).text
    assert offers(page) == {}
    assert "Show 1 submission that needs you" in page


def test_viewers_are_offered_nothing(viewer: Client) -> None:
    assert offers(viewer.get(page_of(broken("1"))).text) == {}


def test_what_is_put_away_is_not_retried(editor: Client) -> None:
    first, second = broken("1"), broken("2")
    lifecycle.put_away(first.submission, HandlingState.DONE, actor="ann")
    page = editor.get(page_of(second)).text
    [(text, confirm)] = offers(page).items()
    assert text == "Retry it"
    assert "On builds 1" not in editor.get(confirm).text
    lifecycle.put_away(second.submission, HandlingState.DONE, actor="ann")
    page = editor.get(page_of(second)).text
    assert offers(page) == {} and "No submission fails like this now" in page


def test_a_large_group_is_retried_in_parts(editor: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MAX_AT_ONCE", 2)
    for name in ("1", "2", "3"):
        build = broken(name)
    assert list(offers(editor.get(page_of(build)).text)) == ["Retry the newest 2"]


def test_the_list_has_a_filter_for_a_group(viewer: Client) -> None:
    broken("1")
    build = made.failed("2")
    address = f"{LIST}?group={group_of(build).pk}"
    assert titles(viewer, address) == ["On builds 2"]
    assert "The reference … is not in the bibliography." in viewer.get(address).text
    lifecycle.retry(build.submission, Mode.LATEST, actor="ed", reason="")
    assert titles(viewer, address) == []
    assert titles(viewer, f"{LIST}?group=unknown") == []


def test_groups_are_shown_by_who_is_responsible(viewer: Client) -> None:
    made.failed("1"), broken("2")
    assert "internal-error" not in viewer.get(f"{LIST_OF_GROUPS}?fault=manuscript").text
    assert "internal-error" in viewer.get(f"{LIST_OF_GROUPS}?fault=service").text
    assert "No attempt has failed for this reason" in viewer.get(f"{LIST_OF_GROUPS}?fault=outside").text
    assert "internal-error" in viewer.get(f"{LIST_OF_GROUPS}?fault=nobody").text


def test_older_groups_are_on_further_pages(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "PAGE_SIZE", 2)
    codes = [f"code-{number}" for number in range(5)]
    for code in codes:
        broken(code, Cause(Fault.SERVICE, code, "It broke."))
    FailureGroup.objects.update(last_at=timezone.now())  # one moment: their order is that of the fingerprints
    found, address = [], LIST_OF_GROUPS
    while address:
        page = viewer.get(address).text
        found += re.findall(r'class="mono">(code-\d)<', page)
        older = re.search(r'rel="next" href="(\?before=\w+)"', page)
        address = f"{LIST_OF_GROUPS}{older[1]}" if older else ""
    assert sorted(found) == codes
    assert viewer.get(f"{LIST_OF_GROUPS}?before=gone%00").status_code == 200


def test_an_unknown_group_is_not_found(viewer: Client) -> None:
    assert viewer.get("/failures/0123456789abcdef/").status_code == 404


@pytest.mark.parametrize("address", [LIST_OF_GROUPS, "group"])
def test_a_page_needs_no_query_per_row(viewer: Client, address: str) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            viewer.get(page_of(build) if address == "group" else address)
        return len(captured)

    build = broken("0")
    viewer.get(address)
    before = count()
    for number in range(1, 5):
        broken(str(number)), broken(f"other-{number}", Cause(Fault.SERVICE, f"code-{number}", "It broke."))
    assert count() == before


def test_scripts_of_an_author_are_text(viewer: Client) -> None:
    build = broken("1", Cause(Fault.MANUSCRIPT, "broken", f"It says {made.SCRIPT} twice."))
    for address in (LIST_OF_GROUPS, page_of(build), OVERVIEW, f"{LIST}?group={group_of(build).pk}"):
        assert "<script>alert" not in viewer.get(address).text


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL plans by what is in the tables, and here they are empty")
def test_the_queries_read_their_indexes() -> None:
    pk, user = group_of(broken("1")).pk, User.objects.create_user("ann")
    listed = Filters(QueryDict(f"group={pk}"), user)._parts()[0].order_by("-pk").values_list("pk", flat=True)[:50].explain()
    newest, _more = groups.read_page("service", "")
    queries = {
        "build_failed_alike": lambda: count_lately(newest),
        "submission_open_alike": lambda: count_open([pk, "another"]),
        "failure_group_fault": lambda: groups.read_page("service", ""),
        "failure_group_newest": lambda: groups.read_page("", ""),
    }
    plans = {index: plan_of(query) for index, query in queries.items()}
    assert [index for index, plan in plans.items() if index not in plan] == []
    assert "alike" in listed
    assert "TEMP B-TREE" not in "".join((listed, plans["failure_group_fault"], plans["failure_group_newest"]))


def plan_of(query: Callable[[], object]) -> str:
    with CaptureQueriesContext(connection) as captured:
        query()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {captured.captured_queries[-1]['sql']}")
        return str(cursor.fetchall())
