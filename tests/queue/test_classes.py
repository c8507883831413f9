"""django-rq and RQ use our job, queue and worker classes everywhere, also where they name their own."""

from __future__ import annotations

from typing import Any

import django_rq
import django_rq.queues
import django_rq.utils
import django_rq.views
import pytest
import rq.registry
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker

from builds.queue import store as queue_store
from builds.queue.jobs import BuildJob, BuildQueue
from builds.service.worker import JobsiteWorker

pytestmark = pytest.mark.django_db


@pytest.fixture
def configured(store: Redis, valkey: str, settings: Any) -> None:
    settings.RQ_QUEUES = {"builds": {**settings.RQ_QUEUES["builds"], "URL": valkey}}


def check(queue: Any) -> None:
    assert (type(queue), queue.name, queue.job_class, queue.serializer) == (BuildQueue, "builds", BuildJob, JSONSerializer)


def test_every_queue_is_ours(configured: None) -> None:
    check(queue_store.build_queue())
    check(django_rq.get_queue("builds"))
    check(django_rq.get_queue("builds", job_class=Job, serializer="rq.serializers.PickleSerializer"))
    check(django_rq.queues.get_queue_by_index(0))


def test_every_worker_is_ours(configured: None) -> None:
    worker = django_rq.get_worker("builds", job_class=Job, serializer="rq.serializers.PickleSerializer")
    assert (type(worker), worker.job_class, worker.queue_class) == (JobsiteWorker, BuildJob, BuildQueue)
    assert (worker.serializer, worker.job_monitoring_interval, worker.worker_ttl) == (JSONSerializer, 1, 25)
    for queue in worker.queues:
        check(queue)


def test_the_classes_that_rq_names_itself_are_replaced() -> None:
    replaced = {rq.registry.Job, django_rq.utils.Job, django_rq.views.Job, django_rq.cron_views.Job, BaseWorker.job_class}  # type: ignore[attr-defined]  # not exported
    assert replaced == {BuildJob}
    assert rq.registry.FailedJobRegistry("builds", connection=Redis()).job_class is BuildJob


def test_a_request_waits_at_most_a_second_for_the_queue_store(store: Redis) -> None:
    limits = queue_store.build_queue().connection.connection_pool.connection_kwargs
    assert (limits["socket_timeout"], limits["socket_connect_timeout"]) == (1, 1)
    assert limits["retry"].get_retries() == 0


def test_django_rq_enqueues_after_the_commit(configured: None, store: Redis, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        django_rq.get_queue("builds").enqueue("os.getpid", job_id="some-build")
        assert not store.exists("rq:job:some-build")
    assert BuildJob.fetch("some-build", connection=store).func_name == "builds.tasks.build"
