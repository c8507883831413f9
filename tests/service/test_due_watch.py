"""Due times under a wall clock that steps. The clocks are the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from redis import Redis

from builds import lifecycle
from builds.models import Build, OutboxHold, State, StatusUpdate, Submission, clock
from builds.queue import store as queue
from builds.service import outbox, reconciler
from builds.service.due_watch import DueWatch
from tests.lifecycle.helpers import CAUSE
from tests.service.test_reconciler import one_round
from tests.support.rows import claim, submit

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


class Clocks:
    """The monotonic clock and the wall clock of all code that is tested."""

    def __init__(self) -> None:
        self.monotonic = 1000.0
        self._began, self._stepped = timezone.now(), timedelta()

    def __call__(self) -> float:
        return self.monotonic

    def wall(self) -> datetime:
        return self._began + timedelta(seconds=self.monotonic - 1000) + self._stepped

    def step(self, by: timedelta) -> None:
        self._stepped += by


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clocks]:
    clocks = Clocks()
    monkeypatch.setattr(timezone, "now", clocks.wall)
    monkeypatch.setattr(clock, "now", clocks.wall)
    yield clocks


def until_due(watch: DueWatch, clocks: Clocks, rows: Any, *, at_most: float) -> float:
    """How many seconds pass until one of the rows is due, looked at every two seconds, or less often if it is long."""
    began, period = clocks.monotonic, max(reconciler.PERIOD_SECONDS, at_most // 150)
    while not rows().exists():
        assert clocks.monotonic - began < at_most, "the clock holds it"
        clocks.monotonic += period
        watch.release_overdue()
    return clocks.monotonic - began


def delayed(clocks: Clocks, seconds: int) -> Submission:
    """A submission whose retry may start in ``seconds``."""
    submission = submit()
    lifecycle.fail(claim(submission), CAUSE, retry_at=clocks.wall() + timedelta(seconds=seconds))
    Build.objects.update(created_at=clocks.wall())  # the field's default has the true clock
    return submission


@pytest.mark.slow
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("step", [-24 * HOUR, -HOUR, timedelta(minutes=-1), timedelta(seconds=-20), timedelta()])
@pytest.mark.parametrize("delay", [30, 1800])
def test_a_step_back_does_not_hold_a_delayed_build(
    store: Redis, clocks: Clocks, delay: int, step: timedelta, restarted: bool
) -> None:
    watch = DueWatch(clocks)
    submission = delayed(clocks, delay)
    watch.release_overdue()
    clocks.step(step)
    if restarted:
        watch = DueWatch(clocks)
    waited = until_due(watch, clocks, Build.objects.waiting, at_most=delay + 5)
    assert waited >= delay - 1, "nor does it start early"
    store.flushall()
    reconciler.enqueue_forgotten()
    newest = submission.newest_build()
    assert queue.build_queue().get_job_ids() == [str(newest.pk)], "a row from the future is not one that has just been made"
    assert lifecycle.claim(str(newest.pk), worker="w") is not None


def test_a_step_forward_starts_a_delayed_build_early_and_loses_nothing(clocks: Clocks) -> None:
    submission, watch = delayed(clocks, 1800), DueWatch(clocks)
    watch.release_overdue()
    clocks.step(HOUR)
    watch.release_overdue()
    assert Build.objects.waiting().get() == submission.newest_build()


def test_a_wait_that_is_set_anew_counts_from_then(clocks: Clocks) -> None:
    submission, watch = delayed(clocks, 30), DueWatch(clocks)
    watch.release_overdue()
    clocks.monotonic += 29
    later = clocks.wall() + timedelta(seconds=60)
    Build.objects.filter(pk=submission.newest_build().pk).update(not_before=later, created_at=clocks.wall())
    clocks.step(-HOUR)
    assert until_due(watch, clocks, Build.objects.waiting, at_most=65) >= 59


def test_a_build_whose_time_was_changed_is_not_released(clocks: Clocks) -> None:
    build = delayed(clocks, 30).newest_build()
    Build.objects.filter(pk=build.pk).update(not_before=clocks.wall() + HOUR)
    lifecycle.start_waiting(build)
    assert not Build.objects.waiting().exists()


def test_the_reconciler_releases_what_is_overdue() -> None:
    build, future = submit().newest_build(), timezone.now() + HOUR
    Build.objects.update(not_before=future, created_at=future)
    one_round()
    assert Build.objects.waiting().get() == build


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("tries", [1, 5, 20])
def test_a_step_back_does_not_hold_a_status_update(clocks: Clocks, tries: int, restarted: bool) -> None:
    submit()
    pause = outbox.PAUSES.after(tries)
    StatusUpdate.objects.update(next_try_at=clocks.wall() + pause, tries=tries)
    watch = DueWatch(clocks)
    watch.release_overdue()
    clocks.step(-HOUR)
    if restarted:
        watch = DueWatch(clocks)
    limit = outbox.PAUSES.longest if restarted else pause
    waited = until_due(watch, clocks, StatusUpdate.objects.due, at_most=limit.total_seconds() + 5)
    assert waited >= pause.total_seconds() - 1


def test_a_step_back_does_not_keep_an_update_reserved_nor_send_it_twice(clocks: Clocks) -> None:
    submit()
    StatusUpdate.objects.update(next_try_at=clocks.wall())
    [update] = outbox._reserve(4)
    watch = DueWatch(clocks)
    watch.release_overdue()
    clocks.step(-HOUR)
    waited = until_due(watch, clocks, StatusUpdate.objects.due, at_most=65)
    assert waited >= 60, "its outbox may be sending it"
    assert update in StatusUpdate.objects.due()


def test_a_step_back_does_not_prolong_a_hold(clocks: Clocks) -> None:
    OutboxHold.objects.create(answer="401", next_try_at=clocks.wall() + timedelta(seconds=60))
    watch = DueWatch(clocks)
    watch.release_overdue()
    clocks.step(-HOUR)
    due = OutboxHold.objects.filter
    until_due(watch, clocks, lambda: due(next_try_at__lte=clocks.wall()), at_most=65)


def test_a_build_that_the_queue_store_forgot_is_found_after_a_step_back(store: Redis, clocks: Clocks) -> None:
    submission = submit()
    Build.objects.update(created_at=clocks.wall())
    store.flushall()
    reconciler.enqueue_forgotten()
    assert queue.build_queue().get_job_ids() == [], "it may be on its way"
    clocks.step(-HOUR)
    reconciler.enqueue_forgotten()
    assert queue.build_queue().get_job_ids() == [str(submission.newest_build().pk)]


def fail_delivery(submission: Submission) -> timedelta | None:
    """Let the newest build fail to deliver. Returns the pause before the next."""
    Build.objects.filter(state=State.QUEUED).update(not_before=None)
    build = claim(submission)
    cause = CAUSE.__class__(**{**CAUSE.__dict__, "code": "desci-server-down"})
    at = lifecycle.automatic_retry_at(build, cause)
    lifecycle.fail(build, cause, retry_at=at)
    return at - timezone.now() if at else None


@pytest.mark.parametrize("step", [HOUR, 24 * HOUR, -HOUR, -24 * HOUR])
@pytest.mark.parametrize("after", [1, 2])
def test_a_step_neither_uses_up_the_patience_for_a_delivery_nor_prolongs_it(
    clocks: Clocks, settings: Any, step: timedelta, after: int
) -> None:
    settings.DELIVERY_PATIENCE = 900
    submission, pauses = submit(), []
    while (pause := fail_delivery(submission)) is not None:
        pauses.append(pause.total_seconds())
        clocks.monotonic += pauses[-1]
        if len(pauses) == after:
            clocks.step(step)
        assert len(pauses) < 20
    assert pauses[0] == 10
    assert sum(pauses) <= 901
    assert len(pauses) >= (2 if step > timedelta() else 7), "a step forward leaves at least two retries"


def test_without_steps_the_patience_is_the_setting(clocks: Clocks, settings: Any) -> None:
    settings.DELIVERY_PATIENCE = 900
    submission, pauses = submit(), []
    while (pause := fail_delivery(submission)) is not None:
        pauses.append(pause.total_seconds())
        clocks.monotonic += pauses[-1]
    assert pauses == [10, 10, 20, 40, 80, 160, 320, 260]
