"""The job and queue classes for RQ. They ignore everything in the queue store that could run code."""

from __future__ import annotations

from typing import Any

import django_rq.cron_views
import django_rq.utils
import django_rq.views
import rq.registry
from django_rq.queues import DjangoRQ
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker

TASK = "builds.tasks.build"
# The fields that RQ needs to move a job through its lists. Callbacks, webhooks, results and dependencies are left out on purpose.
KEPT_FIELDS = {"data", "created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat", "origin", "status", "worker_name"}
KEPT_FIELDS |= {"timeout", "result_ttl", "failure_ttl"}


class BuildJob(Job):
    """A wake-up call for one build: its id is the build's id. Everything else that the queue store holds under it is untrusted.

    RQ would load a pickle, import and call any function by name, and post to any address. Anyone who can write to the queue store
    could then run code. Here the function is fixed, its argument is the id, and nothing is unpickled.
    """

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: Any = None) -> None:
        super().__init__(id, connection=connection, serializer=JSONSerializer)

    def restore(self, raw_data: dict[Any, Any]) -> Any:
        restored = super().restore({name: value for name, value in raw_data.items() if _text(name) in KEPT_FIELDS})
        self.enqueued_at = self.enqueued_at or self.created_at  # rqstats fails on a job without it
        return restored

    def _deserialize_data(self) -> None:
        self._func_name, self._instance, self._args, self._kwargs = TASK, None, (self.id,), {}


class BuildQueue(DjangoRQ):
    """django-rq's queue, always with our job class and JSON, whatever a caller asks for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs |= {"job_class": BuildJob, "serializer": JSONSerializer}
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]  # django-rq does not annotate it


def replace_stock_job_class() -> None:
    """Put :class:`BuildJob` in the places where RQ and django-rq use their own job class by name. Called once at startup."""
    named = [(module, "Job") for module in (rq.registry, django_rq.utils, django_rq.views, django_rq.cron_views)]
    for owner, name in [*named, (BaseWorker, "job_class")]:
        setattr(owner, name, BuildJob)


def _text(name: bytes | str) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
