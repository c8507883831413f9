"""How long it takes to choose the next build of a long queue, compared with plain FIFO: the oldest queued build that is due.

``python -m bench.turns`` makes the record in a temporary folder, or in the empty database that DATABASE_URL names. Owners also have builds
that ended, because turns ask when the last one did.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.results import Result, report
from bench.table import Table

OWNERS = (1, 100, 10_000)
ENDED = 100_000
RUNNING = 8
TIMES = 30
ADDRESS = "https://github.com/{}/paper/blob/main/myst.yml"


def fill(queued: int, owners: int) -> None:
    """ENDED builds, some that run, and ``queued`` ones, the owners in turn."""
    from django.db import connection  # noqa: PLC0415 - when Django is set up

    from builds.models import Build, Submission  # noqa: PLC0415 - when Django is set up

    Submission.objects.all().delete()
    states = ["failed"] * ENDED + ["running"] * RUNNING + ["queued"] * queued
    now = datetime.now(UTC)
    rows = [
        (number, state, f"owner-{number % owners}", now - timedelta(seconds=len(states) - number))
        for number, state in enumerate(states, 1)
    ]
    Table(Submission, "id", "job_id", "node_uuid", "url", "repository", "state", "created_at", "updated_at").insert(
        (number, f"job-{number}", f"node-{number}.", ADDRESS.format(owner), f"{owner}/paper", state, at, at)
        for number, state, owner, at in rows
    )
    Table(
        Build,
        *("id", "submission_id", "number", "state", "requested_by", "owner", "cause", "created_at"),
        *("started_at", "finished_at", "lease_expires_at"),
    ).insert(_builds(rows))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _builds(rows: list[tuple[int, str, str, datetime]]) -> Iterator[tuple[Any, ...]]:
    for number, state, owner, at in rows:
        started, ended = (at if state != "queued" else None), (at if state == "failed" else None)
        lease = at if state == "running" else None
        yield (uuid.UUID(int=number), number, 1, state, "desci-server", owner, "It broke.", at, started, ended, lease)


def measure(call: Callable[[], object]) -> tuple[float, float]:
    """The medians of the time and of this process's processor time, in milliseconds. SQLite works in this process, PostgreSQL does not."""
    call()
    times, used = [], []
    for _ in range(TIMES):
        started_at, used_before = time.perf_counter(), time.process_time()
        call()
        times.append((time.perf_counter() - started_at) * 1000)
        used.append((time.process_time() - used_before) * 1000)
    return statistics.median(times), statistics.median(used)


def compare(queued: int) -> None:
    from django.conf import settings  # noqa: PLC0415 - when Django is set up

    from builds.lifecycle import turns  # noqa: PLC0415 - when Django is set up
    from builds.models import Build  # noqa: PLC0415 - when Django is set up

    for owners in OWNERS:
        fill(queued, owners)
        choices: dict[str, tuple[int, Callable[[], object]]] = {
            "FIFO": (0, Build.objects.waiting().values_list("pk", flat=True).first),
            "turns": (0, turns.choose),
            "turns, with a limit": (2, turns.choose),
            "turns, none may start": (1, turns.choose),
            "the first 100 for the queue page": (0, lambda: turns.line_up(100, turns.running_by_owner())),
        }
        results, fifo = [], (0.0, 0.0)
        for name, (limit, call) in choices.items():
            settings.BUILDS_PER_OWNER = limit
            median, used = measure(call)
            fifo = (median, used) if name == "FIFO" else fifo
            what = f"{queued:,} queued of {owners:,} owners, {name}"
            results += [Result(f"{what}, beside FIFO", median, "ms", fifo[0]), Result(f"{what}: processor", used, "ms", fifo[1])]
        report(*results)


def main() -> None:
    import django  # noqa: PLC0415 - before any model is named

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("queued", type=int, nargs="?", default=10_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-turns-") as folder:
        os.environ.update(DATA_DIR=folder, SECRET_KEY="any", DJANGO_SETTINGS_MODULE="jobsite.settings")
        django.setup()
        from django.core.management import call_command  # noqa: PLC0415 - when Django is set up

        call_command("migrate", verbosity=0)
        compare(asked.queued)


if __name__ == "__main__":
    main()
