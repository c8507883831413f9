"""The overview: correct figures, tables for every chart, and a constant number of queries."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds import lifecycle
from builds.desk.overview import chart, figures
from builds.desk.overview.figures import Day
from builds.errors import Cause, Fault
from builds.models import Build, Stage, Submission
from builds.staff.roles import ADMINS, EDITORS, VIEWERS
from tests.desk.conftest import SignIn
from tests.desk.queue.test_views import words
from tests.support import made
from tests.support.found import CHECKS, MISSING, NO_DOI, OWN, write_findings
from tests.support.rows import claim, submit

pytestmark = pytest.mark.django_db

BROKEN = Cause(Fault.MANUSCRIPT, "build-failed", "It broke.")
LOST = Cause(Fault.SERVICE, "worker-lost", "It was lost.")


def ended(job_id: str, cause: Cause | None = None, *, days_ago: int = 0) -> Build:
    submission = submit(job_id)
    build = claim(submission)
    lifecycle.leave_stage(lifecycle.enter_stage(build, "build"), Stage.State.SUCCEEDED)
    lifecycle.fail(build, cause) if cause else lifecycle.succeed(build)
    then = timezone.now() - timedelta(days=days_ago)
    Submission.objects.filter(pk=submission.pk).update(created_at=then)
    Build.objects.filter(pk=build.pk).update(created_at=then, started_at=then + timedelta(seconds=8), finished_at=then)
    Stage.objects.filter(build=build).update(started_at=then, finished_at=then + timedelta(seconds=90))
    return build


def test_each_day_has_its_figures() -> None:
    ended("job-1"), ended("job-2"), ended("job-3", BROKEN), ended("job-4", days_ago=2)
    lifecycle.request_cancel(submit("job-5").newest_build(), actor="ed", reason="x")
    found = figures.read(7)
    assert [(day.accepted, day.succeeded, day.failed, day.cancelled) for day in found.days[-3:]] == [
        (1, 1, 0, 0),
        (0, 0, 0, 0),
        (4, 2, 1, 1),
    ]
    assert found.days[-1].date == timezone.now().date() and len(found.days) == 7
    assert (found.accepted, found.succeeded, found.failed, found.cancelled, found.success_percent) == (5, 3, 1, 1, 75.0)


def test_earlier_events_are_not_counted() -> None:
    ended("job-1", BROKEN, days_ago=8)
    found = figures.read(7)
    assert (found.accepted, found.failed, found.waited, found.stages, found.causes) == (0, 0, None, [], [])


def test_waiting_is_measured_from_when_a_build_may_start() -> None:
    ended("job-1")
    late = ended("job-2")
    Build.objects.filter(pk=late.pk).update(not_before=late.created_at + timedelta(seconds=6))
    late.refresh_from_db()
    Build.objects.filter(pk=late.pk).update(not_before=late.created_at + timedelta(seconds=6))
    found = figures.read(7)
    assert found.waited is not None
    assert [(spread.name, spread.count, spread.median, spread.p95) for spread in (found.waited, *found.stages)] == [
        ("waiting for a worker", 2, 2.0, 8.0),
        ("build", 2, 90.0, 90.0),
    ]


@pytest.mark.parametrize(
    ("values", "median", "p95"),
    [([3.0], 3.0, 3.0), ([1.0, 2.0], 1.0, 2.0), (map(float, range(1, 101)), 50.0, 95.0), ([-1.0], 0.0, 0.0)],
)
def test_median_and_percentile_are_values_that_occurred(values: list[float], median: float, p95: float) -> None:
    spread = figures.measure_spread("x", values)
    assert spread is not None
    assert (spread.median, spread.p95) == (median, p95)


def test_causes_are_grouped_by_fault_and_the_most_frequent_come_first() -> None:
    ended("job-1", LOST), ended("job-2", BROKEN), ended("job-3", BROKEN)
    sentence = "Failed to build the repo files."
    assert [(causes.fault, causes.count, causes.codes) for causes in figures.read(7).causes] == [
        ("manuscript", 2, [("build-failed", sentence, 2)]),
        ("service", 1, [("worker-lost", "The worker that ran the build was lost.", 1)]),
    ]


def test_a_kind_of_finding_is_explained_by_its_text() -> None:
    assert figures.find_sentence("title-invalid") == "The title in … is not a text, so the paper has no title."
    assert figures.find_sentence("nonsense") == ""


def test_durations_of_a_large_record_are_measured_on_the_newest_builds(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    ended("job-1"), ended("job-2"), ended("job-3")
    assert "Measured on the newest attempts" not in words(viewer.get("/overview/"))
    monkeypatch.setattr(figures, "MAX_BUILDS_MEASURED", 2)
    assert "Measured on the newest attempts of the last 30 days" in words(viewer.get("/overview/"))


# --- the page


def test_everything_can_be_read_as_a_table(viewer: Client) -> None:
    ended("job-1"), ended("job-2", BROKEN)
    text = words(viewer.get("/overview/"))
    assert f"{timezone.now():%a} {timezone.now().day} {timezone.now():%b %Y} 2 1 0 1 0" in text
    assert "waiting for a worker 2 times 8.0 s 8.0 s" in text and "build 2 times 1 min 30 s 1 min 30 s" in text
    Stage.objects.filter(build__submission__job_id="job-1").update(name="collect")
    assert "collect 1 time 1 min 30 s" in words(viewer.get("/overview/"))
    assert "Manuscript 1 build-failed Failed to build the repo files. 1" in text


def test_the_charts_have_a_bar_for_each_figure(viewer: Client) -> None:
    ended("job-1"), ended("job-2", BROKEN)
    bars = re.findall(r"<title>[^<]*: (\d+ \w+)</title>", viewer.get("/overview/").content.decode())
    assert bars == ["2 accepted", "1 succeeded", "1 failed"]


def test_problems_of_successes_are_counted_by_attempt_and_code(viewer: Client) -> None:
    for name, found in {"1": (MISSING, replace(MISSING, line=4), NO_DOI), "2": (MISSING, OWN, *CHECKS)}.items():
        build = made.running(name)
        write_findings(build, *found)
        made.delivered(build)
    failed = made.running("3")
    write_findings(failed, MISSING)
    lifecycle.fail(failed, made.CAUSE)
    found_figures = figures.read(30)
    assert [(code, count) for code, _, count in found_figures.problems] == [("image-missing", 2), ("doi-unknown", 1)]
    assert (found_figures.succeeded, found_figures.with_problems) == (2, 2)
    page = viewer.get("/overview/")
    assert "2 with problems" in words(page)
    assert 'href="/submissions/?finding=image-missing"' in page.text
    assert "The DOI … could not be looked up (…), so its reference shows only the DOI.<" in page.text


def test_an_empty_record_says_so(viewer: Client) -> None:
    text = words(viewer.get("/overview/"))
    assert "No attempt finished in the last 30 days." in text and "No attempt failed in the last 30 days." in text


@pytest.mark.parametrize(("asked", "shown"), [("7", 7), ("90", 90), ("", 30), ("8", 30), ("x", 30), ("١", 30)])
def test_the_period_is_one_of_three(viewer: Client, asked: str, shown: int) -> None:
    assert viewer.get("/overview/", {"days": asked}).context["days"] == shown


@pytest.mark.parametrize(("role", "status"), [("", 403), (VIEWERS, 200), (EDITORS, 200), (ADMINS, 200)])
def test_every_role_sees_the_overview(sign_in: SignIn, role: str, status: int) -> None:
    assert sign_in(role).get("/overview/").status_code == status


def test_the_page_needs_the_same_queries_for_any_number_of_rows(viewer: Client) -> None:
    costs = []
    for number in range(3):
        ended(f"good-{number}"), ended(f"bad-{number}", BROKEN)
        with CaptureQueriesContext(connection) as captured:
            viewer.get("/overview/")
        costs.append(len(captured))
    assert costs == [14, 14, 14]


# --- the chart


@pytest.mark.parametrize(
    ("highest", "step"), [(0, 1), (4, 1), (5, 2), (9, 5), (20, 5), (21, 10), (90, 50), (4000, 1000), (4001, 2000)]
)
def test_lines_are_at_round_numbers(highest: int, step: int) -> None:
    assert chart.choose_step(highest) == step


def test_bars_are_stacked_and_fill_the_chart() -> None:
    drawn = chart.draw_stacked([Day(date(2026, 1, 31), 0, 3, 1, 0, 1)], "sound", "problems", "failed", "cancelled")
    low, middle, high = drawn.bars
    assert (low.kind, low.y + low.height, middle.y + middle.height) == ("sound", drawn.base, low.y)
    assert (middle.words, high.y + high.height) == ("31 Jan 2026: 1 succeeded, with problems", middle.y)
    assert (high.y, high.words) == (chart.TOP, "31 Jan 2026: 1 failed")
    assert [line.words for line in drawn.lines] == ["0", "1", "2", "3", "4"]


def test_days_are_labelled_backwards_from_the_newest() -> None:
    days = [Day(date(2026, 1, 1) + timedelta(days=index), 1, 0, 0, 0, 0) for index in range(30)]
    assert [label.words for label in chart.draw_stacked(days, "accepted").days] == [
        "5 Jan",
        "10 Jan",
        "15 Jan",
        "20 Jan",
        "25 Jan",
        "30 Jan",
    ]
