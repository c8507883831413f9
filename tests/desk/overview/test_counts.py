"""The counts behind the overview: of both periods, the way the list counts, and from indexes."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from builds import lifecycle
from builds.desk.overview import counts, figures
from builds.desk.overview.counts import Outcomes, Times
from builds.desk.overview.period import Counted, Period
from builds.models import Build, Mode, Submission
from tests.desk.overview.attempts import BROKEN, LOST, ended
from tests.support.found import CHECKS, MISSING, NO_DOI, OWN
from tests.support.rows import claim, submit

pytestmark = pytest.mark.django_db


@pytest.fixture
def week() -> Period:
    return Period.until_today(7)


def test_a_period_is_as_long_as_the_one_before() -> None:
    period = Period(date(2026, 3, 1), date(2026, 3, 7))
    assert (period.before, period.days, period.before.days) == (Period(date(2026, 2, 22), date(2026, 2, 28)), 7, 7)
    assert period.before.end == period.start
    assert period.link(state="failed") == "/submissions/?state=failed&start=2026-03-01&end=2026-03-07"


@pytest.mark.parametrize(
    ("now", "before", "words"), [(3, 1, "2 more"), (1, 1001, "1,000 fewer"), (2, 2, "unchanged"), (0, 0, "unchanged")]
)
def test_a_difference_is_said_in_words(now: int, before: int, words: str) -> None:
    assert Counted(now, before, "", "").change == words


def test_each_day_has_its_submissions_by_state(week: Period) -> None:
    ended("job-1", None, MISSING), ended("job-2"), ended("job-3", BROKEN), ended("job-4", days_ago=2), ended("job-5", days_ago=7)
    lifecycle.request_cancel(submit("job-6").newest_build(), actor="ed", reason="x")
    submit("job-7"), claim(submit("job-8"))
    days, before = counts.by_day(week)
    assert [day.outcomes for day in days[-3:]] == [
        Outcomes(succeeded=1),
        Outcomes(),
        Outcomes(queued=1, running=1, succeeded=2, failed=1, cancelled=1, problems=1),
    ]
    assert (days[-1].date, len(days)) == (timezone.now().date(), 7)
    assert before == Outcomes(succeeded=1)
    assert counts.add_up(day.outcomes for day in days).success_percent == 75.0
    assert (days[-1].outcomes.sound, days[-1].outcomes.unfinished, days[-1].outcomes.all) == (1, 2, 6)


def test_what_is_older_than_both_periods_is_not_counted(week: Period) -> None:
    ended("job-1", BROKEN, days_ago=14)
    ended("job-2", None, MISSING, days_ago=14)
    assert counts.by_day(week)[1] == Outcomes()
    assert (counts.by_subject(week), counts.by_cause(week), counts.by_problem(week)) == ({}, [], {})


def test_what_was_submitted_earlier_and_fails_now_is_not_counted_by_cause(week: Period) -> None:
    Build.objects.filter(pk=ended("job-1", BROKEN, days_ago=20).pk).update(finished_at=timezone.now())
    ended("job-2", LOST)
    assert [cause.code for cause in counts.by_cause(week)] == ["worker-lost"]


def test_journal_fields_are_counted_in_both_periods(week: Period) -> None:
    ended("job-1", field="Physics"), ended("job-2", BROKEN, field="Physics"), ended("job-3", field="Law", days_ago=8)
    ended("job-4", None, MISSING)
    assert counts.by_subject(week) == {
        "Physics": (Outcomes(succeeded=1, failed=1), Outcomes()),
        "Law": (Outcomes(), Outcomes(succeeded=1)),
        "": (Outcomes(succeeded=1, problems=1), Outcomes()),
    }


def test_a_cause_counts_submissions_and_not_attempts(week: Period) -> None:
    build = ended("job-1", BROKEN)
    lifecycle.fail(claim(lifecycle.retry(build.submission, Mode.LATEST, actor="ed").submission), BROKEN)
    ended("job-2", BROKEN), ended("job-3", BROKEN, days_ago=7)
    [cause] = counts.by_cause(week)
    assert (cause.code, cause.fault, cause.times, cause.still) == ("build-failed", "manuscript", Times(2, 1), 2)


def test_a_cause_knows_what_still_fails_by_it_and_what_is_on_the_desk(week: Period) -> None:
    recovered, other, away = ended("job-1", LOST), ended("job-2", LOST), ended("job-3", LOST)
    ended("job-4", LOST)
    lifecycle.succeed(claim(lifecycle.retry(recovered.submission, Mode.LATEST, actor="ed").submission))
    lifecycle.fail(claim(lifecycle.retry(other.submission, Mode.LATEST, actor="ed").submission), BROKEN)
    Submission.objects.filter(pk=away.submission_id).update(put_away=True)
    found = {cause.code: (cause.times.now, cause.still, cause.on_the_desk) for cause in counts.by_cause(week)}
    assert found == {"worker-lost": (4, 2, 1), "build-failed": (1, 1, 1)}


def test_a_cause_that_the_release_before_left_behind_is_not_counted(week: Period) -> None:
    """During an upgrade it retries a failure and does not clear the cause."""
    Submission.objects.filter(pk=ended("job-1", LOST).submission_id).update(state="succeeded", fault="")
    assert [(cause.times.now, cause.still, cause.on_the_desk) for cause in counts.by_cause(week)] == [(1, 0, 0)]


def test_problems_of_successes_are_counted_by_submission(week: Period) -> None:
    ended("job-1", None, MISSING, MISSING, NO_DOI), ended("job-2", None, MISSING, OWN, *CHECKS)
    ended("job-3", BROKEN, MISSING), ended("job-4", None, MISSING, days_ago=8)
    assert counts.by_problem(week) == {"image-missing": Times(2, 1), "doi-unknown": Times(1, 0)}


def test_attempts_are_counted_by_the_day_on_which_they_ended(week: Period) -> None:
    ended("job-1", None, MISSING), ended("job-2", BROKEN), ended("job-3", days_ago=2), ended("job-4", days_ago=7)
    submit("job-5")
    days = counts.attempts_by_day(week)
    assert [day.outcomes for day in days[-3:]] == [Outcomes(succeeded=1), Outcomes(), Outcomes(succeeded=1, failed=1)]
    assert counts.add_up(day.outcomes for day in days).all == 3


def test_no_query_reads_a_whole_table(week: Period) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("the plan of SQLite")
    ended("job-1", None, MISSING), ended("job-2", BROKEN)
    plans: dict[str, list[str]] = {}

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not sql.startswith("EXPLAIN"):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
                plans[sql] = [step[3] for step in cursor.fetchall()]
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        figures.read(7)
    steps = [step for plan in plans.values() for step in plan]
    assert len(plans) == 9
    assert not [step for step in steps if step.startswith("SCAN")]
    indexes = set(re.findall(r"^SEARCH \w+ USING (?:COVERING )?INDEX (\w+) \(", "\n".join(steps), re.MULTILINE))
    assert indexes == {
        *("submission_accepted", "submission_failed_by", "build_failed_of", "build_ended", "finding_broken"),
        *("builds_submission_created_at_987d0cde", "sqlite_autoindex_builds_build_2", "builds_stage_build_id_879360d9"),
    }
    covering = ("submission_accepted", "submission_failed_by", "build_failed_of", "finding_broken")
    assert [index for index in covering if f"USING COVERING INDEX {index} (" not in " ".join(steps)] == []


def test_a_record_of_a_day_is_found_by_id_and_by_time(week: Period) -> None:
    """Ids ascend with the time of submission, but not strictly."""
    ended("job-1", BROKEN, days_ago=6), ended("job-2", BROKEN, days_ago=13), ended("job-3", BROKEN, days_ago=30)
    Submission.objects.filter(job_id="job-2").update(created_at=week.start - timedelta(seconds=1))
    assert counts.by_cause(week)[0].times == Times(1, 1)
