"""The state of the queue as its page shows it: what runs, what waits and why, the workers, and what is wrong.

The number of queries does not depend on the number of rows. Of a long queue only the beginning is read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from django.db.models import Prefetch, QuerySet

from builds.engine.process.cgroups import Version
from builds.engine.sandbox.probe import REFUSED
from builds.engine.sandbox.sandbox import SandboxKind
from builds.lifecycle import turns
from builds.models import Build, QueueChange, QueueControl, Stage, State, Worker, clock
from builds.staff import waits
from builds.staff.alarms import (
    MAX_COUNTED,
    Alarm,
    accepts_builds,
    find_delivery_alarms,
    find_start_alarms,
)

MAX_RUNNING_SHOWN = 200
MAX_WAITING_SHOWN = 100
MAX_CHANGES_SHOWN = 10


@dataclass(frozen=True)
class Running:
    build: Build
    stage: Stage | None
    worker: Worker | None

    @property
    def seconds(self) -> float:
        return (clock.now() - self.build.started_at).total_seconds() if self.build.started_at else 0.0


@dataclass(frozen=True)
class WorkerNow:
    worker: Worker
    build: Build | None


@dataclass(frozen=True)
class Isolation:
    """How a group of workers isolates builds. ``notes`` say why it is not stronger and what to do."""

    sandbox: str
    limits: str
    notes: list[str]
    workers: list[Worker]


@dataclass(frozen=True)
class QueueNow:
    control: QueueControl
    running: list[Running]
    waiting: list[waits.Waiting]
    more_waiting: int
    workers: list[WorkerNow]
    isolation: list[Isolation]
    alarms: list[Alarm]
    changes: list[QueueChange]

    @property
    def waiting_count(self) -> int:
        return len(self.waiting) + self.more_waiting

    @property
    def is_counted_in_part(self) -> bool:
        return self.waiting_count >= MAX_COUNTED

    @property
    def is_drained(self) -> bool:
        return self.control.draining and not self.running

    @property
    def starts_nothing(self) -> bool:
        """Whether something prevents all builds from starting."""
        return any(alarm.stops_builds for alarm in self.alarms)

    @property
    def active_workers(self) -> int:
        """How many workers accept builds, busy or not."""
        return sum(1 for now in self.workers if accepts_builds(now.worker))


def read() -> QueueNow:
    control = QueueControl.now()
    builds = _read_running()
    workers = list(Worker.objects.all())
    running = turns.running_by_owner()
    waiting = _read_waiting(running)
    beyond = _queued()[MAX_WAITING_SHOWN:MAX_COUNTED].count() if len(waiting) == MAX_WAITING_SHOWN else 0
    busy = {build.worker for build in builds}
    free = waits.count_free(workers, busy)
    alarms = [*find_start_alarms(workers), *find_delivery_alarms()]
    return QueueNow(
        control=control,
        running=_add_workers(builds, workers),
        waiting=waits.explain(waiting, running, waits.find_obstacle(control, alarms), free),
        more_waiting=beyond,
        workers=_add_builds(workers, builds),
        isolation=_describe_isolation(workers),
        alarms=alarms,
        changes=list(QueueChange.objects.all()[:MAX_CHANGES_SHOWN]),
    )


def _read_running() -> list[Build]:
    stages = Prefetch("stages", Stage.objects.filter(state=Stage.State.RUNNING), to_attr="stages_now")
    running = Build.objects.filter(state=State.RUNNING).order_by("started_at")
    return list(running.select_related("submission").prefetch_related(stages)[:MAX_RUNNING_SHOWN])


def _read_waiting(running: Counter[str]) -> list[Build]:
    """The first queued builds: in the order in which they start, then those that may not start yet, oldest first."""
    first = turns.line_up(MAX_WAITING_SHOWN, running)
    builds = _queued().select_related("submission").in_bulk(first)
    others = _queued().exclude(pk__in=first).select_related("submission")[: MAX_WAITING_SHOWN - len(first)]
    return [*(builds[pk] for pk in first if pk in builds), *others]


def _queued() -> QuerySet[Build]:
    return Build.objects.filter(state=State.QUEUED).order_by("created_at")


def _add_workers(builds: list[Build], workers: list[Worker]) -> list[Running]:
    named = {worker.name: worker for worker in workers}
    return [Running(build, next(iter(build.stages_now), None), named.get(build.worker)) for build in builds]  # type: ignore[attr-defined]  # Prefetch


def _add_builds(workers: list[Worker], builds: list[Build]) -> list[WorkerNow]:
    builds_by_worker = {build.worker: build for build in builds}
    return [WorkerNow(worker, builds_by_worker.get(worker.name)) for worker in workers]


# --- how builds are isolated

SANDBOXES: dict[str, str] = {
    SandboxKind.BUBBLEWRAP: "sandboxed by bubblewrap",
    SandboxKind.LANDLOCK: "sandboxed by Landlock alone",
    SandboxKind.NONE: "NOT sandboxed, because BUILD_SANDBOX allows it",
    REFUSED: "refused, because they cannot be sandboxed",
}
LIMITS: dict[str, str] = {
    Version.V2: "control groups (version 2) limit their memory, processes and CPU share",
    Version.V1: "control groups (version 1) limit their memory, processes and CPU share",
    Version.NONE: "without control groups, Jobsite checks their memory and processes five times a second",
}


def _describe_isolation(workers: list[Worker]) -> list[Isolation]:
    """How the live workers isolate builds. Workers of an earlier release do not report it."""
    alike: dict[tuple[str, str, str], list[Worker]] = {}
    for worker in workers:
        if worker.sandbox and not worker.is_silent:
            alike.setdefault((worker.sandbox, worker.cgroups, worker.isolation_notes), []).append(worker)
    return [
        Isolation(
            SANDBOXES.get(sandbox, sandbox), LIMITS.get(groups, groups) if sandbox != REFUSED else "", notes.splitlines(), found
        )
        for (sandbox, groups, notes), found in alike.items()
    ]
