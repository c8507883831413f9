"""The queue store's door: RQ is told which build may start. Nothing else is kept there, and all of it may be lost."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from django.conf import settings
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

logger = logging.getLogger(__name__)

TASK = "builds.tasks.build"
# What RQ needs to keep a job in its lists. Names of callbacks, webhooks, results, dependencies and the like are not among them.
KEPT = {"data", "created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat", "origin", "status", "worker_name"}
KEPT |= {"timeout", "result_ttl", "failure_ttl"}


class BuildJob(Job):
    """A wake-up call for one build: its id is the build's. Whatever else the queue store holds under it is not believed.

    RQ would load a pickle, import any function by name, call it, and post to any address; so who can write there could run code.
    Here the function is fixed, its argument is the id, and nothing is unpickled.
    """

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: Any = None) -> None:
        super().__init__(id, connection=connection, serializer=JSONSerializer)

    def restore(self, raw_data: dict[Any, Any]) -> Any:
        return super().restore({name: value for name, value in raw_data.items() if _text(name) in KEPT})

    def _deserialize_data(self) -> None:
        self._func_name, self._instance, self._args, self._kwargs = TASK, None, (self.id,), {}


def _text(name: bytes | str) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name


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
    return queue_over(hurried_connection())


def queue_over(connection: Redis) -> Queue:
    return Queue(settings.QUEUE_NAME, connection=connection, default_timeout=-1, job_class=BuildJob, serializer=JSONSerializer)


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
        builds().enqueue(TASK, build_id, job_id=build_id, result_ttl=0, failure_ttl=3600)
    except RedisError as error:
        logger.warning("build %s is not in the queue store yet (%s); the reconciler will put it there", build_id, error)
        return False
    return True


def forget(job_id: str) -> None:
    """Take a job out of the queue store, with all that RQ keeps of it."""
    try:
        BuildJob.fetch(job_id, connection=hurried_connection()).delete()
    except NoSuchJobError:
        builds().remove(job_id)
