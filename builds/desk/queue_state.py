"""What runs, what waits and why, who takes builds, and what is amiss: the queue as its page shows it.

Read from the database, in a number of queries that does not depend on how much there is; a long queue is shown by its beginning.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Prefetch, QuerySet
from django.utils import timezone
from redis import RedisError

from builds import queue
from builds.cgroups import Version
from builds.models import Build, Stage, State
from builds.outbox_models import OutboxHold, StatusUpdate
from builds.queue_models import REFUSED, QueueChange, QueueControl, Worker
from builds.sandbox import Mode

RUNNING_SHOWN = 200
WAITING_SHOWN = 100
# Beyond this it is only said that there are more: to count a long queue for every reader, every two seconds, is dear.
COUNTED = 10_000
CHANGES_SHOWN = 10
# An update that was refused so long ago is no passing trouble any more.
OVERDUE_SECONDS = 60
SECRETS_DIFFER = "Set the same INTERNAL_SERVICE_SECRET in both services. Nothing is lost, and all goes on by itself."


@dataclass(frozen=True)
class Waiting:
    """A queued build: its place among those that may start, and why it does not run yet."""

    build: Build
    place: int | None
    why: str
    until: datetime | None = None


@dataclass(frozen=True)
class Running:
    build: Build
    stage: Stage | None
    worker: Worker | None

    @property
    def seconds(self) -> float:
        return (timezone.now() - self.build.started_at).total_seconds() if self.build.started_at else 0.0


@dataclass(frozen=True)
class WorkerNow:
    worker: Worker
    build: Build | None


@dataclass(frozen=True)
class Alarm:
    """Something that staff must see. ``serious`` is what stops the work."""

    sentence: str
    detail: str = ""
    serious: bool = True
    since: datetime | None = None


@dataclass(frozen=True)
class Isolation:
    """How some workers shut their builds in. ``notes`` say why not better, and what to do, a sentence or more a line."""

    sandbox: str
    limits: str
    notes: list[str]
    workers: list[Worker]


@dataclass(frozen=True)
class QueueNow:
    control: QueueControl
    running: list[Running]
    waiting: list[Waiting]
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
        return self.waiting_count >= COUNTED

    @property
    def is_drained(self) -> bool:
        return self.control.draining and not self.running

    @property
    def takers(self) -> int:
        """How many workers take builds, busy or not."""
        return sum(1 for now in self.workers if _takes_builds(now.worker))


def read() -> QueueNow:
    control = QueueControl.now()
    builds = _running_builds()
    workers = list(Worker.objects.all())
    waiting = list(_waiting_builds()[: WAITING_SHOWN + 1])
    beyond = _waiting_builds()[WAITING_SHOWN:COUNTED].count() if len(waiting) > WAITING_SHOWN else 0
    busy = {build.worker for build in builds}
    free = sum(1 for worker in workers if _takes_builds(worker) and worker.name not in busy)
    return QueueNow(
        control=control,
        running=_with_workers(builds, workers),
        waiting=_with_reasons(waiting[:WAITING_SHOWN], _hindrance(control, workers), free),
        more_waiting=beyond,
        workers=_with_builds(workers, builds),
        isolation=_isolation(workers),
        alarms=[*_worker_alarms(workers), *_queue_store_alarms(), *delivery_alarms()],
        changes=list(QueueChange.objects.all()[:CHANGES_SHOWN]),
    )


def _running_builds() -> list[Build]:
    stages = Prefetch("stages", Stage.objects.filter(state=Stage.State.RUNNING), to_attr="stages_now")
    running = Build.objects.filter(state=State.RUNNING).order_by("started_at")
    return list(running.select_related("submission").prefetch_related(stages)[:RUNNING_SHOWN])


def _waiting_builds() -> QuerySet[Build]:
    """Queued builds, oldest first."""
    return Build.objects.filter(state=State.QUEUED).select_related("submission").order_by("created_at")


def _takes_builds(worker: Worker) -> bool:
    return not (worker.is_silent or worker.ending)


def _with_workers(builds: list[Build], workers: list[Worker]) -> list[Running]:
    named = {worker.name: worker for worker in workers}
    return [Running(build, next(iter(build.stages_now), None), named.get(build.worker)) for build in builds]  # type: ignore[attr-defined]  # Prefetch


def _with_builds(workers: list[Worker], builds: list[Build]) -> list[WorkerNow]:
    run_by = {build.worker: build for build in builds}
    return [WorkerNow(worker, run_by.get(worker.name)) for worker in workers]


# --- why a build waits


def _hindrance(control: QueueControl, workers: list[Worker]) -> str:
    """What keeps every build from starting; empty where nothing does."""
    if control.draining:
        return "The queue is being drained."
    if control.is_paused:
        return "The queue is paused."
    if not any(map(_takes_builds, workers)):
        return "No worker is taking jobs."
    return ""


def _with_reasons(builds: list[Build], hindrance: str, free: int) -> list[Waiting]:
    now, place, waiting = timezone.now(), 0, []
    for build in builds:
        if build.not_before and build.not_before > now:
            waiting.append(Waiting(build, None, "Waits for its next try", build.not_before))
        else:
            place += 1
            waiting.append(Waiting(build, place, hindrance or _why(place, free)))
    return waiting


def _why(place: int, free: int) -> str:
    if place <= free:
        return "Starts in a moment."
    before = place - 1
    if before == 0:
        return "Next, as soon as a worker is free."
    return f"{before} {'builds are' if before > 1 else 'build is'} before it."


# --- how builds are shut in

SANDBOXES: dict[str, str] = {
    Mode.BUBBLEWRAP: "shut in by bubblewrap",
    Mode.LANDLOCK: "shut in by Landlock alone",
    Mode.NONE: "NOT shut in: BUILD_SANDBOX allows builds to run unsandboxed",
    REFUSED: "not run at all, because none can be shut in",
}
LIMITS: dict[str, str] = {
    Version.V2: "their memory, processes and share of the processors are limited by control groups (version 2)",
    Version.V1: "their memory, processes and share of the processors are limited by control groups (version 1)",
    Version.NONE: "their memory and processes are counted five times a second, without control groups",
}


def _isolation(workers: list[Worker]) -> list[Isolation]:
    """By what the workers say that are alive; those of an earlier release say nothing."""
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


# --- alarms


def _worker_alarms(workers: list[Worker]) -> list[Alarm]:
    alarms = []
    if not any(map(_takes_builds, workers)):
        alarms.append(Alarm("No worker is taking jobs.", _without_workers(workers)))
    if silent := [worker for worker in workers if worker.is_silent]:
        names = ", ".join(worker.name for worker in silent)
        alarms.append(Alarm(f"No sign of life from {names}.", "What it ran is queued again by itself.", serious=False))
    return [*alarms, *_isolation_alarms(workers)]


def _isolation_alarms(workers: list[Worker]) -> list[Alarm]:
    alarms = []
    here = "The line under the workers says why, and what to do."
    taking = [worker for worker in workers if _takes_builds(worker)]
    if hosts := sorted({worker.host for worker in taking if worker.sandbox == REFUSED}):
        alarms.append(Alarm(f"Every build on {', '.join(hosts)} fails, because none can be shut in there.", here))
    if hosts := sorted({worker.host for worker in taking if worker.sandbox == Mode.NONE}):
        alarms.append(
            Alarm(f"Builds on {', '.join(hosts)} run unsandboxed: they can read and change what the service can.", here)
        )
    return alarms


def _without_workers(workers: list[Worker]) -> str:
    if any(worker.ending for worker in workers):
        return "Those that run are ending. Submissions are accepted and wait until an operator starts workers."
    return "Submissions are accepted and wait. An operator has to start workers, or to look at why they ended."


def _queue_store_alarms() -> list[Alarm]:
    try:
        queue.hurried_connection().ping()
    except RedisError:
        return [Alarm("The queue store can't be reached.", "Nothing is lost; builds start when it is back.")]
    return []


def delivery_alarms() -> list[Alarm]:
    """What desci-server has not been told, though it was tried for a while."""
    if hold := OutboxHold.objects.first():
        return [Alarm("desci-server refuses our secret.", f"{SECRETS_DIFFER} It answered: {hold.answer}", since=hold.since)]
    refused = StatusUpdate.objects.heads().filter(tries__gt=0)
    # Not in the order of their numbers, for which SQLite would go through all that was ever sent.
    oldest = refused.order_by("created_at").first()
    if oldest is None or (timezone.now() - oldest.created_at).total_seconds() < OVERDUE_SECONDS:
        return []
    count = refused.order_by()[:COUNTED].count()
    last = oldest.attempts.order_by("-id").first()
    submissions = "1 submission" if count == 1 else f"{count:,} submissions"
    answer = f" Its last answer: {last}." if last else ""
    sentence = f"desci-server has not been told of {submissions}."
    return [Alarm(sentence, f"Nothing is lost; it is tried again by itself.{answer}", serious=False, since=oldest.created_at)]
