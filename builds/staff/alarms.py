"""What is wrong with the service now: the queue page shows it, and notifications report it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count
from redis import RedisError

from builds.engine.sandbox.probe import REFUSED
from builds.engine.sandbox.sandbox import SandboxKind
from builds.errors import Fault
from builds.lib.text import visible
from builds.lib.units import counted
from builds.models import Build, FailureGroup, OutboxHold, RaisedAlarm, State, StatusUpdate, Worker, clock
from builds.queue import store
from builds.staff.attention import stuck
from builds.staff.failures import GROWS_FROM, find_recent

# Beyond this, a count says "or more". Counting a long queue for every reader every two seconds would be slow.
MAX_COUNTED = 10_000
NO_WORKER, STORE_AWAY = "no-worker", "queue-store-away"
# A refused update that is older than this raises an alarm.
OVERDUE_SECONDS = 60
# A failure that is our own fault is an alarm for this long.
OWN_FAILURE = "own-failure "
OWN_FAILURE_LASTS = timedelta(hours=1)
# A group of failures that grows. The alarm lasts as long as any manuscript fails like it, so that it does not come and go.
GROWING = "growing "
OWN_DETAIL = "The authors do not have to do anything. docs/operations.md says what to do for each cause."
SILENT_DETAIL = "Jobsite requeues their builds automatically."
SECRETS_DIFFER = (
    "Set the same INTERNAL_SERVICE_SECRET in both services. Nothing is lost; the updates are sent automatically afterwards."
)


@dataclass(frozen=True)
class Alarm:
    """A problem that staff must see. It is ``serious`` if it stops all builds or all updates. ``kind`` stays the same while it lasts."""

    kind: str
    sentence: str
    detail: str = ""
    serious: bool = True
    since: datetime | None = None
    path: str = "/queue/"
    """The page that shows more."""

    @property
    def stops_builds(self) -> bool:
        """Whether it says that no build can start."""
        return self.kind in (NO_WORKER, STORE_AWAY)

    @property
    def is_event(self) -> bool:
        """Whether it reports an event. Such an alarm is certain at once, and its end means nothing."""
        return self.kind.startswith(OWN_FAILURE)


def find() -> list[Alarm]:
    """Everything that is wrong now."""
    workers = list(Worker.objects.all())
    return [
        *find_start_alarms(workers),
        *find_delivery_alarms(),
        *_find_stuck_alarms(),
        *_find_own_failures(),
        *_find_growing_groups(),
    ]


def find_start_alarms(workers: list[Worker]) -> Iterator[Alarm]:
    """The alarms about workers and the queue store, without which no build starts. A store that hangs is asked last: it takes a second."""
    yield from _find_worker_alarms(workers)
    yield from _find_queue_store_alarms()


def accepts_builds(worker: Worker) -> bool:
    return not (worker.is_silent or worker.ending)


def _find_worker_alarms(workers: list[Worker]) -> list[Alarm]:
    alarms = []
    if not any(map(accepts_builds, workers)):
        alarms.append(Alarm(NO_WORKER, "No worker is accepting builds.", _explain_missing_workers(workers)))
    if silent := [worker for worker in workers if worker.is_silent]:
        names = ", ".join(worker.name for worker in silent)
        alarms.append(Alarm("silent-worker", f"No recent contact with {names}.", SILENT_DETAIL, serious=False))
    return [*alarms, *_find_isolation_alarms(workers)]


def _find_isolation_alarms(workers: list[Worker]) -> list[Alarm]:
    alarms = []
    here = "The line under the workers says why and what to do."
    taking = [worker for worker in workers if accepts_builds(worker)]
    if hosts := sorted({worker.host for worker in taking if worker.sandbox == REFUSED}):
        alarms.append(
            Alarm("builds-refused", f"Every build on {', '.join(hosts)} fails, because builds cannot be sandboxed there.", here)
        )
    if hosts := sorted({worker.host for worker in taking if worker.sandbox == SandboxKind.NONE}):
        sentence = f"Builds on {', '.join(hosts)} are not sandboxed: they can read and change everything that the service can."
        alarms.append(Alarm("not-sandboxed", sentence, here))
    return alarms


def _explain_missing_workers(workers: list[Worker]) -> str:
    if any(worker.ending for worker in workers):
        return "The remaining workers are stopping. Submissions are accepted and wait until an operator starts workers."
    return (
        "Submissions are accepted and wait. An operator has to start workers (manage.py serve or manage.py worker), or find out in "
        "their log why they stopped."
    )


def _find_queue_store_alarms() -> list[Alarm]:
    try:
        store.fail_fast_connection().ping()
    except RedisError:
        return [
            Alarm(
                STORE_AWAY,
                "The queue store cannot be reached.",
                "Nothing is lost; builds start once it is reachable again. An operator has to start the server at REDIS_URL, or, without "
                "that setting, manage.py serve.",
            )
        ]
    return []


def find_delivery_alarms() -> list[Alarm]:
    """Alarms about status updates that desci-server has refused for a while."""
    if hold := OutboxHold.objects.first():
        return [
            Alarm(
                "secret-refused",
                "desci-server rejects the shared secret.",
                f"{SECRETS_DIFFER} Its answer: {hold.answer}",
                since=hold.since,
            )
        ]
    refused = StatusUpdate.objects.heads().filter(tries__gt=0)
    # Ordered by time, not by id: for the latter SQLite would scan all updates ever sent.
    oldest = refused.order_by("created_at").first()
    if oldest is None or (clock.now() - oldest.created_at).total_seconds() < OVERDUE_SECONDS:
        return []
    count = refused.order_by()[:MAX_COUNTED].count()
    last = oldest.attempts.order_by("-id").first()
    submissions = "1 submission" if count == 1 else f"{count:,} submissions"
    answer = f" Its last answer: {last}." if last else ""
    sentence = f"desci-server has not accepted status updates of {submissions}."
    return [
        Alarm(
            "updates-not-accepted",
            sentence,
            f"Nothing is lost; Jobsite retries automatically.{answer}",
            serious=False,
            since=oldest.created_at,
        )
    ]


def _find_stuck_alarms() -> list[Alarm]:
    count = stuck().order_by()[:MAX_COUNTED].count()
    if not count:
        return []
    are = "attempt has" if count == 1 else "attempts have"
    return [Alarm("stuck", f"{count:,} {are} made no progress for too long.", "The list “Needs me” shows which.", serious=False)]


def _find_own_failures() -> list[Alarm]:
    """Submissions that failed in the last hour by our own fault and were not retried since, by cause."""
    since = clock.now() - OWN_FAILURE_LASTS
    own = Build.objects.filter(finished_at__gte=since, state=State.FAILED, fault=Fault.SERVICE, submission__fault=Fault.SERVICE)
    found: Iterable[tuple[str, int]] = own.order_by().values_list("cause_code").annotate(Count("submission", distinct=True))
    return [
        Alarm(
            f"{OWN_FAILURE}{code}",
            f"{counted(count, 'submission')} failed by a fault of Jobsite: {code}.",
            OWN_DETAIL,
            serious=False,
        )
        for code, count in found
    ]


def _find_growing_groups() -> list[Alarm]:
    """Failures of one cause, by a fault of Jobsite or of another service, that became many within an hour."""
    raised = set(RaisedAlarm.objects.filter(key__startswith=GROWING).values_list("key", flat=True))
    recent = [(_name_growing(group), group, lately) for group, lately in find_recent()]
    return [
        Alarm(
            kind,
            f"{counted(lately, 'manuscript')} failed the same way in the last hour: {group.code}.",
            _describe_group(group),
            serious=False,
            since=group.first_at,
            path=f"/failures/{group.pk}/",
        )
        for kind, group, lately in recent
        if lately >= GROWS_FROM or kind in raised
    ]


def _name_growing(group: FailureGroup) -> str:
    return f"{GROWING}{group.code} {group.pk[:6]}"


def _describe_group(group: FailureGroup) -> str:
    began = f"The first such failure was at {group.first_at:%Y-%m-%d %H:%M} UTC"
    upgrade = f", after the upgrade of {group.upgraded_at:%Y-%m-%d %H:%M} UTC" if group.upgraded_at else ""
    return f"“{visible(group.line)}” {began}{upgrade}."
