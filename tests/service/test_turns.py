"""A worker's turn: it exchanges its job for the one whose turn it is. Each queued build that may start keeps a job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from redis import Redis
from rq import Queue

from builds import lifecycle
from builds.lifecycle import pausing
from builds.lifecycle import turns as order
from builds.models import Build, State
from builds.queue import store as queue
from builds.queue.jobs import BuildJob
from builds.service import reconciler, turns
from tests.service.test_worker import Program, program
from tests.support.rows import submit
from tests.support.waiting import wait_until

__all__ = ["program"]

pytestmark = pytest.mark.django_db(transaction=True)


def post(*names: str) -> list[str]:
    """Queue a build for each name: ``ada-1`` belongs to the owner ``ada``. Returns the ids of the builds."""
    return [str(submit(name, repository=f"{name.partition('-')[0]}/paper").newest_build().pk) for name in names]


def pop(store: Redis) -> str:
    taken = Queue.dequeue_any([queue.build_queue()], timeout=None, connection=store)
    return taken[0].id if taken else ""


def in_queue() -> list[str]:
    queue.finish_enqueueing()
    return queue.build_queue().get_job_ids()


def in_hand() -> list[str]:
    """The jobs that workers have taken and not started."""
    return queue.build_queue().intermediate_queue.get_job_ids()


def run(build_id: str) -> None:
    assert lifecycle.claim(build_id, worker="worker") is not None


# --- the exchange


def test_a_job_is_exchanged_for_the_one_whose_turn_it_is(store: Redis) -> None:
    one, two, three, other = post("ada-1", "ada-2", "ada-3", "ben-1")
    run(one)
    assert (pop(store), pop(store)) == (one, two)
    store.lrem(queue.build_queue().intermediate_queue_key, 0, one)
    assert turns.take(two) == other
    assert (in_queue(), in_hand()) == ([two, three], [other])
    assert pop(store) == two, "its job is still there"


def test_the_own_job_is_kept_if_it_is_its_turn(store: Redis) -> None:
    one, two = post("ada-1", "ada-2")
    assert turns.take(pop(store)) == one
    assert (in_queue(), in_hand()) == ([two], [one])


def test_two_workers_take_two_builds(store: Redis) -> None:
    """The second chooses while the first has not claimed its build yet."""
    one, two, other = post("ada-1", "ada-2", "ben-1")
    jobs = pop(store), pop(store)
    assert [turns.take(job) for job in jobs] == [one, other]
    assert (in_queue(), sorted(in_hand())) == ([two], sorted([one, other]))


def test_a_job_whose_build_is_not_queued_any_more_is_forgotten(store: Redis) -> None:
    one, two = post("ada-1", "ada-2")
    lifecycle.request_cancel(Build.objects.get(pk=one), actor="eve", reason="x")
    assert turns.take(pop(store)) == two
    assert (in_queue(), in_hand()) == ([], [two])
    assert not store.exists(BuildJob.key_for(one))


@pytest.mark.parametrize("strange", ["f0000000-0000-4000-8000-000000000000", "strange", "\u0000"])
def test_a_strange_job_starts_the_next_build_and_is_forgotten(store: Redis, strange: str) -> None:
    [one] = post("ada-1")
    queue.build_queue().enqueue("os.getpid", job_id=strange, at_front=True) if strange.isprintable() else None
    popped = pop(store) if strange.isprintable() else strange
    assert turns.take(popped) == one
    assert (in_queue(), in_hand()) == ([], [one])


def test_builds_that_the_queue_store_has_lost_keep_no_worker_from_its_own(store: Redis) -> None:
    ids = post(*(f"ada-{number}" for number in range(turns.MAX_MISSING + 5)))
    popped = pop(store)
    store.delete(queue.build_queue().key)
    queue.enqueue(ids[-1])
    store.lrem(queue.build_queue().intermediate_queue_key, 0, popped)
    assert turns.take(pop(store)) == ids[-1]


def test_a_job_without_content_is_not_taken(store: Redis) -> None:
    """RQ would not find it when it starts the build."""
    one, two, other = post("ada-1", "ada-2", "ben-1")
    run(one)
    store.delete(BuildJob.key_for(other))
    pop(store)
    assert turns.take(pop(store)) == two


def test_a_forked_process_enqueues_with_a_thread_of_its_own(store: Redis) -> None:
    """A worker may have used the thread before it forks a work-horse, and a work-horse ends without waiting for its threads."""
    one, two = post("ada-1", "ben-1")
    store.flushall()
    queue.enqueue_missing_soon([one])
    if (child := os.fork()) == 0:
        queue.enqueue_missing_soon([two])
        queue.finish_enqueueing()
        os._exit(0)
    os.waitpid(child, 0)
    assert two in in_queue()


# --- when nothing may start


def test_a_job_that_was_enqueued_again_is_not_forgotten(store: Redis) -> None:
    [one] = post("ada-1")
    taken = pop(store)
    queue.enqueue(one)
    queue.drop(taken)
    assert (in_queue(), in_hand(), store.exists(BuildJob.key_for(one))) == ([one], [], 1)


def test_a_job_that_another_worker_holds_too_is_not_forgotten(store: Redis) -> None:
    [one] = post("ada-1")
    taken = pop(store)
    queue.enqueue(one)
    assert pop(store) == one
    queue.drop(taken)
    assert (in_queue(), in_hand(), store.exists(BuildJob.key_for(one))) == ([], [one], 1)


def test_a_job_is_forgotten_while_nothing_may_start(store: Redis) -> None:
    [one] = post("ada-1")
    pausing.pause(actor="ada", reason="x")
    assert turns.take(pop(store)) is None
    assert (in_queue(), in_hand(), store.exists(BuildJob.key_for(one))) == ([], [], 0)
    pausing.resume(actor="ada")
    assert in_queue() == [one]


def test_a_build_that_may_start_only_when_its_job_is_forgotten_gets_another(
    store: Redis, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BUILDS_PER_OWNER = 1
    one, two = post("ada-1", "ada-2")
    assert turns.take(pop(store)) == one
    run(one)
    drop = queue.drop

    def drop_late(popped: str) -> None:
        lifecycle.succeed(Build.objects.get(pk=one))
        queue.finish_enqueueing()
        drop(popped)

    monkeypatch.setattr(queue, "drop", drop_late)
    assert turns.take(pop(store)) is None
    assert in_queue() == [two]


def test_a_build_of_another_worker_that_has_ended_meanwhile_holds_nothing_back(
    store: Redis, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other worker's build ended, and relied on the job of the next one, before this worker forgot that job."""
    settings.BUILDS_PER_OWNER = 1
    one, two = post("ada-1", "ada-2")
    assert (pop(store), pop(store)) == (one, two)
    drop = queue.drop

    def drop_late(popped: str) -> None:
        run(one)
        lifecycle.succeed(Build.objects.get(pk=one))
        queue.finish_enqueueing()
        drop(popped)

    monkeypatch.setattr(queue, "drop", drop_late)
    assert turns.take(two) is None
    assert in_queue() == [two]


def test_a_build_that_another_worker_starts_this_moment_does_not_hide_the_next(
    store: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the job would be forgotten, and nothing but the reconciler would bring it back."""
    ben, ada = post("ben-1", "ada-1")
    assert (pop(store), pop(store)) == (ben, ada)
    find_owners = order._turns

    def find_late(*arguments: Any) -> list[order.Turn]:
        found = find_owners(*arguments)
        if Build.objects.filter(pk=ben, state=State.QUEUED).exists():
            run(ben)
        return found

    monkeypatch.setattr(order, "_turns", find_late)
    assert turns.take(ada) == ada


def test_the_reconciler_puts_back_only_what_may_start(store: Redis, settings: Any) -> None:
    settings.BUILDS_PER_OWNER = 1
    one, two, other = post("ada-1", "ada-2", "ben-1")
    Build.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    run(one)
    store.flushall()
    reconciler.enqueue_forgotten()
    assert in_queue() == [other]
    Build.objects.filter(pk=one).update(state=State.CANCELLED, finished_at=timezone.now(), lease_expires_at=None)
    reconciler.enqueue_forgotten()
    assert sorted(in_queue()) == sorted([two, other])


# --- real workers


@pytest.fixture
def one_per_owner(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("BUILDS_PER_OWNER", "1")
    yield


def ended() -> list[Build]:
    return list(Build.objects.filter(state=State.FAILED).select_related("submission").order_by("started_at"))


def most_at_once(builds: list[Build]) -> int:
    """How many of these builds ran at the same moment."""
    times = [(build.started_at, 1) for build in builds] + [(build.finished_at, -1) for build in builds]
    count = most = 0
    for _at, change in sorted(times, key=lambda change: (change[0], change[1])):
        count += change
        most = max(most, count)
    return most


@pytest.mark.slow
@pytest.mark.usefixtures("one_per_owner")
def test_two_workers_build_everything_once_and_keep_the_limit(program: Program, settings: Any) -> None:
    settings.BUILDS_PER_OWNER = 1
    pausing.pause(actor="ada", reason="Until both workers are there.")
    post(*(f"ada-{number}" for number in range(10)), *(f"ben-{number}" for number in range(3)))
    program(), program()
    pausing.resume(actor="ada")
    wait_until(lambda: len(ended()) == 13)
    builds = ended()
    assert {build.events.filter(kind="started").count() for build in builds} == {1}
    assert len({build.worker for build in builds}) == 2
    for owner in ("ada", "ben"):
        assert most_at_once([build for build in builds if build.owner == owner]) == 1
    assert all(build.cause_code == "exports-not-declared" for build in builds)


@pytest.mark.slow
def test_workers_start_a_late_owner_after_one_build_each_at_most(program: Program) -> None:
    pausing.pause(actor="ada", reason="Until both workers are there.")
    post(*(f"ada-{number}" for number in range(30)))
    program(), program()
    pausing.resume(actor="ada")
    wait_until(lambda: len(ended()) > 3)
    post("ben-1")
    posted = timezone.now()
    wait_until(lambda: len(ended()) == 31)
    [late] = [build for build in ended() if build.owner == "ben"]
    before = [build for build in ended() if posted < build.started_at < late.started_at]  # type: ignore[operator]  # not null
    assert len(before) <= 2
