"""The overview page: numbers that lead to their lists, the period before, and a constant number of queries."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds import lifecycle
from builds.desk.overview import figures
from builds.desk.overview.counts import Outcomes
from builds.desk.overview.sentences import find_sentence
from builds.errors import Cause, DesciServerDown, Fault
from builds.models import Mode, Stage, Submission
from builds.staff.roles import ADMINS, EDITORS, VIEWERS
from tests.desk.conftest import SignIn
from tests.desk.overview.attempts import BROKEN, LOST, ended
from tests.desk.queue.test_views import words
from tests.support.found import CHECKS, MISSING, NO_DOI
from tests.support.rows import claim, submit

pytestmark = pytest.mark.django_db

LINK = re.compile(r'<a[^>]* href="(/submissions/\?[^"]*)">(.*?)</a>')


def count_listed(client: Client, address: str) -> int:
    return client.get(address).text.count('<li class="row"')


def find_causes(page: str) -> list[str]:
    """The codes in the table of causes."""
    [section] = re.findall(r'id="causes-heading".*?</section>', page, re.DOTALL)
    return re.findall(r'<th scope="row"><span class="mono">([^<]*)', section)


def make_record() -> None:
    """Submissions of both periods and before them, in every state."""
    ended("sound", field="Physics"), ended("damaged", None, MISSING, NO_DOI, *CHECKS, field="Physics")
    (
        ended("broken", BROKEN, MISSING, field="Law & order"),
        ended("lost", LOST),
        ended("lost-too", LOST),
        ended("older", LOST, days_ago=40),
    )
    ended("before", BROKEN, days_ago=35), ended("damaged-before", None, MISSING, days_ago=35, field="Physics")
    ended("long-ago", BROKEN, MISSING, days_ago=70), ended("yesterday", BROKEN, days_ago=1)
    Submission.objects.filter(pk=ended("away", LOST).submission_id).update(put_away=True)
    recovered, worse = ended("recovered", LOST), ended("worse", LOST)
    lifecycle.succeed(claim(lifecycle.retry(recovered.submission, Mode.LATEST, actor="ed").submission))
    lifecycle.fail(claim(lifecycle.retry(worse.submission, Mode.LATEST, actor="ed").submission), BROKEN)
    lifecycle.request_cancel(submit("cancelled").newest_build(), actor="ed", reason="x")
    submit("queued"), claim(submit("running"))


def test_each_number_leads_to_exactly_as_many_submissions(editor: Client) -> None:
    make_record()
    links = set(LINK.findall(editor.get("/overview/").text))
    numbers = {(unescape(address), int(text)) for address, text in links if text.isdigit()}
    listed = {(address, count_listed(editor, address)) for address, _ in numbers}
    assert numbers == listed
    assert len(numbers) > 40


def test_a_cause_leads_to_what_can_be_retried_because_of_it(editor: Client, viewer: Client) -> None:
    make_record()
    ended("not-delivered", DesciServerDown().cause)
    page = editor.get("/overview/").text
    retry = {unescape(address): text for address, text in LINK.findall(page) if "still fail" in text}
    assert [re.sub("<[^>]+>", "", text) for text in retry.values()] == [
        "Retry the 2 not put away that still fail by worker-lost",
        "See these 3 that still fail by build-failed",
        "Deliver this 1 that still fails by desci-server-down",
    ]
    address = next(iter(retry))
    listed = editor.get(address).text
    assert {title for title in re.findall(r"Title of ([\w-]+)", listed) if "before" not in title} == {"lost", "lost-too"}
    assert "All 2 that match" in listed
    assert ">See the 2 not put away<" in viewer.get("/overview/").text


def test_everything_that_all_that_match_takes_is_of_the_cause(editor: Client) -> None:
    make_record()
    [address] = [unescape(of) for of, text in LINK.findall(editor.get("/overview/").text) if text.startswith("Retry the 2 ")]
    query = address.partition("?")[2]
    confirmation = editor.get("/submissions/act/", {"act": "retry", "all": "on", "query": query}).text
    assert sorted(set(re.findall(r"Title of ([\w-]+)", confirmation))) == ["lost", "lost-too"]


def test_the_tiles_compare_with_the_period_before(viewer: Client) -> None:
    make_record()
    text = words(viewer.get("/overview/"))
    assert "Submitted 12 9 more ( 3 before) 1 queued, 1 running, 1 cancelled" in text
    assert "succeeded 3 2 more ( 1 before)" in text
    assert "with problems 1 unchanged ( 1 before)" in text
    assert "failed 6 4 more ( 2 before)" in text
    assert "Success rate 33.3 % unchanged (33.3 % before)" in text


def test_a_rate_without_anything_before_says_so(viewer: Client) -> None:
    ended("job-1")
    assert "Success rate 100.0 % no earlier figure" in words(viewer.get("/overview/"))


@pytest.mark.parametrize(("failures", "said"), [(1, "50.0 points lower (100.0 % before)"), (0, "unchanged (100.0 % before)")])
def test_a_rate_is_compared_in_points(viewer: Client, failures: int, said: str) -> None:
    ended("job-1"), ended("job-2", days_ago=35)
    if failures:
        ended("job-3", BROKEN)
    assert said in words(viewer.get("/overview/"))


def test_the_difference_is_that_of_the_rates_shown() -> None:
    now, before = Outcomes(succeeded=871, failed=129), Outcomes(succeeded=8704, failed=1296)  # 87.1 % and 87.04 %
    assert figures.Results("", now, before, {}).rate_change == "0.1 points higher"
    assert figures.Results("", now, Outcomes(succeeded=861, failed=139), {}).rate_change == "1.0 point higher"


def test_every_chart_has_its_table(viewer: Client) -> None:
    ended("job-1"), ended("job-2", BROKEN), ended("job-3", None, MISSING)
    page = viewer.get("/overview/")
    text, today = words(page), f"{timezone.now():%a} {timezone.now().day} {timezone.now():%b %Y}"
    assert f"{today} 3 2 1 1 0 0 0" in text
    assert f"{today} 2 1 0" in text
    assert page.text.count('<svg class="chart"') == page.text.count("<summary>Show as a table</summary>") == 2
    bars = re.findall(r"<title>[^<]*: (\d+ [^<]+)</title>", page.text)
    assert bars == ["1 succeeded", "1 succeeded, with problems", "1 failed", "2 succeeded", "1 failed"]


def test_causes_and_problems_are_shown_by_code_with_their_words(viewer: Client) -> None:
    ended("job-1", LOST), ended("job-2", BROKEN), ended("job-3", BROKEN), ended("job-4", None, NO_DOI)
    text = words(viewer.get("/overview/"))
    assert "The manuscript build-failed Failed to build the repo files. 2 2 more (0 before) 2" in text
    assert "Jobsite worker-lost The worker that ran the build was lost. 1 1 more (0 before) 1" in text
    assert "doi-unknown The DOI … could not be looked up (…), so its reference shows only the DOI. 1 1 more (0 before)" in text


def test_the_most_frequent_are_shown_and_the_rest_on_request(viewer: Client) -> None:
    for number in range(12):
        ended(f"job-{number}", Cause(Fault.MANUSCRIPT, f"cause-{number}", "x"), field=f"Field {number}")
    ended("job-12", Cause(Fault.MANUSCRIPT, "cause-11", "x"))
    page = viewer.get("/overview/", {"days": 7})
    causes = find_causes(page.text)
    assert "These are the 10 most frequent of 12 causes. Show the other 2" in words(page)
    assert "These are the 10 most frequent of 13 journal fields. Show the other 3" in words(page)
    assert (causes[:2], len(causes), "cause-9" in causes) == (["cause-11", "cause-0"], 10, False)
    assert 'href="?days=7&amp;all=causes#causes-heading"' in page.text
    page = viewer.get("/overview/?days=7&all=causes")
    assert len(find_causes(page.text)) == 12
    assert "Show only the most frequent causes" in words(page)
    assert "10 most frequent of 13 journal fields" in words(page)
    assert [len(of.shown) for of in (figures.read(7, "fields").fields, figures.read(7, "fields").causes)] == [13, 10]


def test_even_on_request_the_number_of_rows_is_limited(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "SHOWN", 1)
    monkeypatch.setattr(figures, "MAX_SHOWN", 2)
    for number in range(3):
        ended(f"job-{number}", field=f"Field {number}")
    text = words(viewer.get("/overview/", {"all": "fields"}))
    assert "These are the 2 most frequent of 3 journal fields." in text
    assert "Show the other" not in text


def test_the_name_of_a_journal_field_is_only_a_text(viewer: Client) -> None:
    ended("job-1", field="<b>\u202eLaw</b>")
    assert "<bdi>&lt;b&gt;\\u202eLaw&lt;/b&gt;</bdi>" in viewer.get("/overview/").text


def test_durations_are_a_table(viewer: Client) -> None:
    ended("job-1"), ended("job-2", BROKEN, days_ago=35)
    Stage.objects.filter(build__submission__job_id="job-2").update(name="collect")
    text = words(viewer.get("/overview/"))
    assert "waiting for a worker 1 measured 8.0 s unchanged (8.0 s before) 8.0 s" in text
    assert "build 1 measured 1 min 30 s 1 min 30 s" in text


def test_a_kind_of_finding_is_explained_by_its_text() -> None:
    assert find_sentence("title-invalid") == "The title in … is not a string, so the paper has no title."
    assert find_sentence("nonsense") == ""


def test_an_empty_record_says_so(viewer: Client) -> None:
    text = words(viewer.get("/overview/"))
    assert "No attempt finished in these 30 days." in text
    assert "Nothing submitted in these 30 days or the 30 days before has failed." in text


@pytest.mark.parametrize(("asked", "shown"), [("7", 7), ("90", 90), ("", 30), ("8", 30), ("x", 30), ("١", 30)])
def test_the_period_is_one_of_three(viewer: Client, asked: str, shown: int) -> None:
    assert viewer.get("/overview/", {"days": asked}).context["days"] == shown


@pytest.mark.parametrize(("role", "status"), [("", 403), (VIEWERS, 200), (EDITORS, 200), (ADMINS, 200)])
def test_every_role_sees_the_overview(sign_in: SignIn, role: str, status: int) -> None:
    assert sign_in(role).get("/overview/").status_code == status


def test_the_page_needs_the_same_queries_for_any_number_of_rows(viewer: Client) -> None:
    costs = []
    for number in range(3):
        ended(f"good-{number}", None, MISSING), ended(f"bad-{number}", BROKEN, field=f"Field {number}")
        with CaptureQueriesContext(connection) as captured:
            viewer.get("/overview/")
        costs.append(len(captured))
    assert costs == [20, 20, 20]
