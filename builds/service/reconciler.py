"""Compares the database with the queue store and with this machine every few seconds, and repairs the differences.

Any number of reconcilers may run at once: each repair is one conditional change, or is harmless if done twice.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path

from django.conf import settings
from django.db import OperationalError, transaction

from builds import lifecycle
from builds.engine.myst import doi_cache, template_cache
from builds.engine.process import tree
from builds.errors import ProcessesLeft
from builds.lifecycle import turns
from builds.models import FINAL, Build, QueueControl, State, clock
from builds.pipeline import isolation
from builds.queue import store, workers
from builds.record import failure_groups, kept_exports, metrics, search, workspaces
from builds.record.patience import DATABASE_AWAY, is_locked
from builds.record.waiting import limit_waiting
from builds.service.alarm_watch import AlarmWatch
from builds.service.due_watch import DueWatch
from builds.service.housekeeping import Housekeeping
from builds.service.loops import attempt

logger = logging.getLogger(__name__)

PERIOD_SECONDS = 2.0
# After a longer wait for a lock, a lease may look lapsed only because nobody could renew it meanwhile.
LOCK_SECONDS = 1.0
# A row younger than this may still be on its way to the queue store.
ENQUEUE_GRACE = timedelta(seconds=2)
WORKSPACE_GRACE_SECONDS = 60.0
# Processes that are not dead by then are killed again in the next round: the other repairs must not wait for them.
KILL_SECONDS = 2.0
EXPORTS_SWEEP_SECONDS = 3600.0
OLDER_RELEASE_SECONDS = 60.0
# A bucket takes some requests for each: the other repairs must not wait for long.
EXPORTS_REMOVED_AT_ONCE = 20


def run(stop: threading.Event) -> None:
    """Reconcile until ``stop`` is set. A repair that fails (no database, no queue store) is retried in the next round."""
    limit_waiting(LOCK_SECONDS)
    watch, due, exports, missing = LeaseWatch(), DueWatch(), ExportsSweep(), search.Missing()
    slow = (
        ReleaseNote().write,
        OlderRelease().complete,
        missing.index,
        exports.remove_old_exports,
        AlarmWatch().step,
        Housekeeping().step,
    )
    while not stop.is_set():
        for repair in (watch.lose_lapsed, due.release_overdue, *repairs()[1:], *slow):
            attempt(watch.noticing_outages(repair))
        stop.wait(PERIOD_SECONDS)


def repairs() -> tuple[Callable[[], None], ...]:
    """All repairs, the most important first."""
    lost = (lose_lapsed, enqueue_forgotten, forget_jobs, end_strays, remove_groups)
    kept = (remove_workspaces, sweep_caches)
    return (*lost, *kept, workers.forget_silent, metrics.fold, lifecycle.wake_due)


class LeaseWatch:
    """Watches leases being renewed, by this process's monotonic clock.

    The lease in the row is a time by the clock of a worker's machine. If a clock steps, or two machines' clocks differ, every lease may
    seem to have expired. So one is believed to have lapsed only after this process saw it not renewed for half of its time. If a clock
    stepped back, it may not seem to expire for hours, so one that is not renewed for half as long again has lapsed anyhow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[uuid.UUID, tuple[datetime | None, float]] = {}
        self._was_away = False
        # The leases as they were when the database came back. One that was not renewed since then may have lapsed because it was away.
        self._after_outage: dict[uuid.UUID, datetime | None] = {}

    def lose_lapsed(self) -> None:
        """As :func:`lose_lapsed`, for the builds whose lease was not renewed while this process watched.

        While the database is locked, none is lost.
        """
        try:
            lapsed = self._lapsed(self._clock())
        except OperationalError as error:
            if not is_locked(error):
                raise
            self._note_lock()
            return
        for build in lapsed:
            excused = self._after_outage.get(build.pk) == build.lease_expires_at
            _lose(build, was_watched=True, excused=excused)

    def noticing_outages(self, repair: Callable[[], None]) -> Callable[[], None]:
        """``repair``, which also tells this watch if the database is away or locked: no worker can renew its lease meanwhile.

        Every repair of a round is asked. The outage may be over when the next round looks at the leases.
        """

        @wraps(repair)
        def notice() -> None:
            try:
                repair()
            except DATABASE_AWAY:
                self._begin_again()
                raise

        return notice

    def _note_lock(self) -> None:
        """With many busy workers, the lock is now and then taken for the second that this process waits for it. That harms nothing."""
        level = logging.WARNING if self._was_away else logging.INFO
        logger.log(level, "no lease was checked in this round: the database was locked for %.0f s", LOCK_SECONDS)
        self._begin_again()

    def _begin_again(self) -> None:
        """Nothing that was seen until now says that a worker is gone: it could not have renewed its lease."""
        self._seen, self._was_away = {}, True

    def _lapsed(self, now: float) -> list[Build]:
        with transaction.atomic():  # on SQLite it takes the lock that a worker needs to renew its lease
            running = list(Build.objects.filter(state=State.RUNNING).select_related("submission"))
        if self._was_away:
            self._was_away, self._after_outage = False, {build.pk: build.lease_expires_at for build in running}
        before, self._seen = self._seen, {}
        for build in running:
            lease, since = before.get(build.pk, (None, now))
            self._seen[build.pk] = (build.lease_expires_at, since if lease == build.lease_expires_at else now)
        return [build for build in running if self._has_lapsed(build, now - self._seen[build.pk][1])]

    @staticmethod
    def _has_lapsed(build: Build, unchanged_seconds: float) -> bool:
        has_expired = build.lease_expires_at is not None and build.lease_expires_at < clock.now()
        return unchanged_seconds >= settings.LEASE_SECONDS * (0.5 if has_expired else 1.5)


def lose_lapsed() -> None:
    """End running builds whose worker is gone, and their processes on this machine."""
    for build in Build.objects.lost().select_related("submission"):
        _lose(build)


def _lose(build: Build, *, was_watched: bool = False, excused: bool = False) -> None:
    """End the row, then the processes: a worker that renews its lease first keeps both, and one that comes too late can write nothing.

    If this process ends between the two, :func:`end_strays` and :func:`remove_groups` end the processes. A build that is being cancelled
    is the exception: its processes end first, because nothing of a cancelled build may run. Its worker, if it lives, ends it as cancelled
    too.
    """
    try:
        if build.cancel_requested_at:
            _end_processes(build)
            lifecycle.lose(build, was_watched=was_watched, excused=excused)
        else:
            lifecycle.lose(build, was_watched=was_watched, excused=excused)
            _end_processes(build)
    except lifecycle.StaleBuild:
        return
    except ProcessesLeft as error:  # the next round tries again; the other lost builds must not wait for that
        logger.error("processes of a lost build still run: %s", error, extra={"build": str(build.pk), "worker": build.worker})


def _end_processes(build: Build) -> None:
    tree.end_tree(str(build.pk), grace_seconds=0, kill_seconds=KILL_SECONDS)
    if not isolation.groups().end(str(build.pk)):
        raise ProcessesLeft(f"Processes of build {build.pk} could not be ended.")


def enqueue_forgotten() -> None:
    """Enqueue the waiting builds that the queue store does not have: it was flushed, restarted or unreachable."""
    # While the queue is paused, workers start no build: enqueueing would only keep them busy.
    if QueueControl.now().is_paused or not Build.objects.waiting().exists():
        return
    # A row that seems to come from the future was made before the clock stepped back, so it is not young.
    now = clock.now()
    # Those that their owner's limit holds back would only be dropped again.
    waiting = turns.startable().exclude(created_at__range=(now - ENQUEUE_GRACE, now + ENQUEUE_GRACE))
    ids = [str(pk) for pk in waiting.order_by("created_at").values_list("pk", flat=True)]
    known = set(store.build_queue().get_job_ids())
    for build_id in ids:
        if build_id not in known and not store.is_being_started(build_id):
            store.enqueue(build_id)


def forget_jobs() -> None:
    """Delete the jobs whose build has ended (cancelled while queued) or is not in the database."""
    known = store.build_queue().get_job_ids()
    unfinished = {str(pk) for pk in Build.objects.unfinished().filter(pk__in=filter(_is_id, known)).values_list("pk", flat=True)}
    for job_id in set(known) - unfinished:
        store.forget(job_id)


def end_strays() -> None:
    """End the processes of builds that have ended (their worker was killed). Leaves those of another installation's builds alone."""
    for build_id in tree.strays():
        if not _has_ended(build_id):
            continue
        try:
            ended = tree.end_tree(build_id, grace_seconds=0, kill_seconds=KILL_SECONDS)
            logger.warning("ended processes that a build left behind", extra={"build": build_id, "processes": ended})
        except ProcessesLeft as error:
            logger.error("%s", error, extra={"build": build_id})


def remove_groups() -> None:
    """Remove the control groups of builds that have ended, with any process still in them."""
    groups = isolation.groups()
    for build_id in groups.strays():
        if _has_ended(build_id) and groups.end(build_id):
            logger.warning("removed a control group that a build left behind", extra={"build": build_id})


def remove_workspaces() -> None:
    """Remove the workspaces of builds that are not running."""
    for folder in _folders("workspaces"):
        age = time.time() - folder.stat().st_mtime
        if age > WORKSPACE_GRACE_SECONDS and not _runs(folder.name):
            workspaces.remove_folder(folder)


class ReleaseNote:
    """Notes once that this process's release runs here. While the database is away, it tries again in each round."""

    def __init__(self) -> None:
        self._is_written = False

    def write(self) -> None:
        if not self._is_written:
            failure_groups.note_release()
            self._is_written = True


class OlderRelease:
    """Completes what workers of an older release write while an upgrade goes on. Each minute it looks at the last day."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._next_at = clock, clock()

    def complete(self) -> None:
        if self._clock() >= self._next_at:
            lifecycle.repeat_causes(clock.now() - timedelta(days=1))
            self._next_at = self._clock() + OLDER_RELEASE_SECONDS


class ExportsSweep:
    """Removes kept exports older than EXPORTS_KEPT_DAYS. Every hour it looks for them, and each round removes a few."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._next_at = clock, clock()
        self._old: list[str] = []

    def remove_old_exports(self) -> None:
        if self._clock() >= self._next_at:
            self._next_at = self._clock() + EXPORTS_SWEEP_SECONDS
            self._old = kept_exports.find_old()
        for folder in self._old[:EXPORTS_REMOVED_AT_ONCE]:
            if not kept_exports.is_being_delivered(folder):
                kept_exports.remove(folder)
            self._old.remove(folder)


def sweep_caches() -> None:
    """Remove cached templates that have not been used for a long time, old metadata of DOIs, and kept archives."""
    template_cache.sweep(workspaces.template_cache())
    doi_cache.sweep(workspaces.doi_cache())
    if archives := workspaces.kept_archives():
        archives.sweep()


def _folders(name: str) -> list[Path]:
    parent = Path(settings.DATA_DIR) / name
    return [entry for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []


def _is_id(text: str) -> bool:
    with suppress(ValueError):
        return str(uuid.UUID(text)) == text
    return False


def _has_ended(build_id: str) -> bool:
    return _is_id(build_id) and Build.objects.filter(pk=build_id, state__in=FINAL).exists()


def _runs(build_id: str) -> bool:
    """Whether a folder belongs to a running build. A folder that is not named after a build is left alone, too."""
    return not _is_id(build_id) or Build.objects.filter(pk=build_id, state=State.RUNNING).exists()
