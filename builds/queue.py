"""The queue store's door: RQ is told which build may start. Nothing else is kept there, and all of it may be lost."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from django.conf import settings
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job

logger = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def hurried_connection() -> Redis:
    """For a request that must not wait: a second at most, and no second try."""
    return Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=1,
        socket_timeout=1,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )


@lru_cache(maxsize=1)
def builds() -> Queue:
    return Queue(settings.QUEUE_NAME, connection=hurried_connection(), default_timeout=-1)


@lru_cache(maxsize=1)
def _enqueuer() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="enqueue")


_may_wait = threading.BoundedSemaphore(100)


def enqueue_soon(build_id: str) -> None:
    """:func:`enqueue` without waiting for it: an answer to a request must not hang on a queue store that hangs.

    What is lost on the way (the process ends, too many wait) the reconciler makes up for.
    """
    if _may_wait.acquire(blocking=False):
        _enqueuer().submit(enqueue, build_id).add_done_callback(lambda done: _may_wait.release())


def enqueue_missing_soon(build_ids: list[str]) -> None:
    """:func:`enqueue_soon` for many, in their order: those of them that the queue store does not have."""
    _enqueuer().submit(_enqueue_missing, build_ids)


def _enqueue_missing(build_ids: list[str]) -> None:
    try:
        known = set(builds().get_job_ids())
    except RedisError as error:
        logger.warning("the builds that wait are not in the queue store yet (%s); the reconciler will put them there", error)
        return
    for build_id in build_ids:
        if build_id not in known and not enqueue(build_id):
            return


def enqueue(build_id: str) -> bool:
    """Tell RQ of a build, with the build's id as job id. False where the queue store is away: the reconciler tells it later.

    The same build told twice does no harm: only one claim of it succeeds.
    """
    try:
        builds().enqueue("builds.tasks.build", build_id, job_id=build_id, result_ttl=0, failure_ttl=3600)
    except RedisError as error:
        logger.warning("build %s is not in the queue store yet (%s); the reconciler will put it there", build_id, error)
        return False
    return True


def forget(job_id: str) -> None:
    """Take a job out of the queue store, with all that RQ keeps of it."""
    try:
        Job.fetch(job_id, connection=hurried_connection()).delete()
    except NoSuchJobError:
        builds().remove(job_id)
