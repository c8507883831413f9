"""Writes to the queue store: tells RQ which builds can start. Everything there may be lost; the reconciler puts it back."""

from __future__ import annotations

import logging
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import django_rq
from django.conf import settings
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.exceptions import NoSuchJobError

from builds.queue.connections import connect
from builds.queue.jobs import TASK, BuildJob

logger = logging.getLogger(__name__)

MAX_WAITING_BUILDS = 100
# Runs in the store in one piece, so that no other worker takes either job meanwhile.
EXCHANGE = """
if redis.call('EXISTS', KEYS[3]) == 0 or redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then
    return 0
end
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('LREM', KEYS[2], 1, ARGV[2])
if ARGV[3] == '1' then
    redis.call('LPUSH', KEYS[1], ARGV[2])
else
    redis.call('DEL', KEYS[4])
end
return 1
"""
# In one piece too: the job may be enqueued again at any moment, and an id in the queue without its job starts nothing.
DROP = """
redis.call('LREM', KEYS[1], 1, ARGV[1])
for _, list in ipairs({KEYS[1], KEYS[2]}) do
    for _, id in ipairs(redis.call('LRANGE', list, 0, -1)) do
        if id == ARGV[1] then
            return
        end
    end
end
redis.call('DEL', KEYS[3])
"""


@lru_cache(maxsize=1)
def fail_fast_connection() -> Redis:
    """A connection for web requests, which must not wait: it gives up after one second and does not retry."""
    return connect(
        settings.REDIS_URL,
        socket_connect_timeout=1,
        socket_timeout=1,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )


@lru_cache(maxsize=1)
def build_queue() -> Queue:
    """The queue of builds. It enqueues at once: callers wait for the commit, and hand over to a thread (:func:`enqueue_soon`)."""
    return django_rq.get_queue(settings.QUEUE_NAME, connection=fail_fast_connection(), commit_mode="auto")


@lru_cache(maxsize=1)
def _enqueuer() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="enqueue")


# No thread survives a fork, so a work-horse makes its own.
os.register_at_fork(after_in_child=_enqueuer.cache_clear)

_waiting: deque[str] = deque()
os.register_at_fork(after_in_child=_waiting.clear)


def enqueue_soon(build_id: str) -> None:
    """Enqueue a build in a thread, so that a queue store that hangs does not delay the response to a request.

    A build can be lost on the way: the process ends, or too many builds wait here. The reconciler then enqueues it.
    """
    if len(_waiting) < MAX_WAITING_BUILDS:
        _waiting.append(build_id)
        _enqueuer().submit(_enqueue_waiting)


def _enqueue_waiting() -> None:
    """Enqueue all builds that wait, together: for many that takes half as long for each. The calls for the others find nothing."""
    builds = list(_waiting)
    if not builds:
        return
    try:
        _enqueue(builds)
    finally:
        for _build in builds:
            _waiting.popleft()


def finish_enqueueing() -> None:
    """Wait until the thread has enqueued everything. For a process that ends without waiting for its threads."""
    if _enqueuer.cache_info().currsize:
        _enqueuer().shutdown()
        _enqueuer.cache_clear()


def enqueue_missing_soon(build_ids: list[str]) -> None:
    """Call :func:`enqueue_missing` in a thread."""
    _enqueuer().submit(enqueue_missing, build_ids)


def enqueue_missing(build_ids: list[str]) -> None:
    """Enqueue, in the given order, the builds that the queue store does not have."""
    try:
        known = set(build_queue().get_job_ids())
    except RedisError as error:
        logger.warning("the waiting builds are not in the queue store yet (%s); the reconciler will put them there", error)
        return
    for build_id in build_ids:
        if build_id not in known and not enqueue(build_id):
            return


def enqueue(build_id: str) -> bool:
    """Put a build into the queue store, with its id as the job's id. Returns False if the queue store is not available.

    Enqueueing a build twice is harmless: it can be claimed only once.
    """
    return _enqueue([build_id])


def _enqueue(build_ids: list[str]) -> bool:
    jobs = [Queue.prepare_data(TASK, (build_id,), job_id=build_id, result_ttl=0, failure_ttl=3600) for build_id in build_ids]
    try:
        build_queue().enqueue_many(jobs)
    except RedisError as error:
        for build_id in build_ids:
            logger.warning(
                "a build is not in the queue store yet (%s); the reconciler will put it there", error, extra={"build": build_id}
            )
        return False
    return True


def take_instead(build_id: str, popped: str, *, keep: bool) -> bool:
    """Exchange a job that this worker has taken from the queue, ``popped``, for another that is in the queue.

    Returns False, and changes nothing, if the other is not in the queue: another worker has it, or the store has lost it. ``popped`` goes
    back to the front with ``keep``, otherwise it is forgotten.
    """
    queue = build_queue()
    keys = (queue.key, queue.intermediate_queue_key, BuildJob.key_for(build_id), BuildJob.key_for(popped))
    return bool(fail_fast_connection().eval(EXCHANGE, len(keys), *keys, build_id, popped, int(keep)))


def drop(popped: str) -> None:
    """Forget a job that this worker has taken from the queue, unless it was enqueued again since."""
    queue = build_queue()
    keys = (queue.intermediate_queue_key, queue.key, BuildJob.key_for(popped))
    fail_fast_connection().eval(DROP, len(keys), *keys, popped)


def is_being_started(build_id: str) -> bool:
    """Whether a worker has taken the build's job and may not have claimed the build yet.

    The job is then only in RQ's intermediate list, or marked as started.
    """
    queue = build_queue()
    is_on_its_way = build_id.encode() in fail_fast_connection().lrange(queue.intermediate_queue_key, 0, -1)
    try:
        return bool(BuildJob.fetch(build_id, connection=fail_fast_connection()).is_started) or is_on_its_way
    except NoSuchJobError:  # an entry of the list without a job starts nothing
        return False


def forget(job_id: str) -> None:
    """Remove a job, and everything that RQ keeps about it, from the queue store."""
    try:
        BuildJob.fetch(job_id, connection=fail_fast_connection()).delete()
    except NoSuchJobError:
        build_queue().remove(job_id)
