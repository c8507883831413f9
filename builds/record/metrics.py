"""The metrics that are counted while things happen, and how they are counted.

Each is counted in the transaction of the change that it counts. So the totals agree with the record, whichever processes and hosts did the
work, and none is lost when a process dies (docs/decisions/metrics.md).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import transaction
from django.db.models import Sum

from builds.errors import Fault
from builds.models import FINAL, Stage, StageName, State, Tally
from builds.record.inserts import insert

MICROSECONDS = 1_000_000
SECONDS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 10800)
BYTES = tuple(float(1 << power) for power in range(26, 35))  # 64 MiB to 16 GiB
INFINITE = "+Inf"
# Rows are added up once there are more than this. A scrape reads them all.
FOLD_ABOVE = 2000
FOLD_AT_ONCE = 10_000


@dataclass(frozen=True, eq=False)
class Metric:
    """A counter, or a histogram if it has ``buckets``.

    ``shown`` are the values of its labels that are shown from the start, with 0: Prometheus does not see the first increase of a series
    that did not exist. ``units`` is how many units, in which amounts are added up, one second or byte has. A counter with units is the sum
    of the amounts and not their number.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    shown: Sequence[tuple[str, ...]] = ((),)
    buckets: tuple[float, ...] = ()
    units: int = 0


SUBMISSIONS = Metric("jobsite_submissions_total", "Submissions accepted. A repeated request with the same jobId counts once.")
QUEUED = Metric(
    "jobsite_builds_queued_total",
    "Builds queued, by reason: submitted, submitted-again, retried by a person, or retried-automatically.",
    ("why",),
    [("submitted",), ("submitted-again",), ("retried",), ("retried-automatically",)],
)
STARTED = Metric("jobsite_builds_started_total", "Builds that a worker has started.")
ENDED = Metric(
    "jobsite_builds_ended_total",
    "Builds that have ended, by state and, if they failed, by whose fault it was and whether they are retried automatically.",
    ("state", "fault", "retried"),
    [
        (State.SUCCEEDED, "", "no"),
        (State.CANCELLED, "", "no"),
        *((State.FAILED, fault, retried) for fault in Fault for retried in ("no", "yes")),
    ],
)
WAIT = Metric(
    "jobsite_build_wait_seconds", "How long builds waited, from the moment they could start.", buckets=SECONDS, units=MICROSECONDS
)
STAGE = Metric(
    "jobsite_stage_seconds",
    "How long stages took, by stage and state.",
    ("stage", "state"),
    [(stage, state) for stage in StageName for state in Stage.State if state != Stage.State.RUNNING],
    SECONDS,
    MICROSECONDS,
)
WHOLE = Metric(
    "jobsite_build_seconds",
    "How long builds took from the moment they could start, by final state.",
    ("state",),
    [(state,) for state in FINAL],
    SECONDS,
    MICROSECONDS,
)
MEMORY = Metric("jobsite_build_peak_memory_bytes", "Peak memory of the commands of a build.", buckets=BYTES, units=1)
PROCESSOR = Metric(
    "jobsite_build_processor_seconds_total", "Processor time, user and system, of the commands of builds.", units=MICROSECONDS
)
TRIES = Metric(
    "jobsite_status_update_tries_total",
    "Tries to send a status update to desci-server, by outcome.",
    ("outcome",),
    [("ok",), ("gone",), ("unauthorized",), ("job-failed",), ("refused",), ("try-again",)],
)
LOOKUPS = Metric(
    "jobsite_cache_lookups_total",
    "What builds looked up in the caches: results of builds, archives of repositories, templates and DOIs. A hit for a result saves a "
    "build, any other hit a download.",
    ("cache", "result"),
    [(cache, result) for cache in ("build", "archive", "template", "doi") for result in ("hit", "miss")],
)
HORSES_SPAWNED = Metric("jobsite_work_horses_spawned_total", "Work-horses that workers have forked, one for each job.")
HORSES_EXITED = Metric(
    "jobsite_work_horses_exited_total",
    "Work-horses that have ended, by exit code or by the name of the signal.",
    ("exit",),
    [("0",), ("SIGKILL",)],
)
COUNTED = (
    *(SUBMISSIONS, QUEUED, STARTED, ENDED, WAIT, STAGE, WHOLE, MEMORY, PROCESSOR),
    *(TRIES, LOOKUPS, HORSES_SPAWNED, HORSES_EXITED),
)


def add(*tallies: Tally) -> None:
    """Add what was counted or observed, by one statement in the caller's transaction."""
    insert(*tallies)


def counted(metric: Metric, *values: str, times: int = 1) -> Tally:
    """Something that happened, for :func:`add`. ``values`` are those of the labels, in the metric's order."""
    return Tally(metric=metric.name, labels=",".join(values), count=times)


def observed(metric: Metric, amount: float | timedelta, *values: str) -> Tally:
    """An ``amount`` in seconds or bytes, for :func:`add`. A clock that stepped back makes no negative amount."""
    units = amount // timedelta.resolution if isinstance(amount, timedelta) else round(amount * metric.units)
    units = max(units, 0)
    return Tally(metric=metric.name, labels=",".join(values), bucket=_bucket(metric, units / metric.units), amount=units)


def count_lookups(cache: str, *, hits: int, misses: int) -> None:
    """Count look-ups in one of the caches."""
    found = [counted(LOOKUPS, cache, result, times=times) for result, times in (("hit", hits), ("miss", misses)) if times]
    if found:
        add(*found)


def _bucket(metric: Metric, amount: float) -> str:
    """The smallest bound that is at least ``amount``. Empty if the metric is not a histogram."""
    if not metric.buckets:
        return ""
    return next((str(float(bound)) for bound in metric.buckets if amount <= bound), INFINITE)


@dataclass
class Total:
    """The sum of the rows of one metric with the same labels. ``buckets`` are the counts by upper bound, not cumulative."""

    count: int = 0
    amount: int = 0
    buckets: dict[float, int] = field(default_factory=lambda: defaultdict(int))


def totals() -> dict[tuple[str, str], Total]:
    """The totals by metric and labels. One statement, so that rows that are being added up are read once."""
    found: dict[tuple[str, str], Total] = defaultdict(Total)
    rows = Tally.objects.values_list("metric", "labels", "bucket").annotate(Sum("count"), Sum("amount"))
    for metric, labels, bucket, times, amount in rows:
        total = found[metric, labels]
        total.count += int(times)
        total.amount += int(amount)
        if bucket:
            total.buckets[math.inf if bucket == INFINITE else float(bucket)] += int(times)
    return found


def fold() -> None:
    """Replace many rows by their sums. Several processes can do so at once: each takes rows that no other has taken."""
    if Tally.objects.count() > FOLD_ABOVE:
        _fold()


@transaction.atomic
def _fold() -> None:
    rows = list(Tally.objects.select_for_update(skip_locked=True).order_by("pk")[:FOLD_AT_ONCE])
    Tally.objects.bulk_create(_sums(rows))
    Tally.objects.filter(pk__in=[row.pk for row in rows]).delete()


def _sums(rows: Iterable[Tally]) -> Iterable[Tally]:
    sums: dict[tuple[str, str, str], Tally] = {}
    for row in rows:
        key = row.metric, row.labels, row.bucket
        total = sums.setdefault(key, Tally(metric=row.metric, labels=row.labels, bucket=row.bucket, count=0))
        total.count += row.count
        total.amount += row.amount
    return sums.values()
