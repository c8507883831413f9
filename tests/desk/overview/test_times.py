"""How long things take: percentiles that occurred, the first delivery, and a limited number of attempts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from builds import lifecycle
from builds.desk.overview import times
from builds.desk.overview.period import Period
from builds.desk.overview.times import DELIVERY, WAIT
from builds.models import Build, Mode, Stage, Submission
from tests.desk.overview.attempts import BROKEN, ended
from tests.support.rows import claim

WEEK = 7


@pytest.mark.parametrize(
    ("values", "median", "p95"),
    [([3.0], 3.0, 3.0), ([1.0, 2.0], 1.0, 2.0), (map(float, range(1, 101)), 50.0, 95.0), ([-1.0], 0.0, 0.0)],
)
def test_median_and_percentile_are_values_that_occurred(values: list[float], median: float, p95: float) -> None:
    spread = times.measure_spread("x", values)
    assert spread is not None
    assert (spread.median, spread.p95) == (median, p95)


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        (90.0, [30.0], "1 min longer"),
        (30.0, [90.0], "1 min shorter"),
        (3.0, [3.01], "unchanged"),
        (3.36, [3.34], "<0.1 s longer"),
        (3.0, [], ""),
    ],
)
def test_a_difference_is_said_in_words(now: float, before: list[float], words: str) -> None:
    spread = times.measure_spread("x", [now], before)
    assert spread is not None
    assert spread.change == words


@pytest.mark.django_db
def test_waiting_is_measured_from_when_a_build_may_start() -> None:
    ended("job-1")
    late = ended("job-2")
    Build.objects.filter(pk=late.pk).update(not_before=Build.objects.get(pk=late.pk).created_at + timedelta(seconds=6))
    spreads = times.measure(Period.until_today(WEEK)).spreads
    assert [(spread.name, spread.count, spread.median, spread.p95) for spread in spreads if spread.name != DELIVERY] == [
        (WAIT, 2, 2.0, 8.0),
        ("build", 2, 90.0, 90.0),
    ]


@pytest.mark.django_db
def test_delivery_is_the_first_success_after_the_submission() -> None:
    """A retry after a failure counts from the submission on, and a delivery of the same again does not count."""
    build = ended("job-1", BROKEN)
    submission = build.submission
    for minutes in (10, 500):
        again = claim(lifecycle.retry(submission, Mode.LATEST, actor="ed").submission)
        lifecycle.succeed(again)
        submitted = Submission.objects.get(pk=submission.pk).created_at
        Build.objects.filter(pk=again.pk).update(finished_at=submitted + timedelta(minutes=minutes))
    # All of it on one day, whatever time it is.
    Submission.objects.update(created_at=Period.until_today(WEEK).start)
    for number, minutes in ((1, 1), (2, 10), (3, 500)):
        end = Period.until_today(WEEK).start + timedelta(minutes=minutes)
        Build.objects.filter(number=number).update(finished_at=end)
    delivery = times.measure(Period.until_today(WEEK)).delivery
    assert delivery is not None
    assert (delivery.count, delivery.median) == (1, 600.0)


@pytest.mark.django_db
def test_each_duration_is_beside_that_of_the_period_before() -> None:
    ended("job-1")
    Stage.objects.filter(build=ended("job-2", days_ago=8)).update(name="collect")
    Stage.objects.create(build=ended("job-3", days_ago=9), name="unpack")
    medians = {spread.name: spread.median_before for spread in times.measure(Period.until_today(WEEK)).spreads}
    assert medians == {DELIVERY: 0.0, WAIT: 8.0, "build": 90.0}
    assert times.measure(Period.until_today(7).before).spreads[1].median_before is None


@pytest.mark.django_db
def test_stages_that_were_cancelled_are_not_measured() -> None:
    Stage.objects.filter(build=ended("job-1")).update(state=Stage.State.CANCELLED)
    assert [spread.name for spread in times.measure(Period.until_today(WEEK)).spreads] == [DELIVERY, WAIT]


@pytest.mark.django_db
def test_durations_of_a_large_record_are_measured_on_the_newest_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    ended("job-1", days_ago=1), ended("job-2", days_ago=1), ended("job-3")
    Stage.objects.filter(build__submission__job_id="job-3").update(name="collect")
    assert not times.measure(Period.until_today(WEEK)).is_sample
    monkeypatch.setattr(times, "MAX_MEASURED", 1)
    found = times.measure(Period.until_today(WEEK))
    assert (found.is_sample, [spread.name for spread in found.spreads]) == (True, [DELIVERY, WAIT, "collect"])
