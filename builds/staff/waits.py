"""Why a queued build does not run yet, for the queue page and the page of its submission."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from builds import lifecycle
from builds.lifecycle import turns
from builds.models import Build, QueueControl, State, Worker, clock
from builds.staff.alarms import Alarm, accepts_builds, find_start_alarms

# Beyond this place, a page says only that the build waits.
MAX_PLACES = 100


@dataclass(frozen=True)
class Waiting:
    """A queued build, its place among those that may start, and why it does not run yet."""

    build: Build
    place: int | None
    why: str
    until: datetime | None = None

    @property
    def can_go_first(self) -> bool:
        return not lifecycle.next_refusal(self.build)


def find_obstacle(control: QueueControl, alarms: Iterable[Alarm]) -> str:
    """What prevents all builds from starting; empty if nothing does."""
    if control.draining:
        return "The queue is being drained."
    if control.is_paused:
        return "The queue is paused."
    return next((alarm.sentence for alarm in alarms if alarm.stops_builds), "")


def explain(builds: list[Build], running: Counter[str], obstacle: str, free: int) -> list[Waiting]:
    """Add to each queued build why it waits. ``running`` counts the builds of each owner; ``free`` workers can start a build now."""
    now, place, waiting = clock.now(), 0, []
    services = _find_services([build for build in builds if build.not_before and build.not_before > now])
    for build in builds:
        if build.not_before and build.not_before > now:
            service = services.get((build.submission_id, build.number))
            why = f"Waiting for {service}; retries" if service else "Waiting to retry"
            waiting.append(Waiting(build, None, why, build.not_before))
        elif held := turns.explain_held(build, running):
            waiting.append(Waiting(build, None, held))
        else:
            place += 1
            waiting.append(Waiting(build, place, obstacle or _explain_place(place, free)))
    return waiting


def _find_services(builds: list[Build]) -> dict[tuple[int, int], str]:
    """The services that automatic retries wait for, by submission and number. Known from the failure of the build before."""
    submissions = [build.submission_id for build in builds if build.automatic]
    failed = Build.objects.filter(submission__in=submissions, cause_code__in=lifecycle.AWAITED)
    causes = failed.values_list("submission_id", "number", "cause_code")
    return {(submission, number + 1): lifecycle.AWAITED[code] for submission, number, code in causes}


def _explain_place(place: int, free: int) -> str:
    if place <= free:
        return "Starting now."
    before = place - 1
    if before == 0:
        return "Next, as soon as a worker is free."
    return f"{before} {'attempts are' if before > 1 else 'attempt is'} ahead of it."


def count_free(workers: list[Worker], busy: Collection[str]) -> int:
    """How many workers can start a build now."""
    return sum(1 for worker in workers if accepts_builds(worker) and worker.name not in busy)


def explain_one(build: Build) -> str:
    """As :func:`explain`, for one build: a sentence; empty if it is not queued, or waits for the time of its retry."""
    if build.state != State.QUEUED or (build.not_before and build.not_before > clock.now()):
        return ""
    running = turns.running_by_owner()
    if held := turns.explain_held(build, running):
        return held
    workers = list(Worker.objects.all())
    if obstacle := find_obstacle(QueueControl.now(), find_start_alarms(workers)):
        return f"It waits. {obstacle}"
    first = turns.line_up(MAX_PLACES, running)
    if build.pk not in first:
        return f"It waits for a worker. More than {MAX_PLACES} attempts are ahead of it."
    busy = set(Build.objects.filter(state=State.RUNNING).values_list("worker", flat=True))
    return _explain_place(first.index(build.pk) + 1, count_free(workers, busy))
