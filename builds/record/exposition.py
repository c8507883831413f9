"""What a scrape of ``/metrics`` shows: the totals that were counted, and the current state of queue, outbox, workers and disk.

All of it is read from the database, so every process of every host shows the same. The number of queries and of rows read does not depend
on how many submissions there are. What waits is counted in partial indexes, without reading its rows.
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Min, QuerySet
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from builds.models import Build, OutboxHold, QueueControl, State, StatusUpdate, Worker, clock
from builds.record import metrics
from builds.record.metrics import Total

INFINITY_NAME = "+Inf"


class RecordCollector:
    """Reads everything from the database at each scrape."""

    def describe(self) -> Iterable[Metric]:
        """Return no names: they only serve to find two collectors with the same name, and there is only one collector."""
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from _counted()
        yield from _queue()
        yield from _outbox()
        yield from _workers(list(Worker.objects.all()))
        yield from _disk()


REGISTRY = CollectorRegistry()
REGISTRY.register(RecordCollector())


def _counted() -> Iterator[Metric]:
    found = metrics.totals()
    for metric in metrics.COUNTED:
        labels = {",".join(values) for values in metric.shown} | {labels for name, labels in found if name == metric.name}
        totals = [(labels.split(",") if metric.labels else [], found[metric.name, labels]) for labels in sorted(labels)]
        yield _histogram(metric, totals) if metric.buckets else _counter(metric, totals)


def _counter(metric: metrics.Metric, totals: list[tuple[list[str], Total]]) -> Metric:
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, total in totals:
        family.add_metric(labels, total.amount / metric.units if metric.units else total.count)
    return family


def _histogram(metric: metrics.Metric, totals: list[tuple[list[str], Total]]) -> Metric:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, total in totals:
        family.add_metric(labels, list(_cumulative(metric, total)), total.amount / metric.units)
    return family


def _cumulative(metric: metrics.Metric, total: Total) -> Iterator[tuple[str, float]]:
    """For each upper bound, how many values are at most that. Bounds of an earlier release count under the next larger one."""
    for bound in (*metric.buckets, math.inf):
        count = sum(times for at, times in total.buckets.items() if at <= bound)
        yield (INFINITY_NAME if bound == math.inf else str(float(bound))), count


def _queue() -> Iterator[Metric]:
    now = clock.now()
    queued = Build.objects.filter(state=State.QUEUED)
    at_once, waited = _count(queued.filter(not_before=None), "created_at")
    due, waited_since_due = _count(queued.filter(not_before__lte=now), "not_before")
    builds = GaugeMetricFamily(
        "jobsite_queue_builds",
        "Unfinished builds: waiting for a worker, delayed until their retry, or running.",
        labels=["state"],
    )
    builds.add_metric(["waiting"], at_once + due)
    builds.add_metric(["delayed"], queued.filter(not_before__gt=now).count())
    builds.add_metric(["running"], Build.objects.filter(state=State.RUNNING).count())
    yield builds
    oldest = max(waited, waited_since_due)
    yield _gauge("jobsite_queue_oldest_seconds", "How long the oldest waiting build has waited.", oldest)
    yield _gauge("jobsite_queue_paused", "1 while the queue is paused or drained.", QueueControl.now().is_paused)


def _outbox() -> Iterator[Metric]:
    # No pending update is settled. The words are those of the index status_update_oldest_pending, so that it is used.
    pending, oldest = _count(StatusUpdate.objects.pending().filter(settled_at=None), "created_at")
    yield _gauge("jobsite_outbox_updates", "Status updates that desci-server has not received yet.", pending)
    yield _gauge("jobsite_outbox_oldest_seconds", "How long the oldest of them has waited.", oldest)
    yield _gauge("jobsite_outbox_held", "1 while desci-server rejects the shared secret.", OutboxHold.objects.exists())


def _workers(workers: list[Worker]) -> Iterator[Metric]:
    states = Counter("silent" if worker.is_silent else "ending" if worker.ending else "accepting" for worker in workers)
    counts = GaugeMetricFamily(
        "jobsite_workers", "Workers: accepting builds, ending, or silent for half a minute.", labels=["state"]
    )
    for state in ("accepting", "ending", "silent"):
        counts.add_metric([state], states[state])
    yield counts
    info = GaugeMetricFamily("jobsite_worker_info", "1 for each worker.", labels=["worker", "host", "sandbox", "cgroups"])
    memory = GaugeMetricFamily(
        "jobsite_worker_memory_bytes", "Memory of a worker and all its child processes.", labels=["worker"]
    )
    processor = CounterMetricFamily(
        "jobsite_worker_processor_seconds_total",
        "Processor time, user and system, of a worker and all its child processes, ended ones included.",
        labels=["worker"],
    )
    for worker in workers:
        info.add_metric([worker.name, worker.host, worker.sandbox, worker.cgroups], 1)
        memory.add_metric([worker.name], worker.memory_bytes)
        processor.add_metric([worker.name], worker.processor_seconds)
    yield from (info, memory, processor)


def _disk() -> Iterator[Metric]:
    with suppress(OSError):
        free = shutil.disk_usage(settings.DATA_DIR).free
        yield _gauge("jobsite_disk_free_bytes", "Free space in DATA_DIR of the host that answers.", free)
    yield _gauge("jobsite_disk_reserve_bytes", "DISK_RESERVE: with less free space, nothing is accepted.", settings.DISK_RESERVE)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)


def _count(rows: QuerySet[Any], since: str) -> tuple[int, float]:
    """How many rows there are, and for how many seconds the first has waited. 0 without rows, and after the clock stepped back."""
    found = rows.aggregate(count=Count("*"), first=Min(since))
    return found["count"], max((clock.now() - (found["first"] or clock.now())) / timedelta(seconds=1), 0.0)
