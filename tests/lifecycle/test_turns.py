"""Turns: whose build starts next, what the limit of an owner holds back, and what goes before all others."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from redis import Redis

from builds import lifecycle
from builds.errors import ArchiveHostDown, DesciServerDown, WorkerLost
from builds.lifecycle import ActionRefused, pausing, turns
from builds.lifecycle import running as starting
from builds.models import Build, EventKind, Mode, Rank, State, Submission
from builds.queue import store as queue_store
from tests.lifecycle.helpers import CAUSE
from tests.lifecycle.test_at_once import overlap
from tests.support.rows import submit

pytestmark = pytest.mark.django_db


def post(*names: str, node_uuid: str = "") -> None:
    """Queue a build for each name: ``ada-1`` belongs to the owner ``ada``."""
    for name in names:
        submit(name, repository=f"{name.partition('-')[0]}/paper", node_uuid=node_uuid)


def named(name: str) -> Build:
    return Submission.objects.get(job_id=name).newest_build()


def start() -> str:
    """What a free worker starts, by name; empty if it starts nothing."""
    chosen = lifecycle.choose()
    build = lifecycle.claim(str(chosen), worker="worker") if chosen else None
    return build.submission.job_id if build else ""


def end(name: str) -> None:
    lifecycle.succeed(named(name))


def run(count: int) -> list[str]:
    """What one worker builds, each to its end before the next."""
    names = []
    for _ in range(count):
        names.append(start())
        if names[-1]:
            end(names[-1])
    return names


# --- the order


def test_owners_take_turns() -> None:
    post("ada-1", "ada-2", "ada-3", "ben-1", "cem-1", "cem-2")
    assert run(7) == ["ada-1", "ben-1", "cem-1", "ada-2", "cem-2", "ada-3", ""]


def test_the_owner_with_the_fewest_running_builds_comes_first() -> None:
    post("ada-1", "ada-2", "ada-3", "ben-1", "ben-2")
    assert [start() for _ in range(5)] == ["ada-1", "ben-1", "ada-2", "ben-2", "ada-3"]


def test_of_owners_with_equally_many_running_builds_the_one_served_longest_ago_comes_first() -> None:
    post("ada-1", "ada-2", "ada-3", "ben-1", "ben-2")
    assert [start(), start(), start()] == ["ada-1", "ben-1", "ada-2"]
    end("ada-2")
    assert start() == "ben-2"


def test_an_owner_who_comes_late_waits_for_no_second_build() -> None:
    post(*(f"ada-{number}" for number in range(100)))
    assert [start(), start()] == ["ada-0", "ada-1"]
    post("ben-1")
    end("ada-0")
    assert start() == "ben-1"


def test_an_owner_who_comes_while_nothing_runs_waits_for_one_build_at_most() -> None:
    post("ada-1", "ada-2", "ada-3")
    run(1)
    post("ben-1")
    assert run(2) == ["ada-2", "ben-1"]


def test_names_of_owners_are_the_same_in_upper_and_lower_case() -> None:
    post("Ada-1", "ada-2", "ben-1")
    assert run(3) == ["Ada-1", "ben-1", "ada-2"]


def test_nodes_of_an_owner_take_turns() -> None:
    """A node has one waiting build at most, and goes to the end when it is submitted again."""
    post("ada-1", node_uuid="one.")
    post("ada-2", node_uuid="two.")
    assert run(1) == ["ada-1"]
    post("ada-3", node_uuid="one.")
    post("ada-4", node_uuid="three.")
    post("ada-5", node_uuid="two.")  # supersedes ada-2
    assert run(4) == ["ada-3", "ada-4", "ada-5", ""]


def test_new_owners_without_end_keep_nobody_waiting() -> None:
    post("ada-1", "ada-2", "ada-3")
    started = []
    for number in range(8):
        post(f"new{number}-1", f"new{number}-2")
        started += run(1)
    assert [name for name in started if name.startswith("ada")] == ["ada-1", "ada-2", "ada-3"]


def test_deliveries_of_an_owner_do_not_count_as_its_turn() -> None:
    post("ada-1", "ben-1", "ada-2", "ben-2")
    assert run(2) == ["ada-1", "ben-1"]
    deliver("ada-3")
    Build.objects.filter(pk=named("ada-3").pk).update(created_at=timezone.now() - timedelta(hours=1))
    assert run(3) == ["ada-3", "ada-2", "ben-2"]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_that_is_shown_is_the_order_in_which_builds_start(seed: int) -> None:
    chance = random.Random(seed)
    for number in range(30):
        post(f"{chance.choice('abcdef')}-{number}")
    ranks = [Rank.NEXT, Rank.BY_HAND, *[Rank.IN_TURN] * 12]
    for build in Build.objects.all():
        Build.objects.filter(pk=build.pk).update(rank=chance.choice(ranks))
    run(5)
    start(), start(), start()
    shown = [Build.objects.get(pk=pk).submission.job_id for pk in turns.line_up(100, turns.running_by_owner())]
    assert len(shown) == 22
    assert [start() for _ in shown] == shown


def test_the_order_that_is_shown_counts_what_goes_before() -> None:
    retried = failed("ada-1")
    post("ada-2", "ben-1")
    lifecycle.retry(retried, Mode.LATEST, actor="eve")
    shown = [Build.objects.get(pk=pk).submission.job_id for pk in turns.line_up(100, turns.running_by_owner())]
    assert shown == ["ada-1", "ben-1", "ada-2"]
    assert [start(), start(), start()] == shown


def test_nothing_starts_that_is_not_due_or_while_the_queue_is_paused() -> None:
    post("ada-1", "ada-2")
    Build.objects.filter(pk=named("ada-1").pk).update(not_before=timezone.now() + timedelta(hours=1))
    assert run(2) == ["ada-2", ""]
    post("ada-3")
    pausing.pause(actor="ada", reason="x")
    assert lifecycle.choose() is None


# --- what goes before others


def failed(name: str) -> Submission:
    post(name)
    build = lifecycle.claim(str(named(name).pk), worker="worker")
    assert build is not None
    lifecycle.fail(build, CAUSE)
    return build.submission


def deliver(name: str) -> None:
    """A queued delivery of kept exports, as desci-server or an outage causes it."""
    post(name)
    build = named(name)
    Build.objects.filter(pk=build.pk).update(mode=Mode.DELIVER, rank=turns.rank_in(Mode.DELIVER, Rank.IN_TURN))


def test_retries_by_hand_come_first_and_oldest_first() -> None:
    one, two, three = failed("ada-1"), failed("ben-1"), failed("cem-1")
    post("dan-1", "eva-1")
    lifecycle.retry(one, Mode.LATEST, actor=lifecycle.API)
    lifecycle.retry(two, Mode.LATEST, actor="eve")
    lifecycle.retry(three, Mode.CLEAN, actor="eve")
    assert run(5) == ["ben-1", "cem-1", "dan-1", "eva-1", "ada-1"]


def test_retries_by_hand_without_end_keep_nobody_waiting() -> None:
    retried = failed("ada-1")
    post("ben-1")
    lifecycle.retry(retried, Mode.LATEST, actor="eve")
    since = timezone.now() - turns.HAND_ADVANTAGE
    Build.objects.filter(pk=named("ben-1").pk).update(created_at=since + timedelta(minutes=1))
    assert lifecycle.choose() == named("ada-1").pk
    Build.objects.filter(pk=named("ben-1").pk).update(created_at=since - timedelta(minutes=1))
    assert lifecycle.choose() == named("ben-1").pk


def test_a_delivery_waits_for_no_build_that_was_queued_after_it() -> None:
    post("ada-1", "ada-2")
    deliver("ada-3")
    post("ben-1", "cem-1", "dan-1")
    assert run(6) == ["ada-1", "ada-3", "ben-1", "cem-1", "dan-1", "ada-2"]


def test_an_automatic_retry_keeps_what_a_person_asked_for() -> None:
    retried = failed("ada-1")
    build = lifecycle.retry(retried, Mode.LATEST, actor="eve")
    lifecycle.build_next(build, actor="adam")
    for error in (ArchiveHostDown, WorkerLost):
        running = lifecycle.claim(str(build.pk), worker="worker")
        assert running is not None
        lifecycle.fail(running, error().cause, retry_at=timezone.now())
        build = retried.newest_build()
        assert (build.automatic, build.rank) == (True, Rank.NEXT)


@pytest.mark.parametrize(
    ("mode", "asked", "rank"),
    [
        (Mode.LATEST, Rank.IN_TURN, Rank.IN_TURN),
        (Mode.DELIVER, Rank.IN_TURN, Rank.DELIVERY),
        (Mode.DELIVER, Rank.BY_HAND, Rank.BY_HAND),
        (Mode.SAME_COMMIT, Rank.DELIVERY, Rank.IN_TURN),  # the exports were gone
    ],
)
def test_the_rank_of_a_build(mode: Mode, asked: Rank, rank: Rank) -> None:
    assert turns.rank_in(mode, asked) == rank


def test_what_an_admin_wants_next_goes_before_all_others() -> None:
    retried = failed("ada-1")
    post("ben-1", "ben-2", "ben-3")
    lifecycle.retry(retried, Mode.LATEST, actor="eve")
    lifecycle.build_next(named("ben-3"), actor="adam", reason="The issue appears tomorrow.")
    assert run(2) == ["ben-3", "ada-1"]
    event = named("ben-3").events.get(kind=EventKind.MOVED_TO_FRONT)
    assert (event.actor, event.reason) == ("adam", "The issue appears tomorrow.")


def test_what_is_built_next_does_not_wait_for_its_time() -> None:
    submission = failed("ada-1")
    Build.objects.filter(submission=submission).update(
        state=State.QUEUED, started_at=None, finished_at=None, not_before=timezone.now() + timedelta(hours=1)
    )
    lifecycle.build_next(named("ada-1"), actor="adam")
    assert lifecycle.choose() == named("ada-1").pk


def running(name: str) -> None:
    post(name)
    start()


def at_front(name: str) -> None:
    post(name)
    lifecycle.build_next(named(name), actor="adam")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (running, "It is already running. Only a queued attempt can be built next."),
        (failed, "It has already ended (failed). Only a queued attempt can be built next."),
        (at_front, "It is already at the front of the queue."),
    ],
)
def test_only_a_queued_build_is_built_next_and_once(make: Callable[[str], Any], sentence: str) -> None:
    make("ada-1")
    events = named("ada-1").events.count()
    with pytest.raises(ActionRefused) as refused:
        lifecycle.build_next(named("ada-1"), actor="adam")
    assert (str(refused.value), named("ada-1").events.count()) == (sentence, events)


# --- the limit


@pytest.fixture
def two_per_owner(settings: Any) -> None:
    settings.BUILDS_PER_OWNER = 2


@pytest.mark.usefixtures("two_per_owner")
def test_no_more_builds_of_an_owner_run_than_it_may_have() -> None:
    post("ada-1", "Ada-2", "ada-3", "ben-1")
    assert [start() for _ in range(4)] == ["ada-1", "ben-1", "Ada-2", ""]
    assert lifecycle.claim(str(named("ada-3").pk), worker="worker") is None
    end("ben-1")
    assert start() == ""
    end("ada-1")
    assert start() == "ada-3"


@pytest.mark.usefixtures("two_per_owner")
def test_a_build_that_is_held_back_says_why_and_until_when() -> None:
    post("ada-1", "ada-2", "ada-3", "ben-1")
    assert lifecycle.why_held(named("ada-3")) == ""
    start(), start(), start()
    sentence = (
        "2 builds of ada are running, and one owner may have 2 builds running at a time. This one starts when one of them ends."
    )
    assert lifecycle.why_held(named("ada-3")) == sentence
    assert [lifecycle.why_held(named(name)) for name in ("ada-1", "ben-1")] == ["", ""]
    lifecycle.build_next(named("ada-3"), actor="adam")
    assert lifecycle.why_held(named("ada-3")) == ""


@pytest.mark.usefixtures("two_per_owner")
def test_the_limit_holds_back_no_delivery_and_nothing_that_an_admin_wants_next() -> None:
    post("ada-1", "ada-2", "ada-3", "ada-4")
    assert [start(), start()] == ["ada-1", "ada-2"]
    deliver("ada-5")
    lifecycle.build_next(named("ada-4"), actor="adam")
    assert [start(), start(), start()] == ["ada-4", "ada-5", ""]
    end("ada-5")
    end("ada-1")
    assert start() == "", "two others still run"
    end("ada-2")
    assert start() == "ada-3"


@pytest.mark.usefixtures("two_per_owner")
def test_what_an_admin_wants_next_while_it_is_claimed_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim waits for the admin's transaction, after it has read the build. The queue store has given the build away: it would not be
    offered again soon."""
    post("ada-1", "ada-2", "ada-3")
    assert [start(), start()] == ["ada-1", "ada-2"]
    monkeypatch.setattr(starting, "lock", lambda submission_id: lifecycle.build_next(named("ada-3"), actor="adam"))
    assert lifecycle.claim(str(named("ada-3").pk), worker="worker")


@pytest.mark.usefixtures("two_per_owner")
def test_a_running_delivery_does_not_count() -> None:
    deliver("ada-1")
    post("ada-2", "ada-3", "ada-4")
    assert [start() for _ in range(4)] == ["ada-1", "ada-2", "ada-3", ""]


@pytest.mark.usefixtures("two_per_owner")
def test_a_retry_by_hand_is_held_back_too_and_lets_others_start() -> None:
    retried = failed("ada-0")
    post("ada-1", "ada-2")
    start(), start()
    lifecycle.retry(retried, Mode.LATEST, actor="eve")
    post("ben-1")
    assert [start(), start()] == ["ben-1", ""]


@pytest.mark.usefixtures("two_per_owner")
def test_a_build_that_another_worker_is_starting_counts() -> None:
    post("ada-1", "ada-2", "ada-3")
    start()
    assert lifecycle.choose({named("ada-2").pk}) is None


@pytest.mark.usefixtures("two_per_owner")
def test_builds_of_an_older_release_have_no_owner_and_no_limit() -> None:
    post("ada-1", "ada-2", "ada-3")
    Build.objects.update(owner="")
    assert [start(), start(), start()] == ["ada-1", "ada-2", "ada-3"]


@pytest.mark.usefixtures("two_per_owner")
def test_a_held_build_can_be_cancelled() -> None:
    post("ada-1", "ada-2", "ada-3", "ada-4")
    start(), start()
    lifecycle.request_cancel(named("ada-3"), actor="eve", reason="Not needed.")
    assert named("ada-3").state == State.CANCELLED
    end("ada-1")
    assert [start(), start()] == ["ada-4", ""]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("must_end")
def test_two_workers_at_once_do_not_exceed_the_limit(settings: Any) -> None:
    settings.BUILDS_PER_OWNER = 1
    post("ada-1", "ada-2")
    first, second = named("ada-1").pk, named("ada-2").pk
    overlap(lambda: lifecycle.claim(str(first), worker="one"), lambda: lifecycle.claim(str(second), worker="two"))
    assert [build.pk for build in Build.objects.filter(state=State.RUNNING)] == [first]


def waiting_in_store() -> list[str]:
    queue_store.finish_enqueueing()
    names = dict(Build.objects.values_list("pk", "submission__job_id"))
    return [next(name for pk, name in names.items() if str(pk) == job_id) for job_id in queue_store.build_queue().get_job_ids()]


def gives_up(name: str) -> None:
    lifecycle.fail(named(name), DesciServerDown().cause, retry_at=timezone.now() + timedelta(hours=1))


def is_cancelled(name: str) -> None:
    lifecycle.request_cancel(named(name), actor="eve", reason="x")
    lifecycle.finish_cancel(named(name))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ends", [end, gives_up, is_cancelled])
def test_the_end_of_a_build_wakes_one_that_was_held_back(store: Redis, settings: Any, ends: Callable[[str], None]) -> None:
    settings.BUILDS_PER_OWNER = 1
    post("ada-1", "ada-2", "ada-3", "ben-1")
    assert start() == "ada-1"
    store.flushall()
    ends("ada-1")
    assert waiting_in_store() == ["ada-2"]


@pytest.mark.django_db(transaction=True)
def test_a_build_that_is_moved_to_the_front_is_in_the_queue_store_once(store: Redis) -> None:
    post("ada-1", "ada-2")
    lifecycle.build_next(named("ada-2"), actor="adam")
    assert waiting_in_store() == ["ada-1", "ada-2"]
    store.flushall()
    lifecycle.build_next(named("ada-1"), actor="adam")
    assert waiting_in_store() == ["ada-1"]
