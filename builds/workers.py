"""The workers' signs of life: written by each worker, read by the queue page, and swept by the reconciler.

The queue store is not asked: after it has lost its data it knows a living worker no more.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psutil
from django.db import connection, transaction
from django.db.models import Count, QuerySet
from django.utils import timezone

from builds.queue_models import SILENT_AFTER, Worker

# So long a silent worker is still shown, for those who look for it.
FORGOTTEN_AFTER = timedelta(minutes=10)


@transaction.atomic
def sign(worker: Worker) -> None:
    """Write the worker's row: it is alive now, and its whole process tree uses this much memory."""
    worker.seen_at = timezone.now()
    worker.memory_bytes = memory_of_tree(worker.pid)
    worker.save()


def sign_off(worker: Worker) -> None:
    """The worker has ended."""
    Worker.objects.filter(pk=worker.pk, pid=worker.pid, started_at=worker.started_at).delete()


def taking_builds() -> QuerySet[Worker]:
    """The workers that are alive and have not been told to stop."""
    return Worker.objects.filter(seen_at__gte=timezone.now() - SILENT_AFTER, ending=False)


def isolation() -> list[dict[str, Any]]:
    """How builds are shut in, and by how many workers that take any: one entry where all their machines are alike.

    A worker of an earlier release says nothing of it, and is not counted.
    """
    modes = taking_builds().exclude(sandbox="").order_by("sandbox", "cgroups").values("sandbox", "cgroups")
    return [dict(row) for row in modes.annotate(workers=Count("pk"))]


def forget_silent() -> None:
    """Remove the rows of workers that were killed long ago."""
    Worker.objects.filter(seen_at__lt=timezone.now() - FORGOTTEN_AFTER).delete()


def hurry() -> None:
    """A worker must not hang on a database that is locked: its next sign is soon."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 1000")


def memory_of_tree(pid: int) -> int:
    """What the process and all that runs under it keep in memory; pages that they share are counted once for each."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(map(_memory, tree))


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has ended meanwhile
        return 0
