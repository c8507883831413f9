"""The workers' signs of life in the database: each worker writes its own, the queue page reads them, the reconciler deletes old ones.

The queue store also lists workers, but forgets them when it loses its data.
"""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress
from datetime import timedelta
from typing import Any

import psutil
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, QuerySet

from builds.models import SILENT_AFTER, Worker, clock

# The queue page shows a silent worker for this long, so that an operator can find out what happened to it.
FORGOTTEN_AFTER = timedelta(minutes=10)


# Chosen before a worker forks. Two machines, or two containers, may have the same name and the same process ids.
_SUFFIX = secrets.token_hex(2)


def name_of(pid: int) -> str:
    """The name of this machine's worker with this process id. Its work-horses call this, too."""
    return f"{settings.WORKER_NAME}:{pid}-{_SUFFIX}"


def hosts_besides_this() -> list[str]:
    """The names of the other machines whose workers are alive."""
    others = Worker.objects.filter(seen_at__gte=clock.now() - SILENT_AFTER).exclude(host=socket.gethostname())
    return list(others.order_by("host").values_list("host", flat=True).distinct())


@transaction.atomic
def report_alive(worker: Worker) -> None:
    """Write the worker's row: that it is alive now, and the memory and processor time of its process tree."""
    worker.seen_at = clock.now()
    worker.memory_bytes, seconds = measure_tree(worker.pid)
    # A process that ends while the tree is measured is in neither sum. Prometheus takes a figure that went back for a new start.
    worker.processor_seconds = max(worker.processor_seconds, seconds)
    worker.save()


def report_end(worker: Worker) -> None:
    """Delete the worker's row. A later worker with the same name and process id keeps its own."""
    Worker.objects.filter(pk=worker.pk, pid=worker.pid, started_at=worker.started_at).delete()


def taking_builds() -> QuerySet[Worker]:
    """The workers that are alive and have not been asked to stop."""
    return Worker.objects.filter(seen_at__gte=clock.now() - SILENT_AFTER, ending=False)


def isolation() -> list[dict[str, Any]]:
    """How builds are sandboxed: one entry for each combination of sandbox and control groups, with its number of workers.

    Workers of releases that did not report their sandbox are not counted.
    """
    modes = taking_builds().exclude(sandbox="").order_by("sandbox", "cgroups").values("sandbox", "cgroups")
    return [dict(row) for row in modes.annotate(workers=Count("pk"))]


def forget_silent() -> None:
    """Delete the rows of workers that have been silent for a long time."""
    silent = Worker.objects.filter(seen_at__lt=clock.now() - FORGOTTEN_AFTER)
    if silent.exists():  # mostly not: on SQLite, to delete nothing would also wait until nobody else writes
        silent.delete()


def shorten_lock_wait(seconds: int = 1) -> None:
    """Wait at most ``seconds`` for a locked database: a worker must not hang, and it tries again soon. Until the connection is closed."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"PRAGMA busy_timeout = {seconds * 1000}")
        elif connection.vendor == "postgresql":
            cursor.execute(f"SET lock_timeout = '{seconds}s'; SET statement_timeout = '5s'")


def measure_tree(pid: int) -> tuple[int, float]:
    """The resident memory in bytes, and the processor time in seconds, of a process and its descendants. 0 if it has ended.

    Shared pages count once per process. The time includes children that have ended and were waited for.
    """
    memory, seconds = 0, 0.0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.Error), process.oneshot():  # it may have ended since
                times = process.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
                memory += int(process.memory_info().rss)
    except psutil.Error:
        return 0, 0.0
    return memory, seconds
