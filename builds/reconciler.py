"""Compares the database with the queue store and with this machine every few seconds, and mends either.

Any number of reconcilers may run at once: each mend is one conditional change, or does no harm when it is done twice.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import Error, connection
from django.utils import timezone
from redis import Redis, RedisError
from rq.exceptions import NoSuchJobError

from builds import isolation, lifecycle, pipeline, process_tree, queue, search, storage, workers
from builds.errors import BuildError
from builds.models import FINAL, Build, State
from builds.queue_models import QueueControl
from builds.stages import templates

logger = logging.getLogger(__name__)

PERIOD_SECONDS = 2.0
# A row younger than this may still be on its way to the queue store.
ENQUEUE_GRACE = timedelta(seconds=2)
WORKSPACE_GRACE_SECONDS = 60.0


def run(stop: threading.Event) -> None:
    """Reconcile until ``stop`` is set. A mend that fails (no database, no queue store) is tried again in the next round."""
    while not stop.is_set():
        for mend in mends():
            _try(mend)
        stop.wait(PERIOD_SECONDS)


def mends() -> tuple[Callable[[], None], ...]:
    """All that is mended, in the order of how much it matters."""
    lost = (lose_lapsed, enqueue_forgotten, forget_jobs, end_strays, remove_groups)
    kept = (remove_workspaces, remove_old_exports, sweep_templates)
    return (*lost, *kept, workers.forget_silent, search.index_forgotten)


def _try(mend: Callable[[], None]) -> None:
    try:
        mend()
    except (RedisError, Error, OSError, BuildError) as error:
        logger.warning("%s: %s", mend.__name__, error)
        connection.close()
    except Exception:  # one mend's defect must not keep the others from their work
        logger.exception("%s failed", mend.__name__)
        connection.close()


def lose_lapsed() -> None:
    """Running builds whose worker is gone. What it has left running on this machine ends first: the row may say "cancelled" then."""
    for build in Build.objects.lost().select_related("submission"):
        try:
            process_tree.end_tree(str(build.pk), grace_seconds=0)
            if not isolation.groups().end(str(build.pk)):
                raise process_tree.ProcessesLeft(f"Processes of build {build.pk} could not be ended.")
            lifecycle.lose(build)
            logger.warning("build %s was lost with its worker %s", build.pk, build.worker)
        except lifecycle.StaleBuild:
            continue


def enqueue_forgotten() -> None:
    """Queued builds that the queue store does not know (flushed, restarted, or away when they were accepted)."""
    connection_ = queue.hurried_connection()
    # A worker that is told of a build while the queue is paused does not start it: telling again would only keep it busy.
    if QueueControl.now().is_paused or not Build.objects.waiting().exists():
        return
    waiting = Build.objects.waiting().filter(created_at__lt=timezone.now() - ENQUEUE_GRACE)
    ids = [str(pk) for pk in waiting.values_list("pk", flat=True)]
    known = set(queue.builds().get_job_ids())
    for build_id in ids:
        if build_id not in known and not _is_being_started(build_id, connection_):
            queue.enqueue(build_id)


def _is_being_started(build_id: str, connection_: Redis) -> bool:
    """Between the queue's list and the claim a job is only in RQ's intermediate list or with a work-horse."""
    is_on_its_way = build_id.encode() in connection_.lrange(queue.builds().intermediate_queue_key, 0, -1)
    try:
        return bool(queue.BuildJob.fetch(build_id, connection=connection_).is_started) or is_on_its_way
    except NoSuchJobError:  # an entry of the list whose job is gone leads nowhere
        return False


def forget_jobs() -> None:
    """Jobs in the queue store whose build has ended (cancelled while queued), or is not in the database at all."""
    known = queue.builds().get_job_ids()
    unfinished = {str(pk) for pk in Build.objects.unfinished().filter(pk__in=filter(_is_id, known)).values_list("pk", flat=True)}
    for job_id in set(known) - unfinished:
        queue.forget(job_id)


def end_strays() -> None:
    """Processes of builds that do not run any more (their worker was killed). Those of another Jobsite's builds are not ours to end."""
    for build_id in process_tree.strays():
        if _has_ended(build_id):
            ended = process_tree.end_tree(build_id, grace_seconds=0)
            logger.warning("ended %d processes that build %s had left behind", ended, build_id)


def remove_groups() -> None:
    """Control groups of builds that do not run any more, with what may still be in them."""
    groups = isolation.groups()
    for build_id in groups.strays():
        if _has_ended(build_id) and groups.end(build_id):
            logger.warning("removed a control group that build %s had left behind", build_id)


def remove_workspaces() -> None:
    """Workspaces of builds that do not run any more."""
    for folder in _folders("workspaces"):
        age = time.time() - folder.stat().st_mtime
        if age > WORKSPACE_GRACE_SECONDS and not _runs(folder.name):
            storage.remove(folder)


def remove_old_exports() -> None:
    """Kept exports past their time."""
    limit = time.time() - settings.EXPORTS_KEPT_DAYS * 24 * 3600
    for folder in _folders("exports"):
        if folder.stat().st_mtime < limit and not _runs(folder.name):
            storage.remove(folder)


def sweep_templates() -> None:
    """Kept templates that nobody uses any more."""
    templates.sweep(pipeline.template_cache())


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
    """What is not the name of a build is not ours to remove."""
    return not _is_id(build_id) or Build.objects.filter(pk=build_id, state=State.RUNNING).exists()
