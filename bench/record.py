"""Makes a record of any size in minutes: submissions with builds, stages, events and status updates, spread over time.

``python -m bench.record 1000000 --days 365`` fills the empty database that DATABASE_URL names. The same numbers make the same record.
``python -m bench.record 1000000 --log-of 7`` then gives the attempt of submission 7 a log of so many lines.
"""

from __future__ import annotations

import argparse
import os
import random
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from bench.table import Table, indexes_made_at_the_end

# About as many lines of this length as a build writes into one batch.
LINES_OF_BATCH = 350
FILLER = "parse resolve transform reference citation figure export chapter table abstract author equation parse resolve transform"
STAGES = (("fetch", 4), ("unpack", 1), ("build", 60), ("collect", 2), ("deliver", 8))
# Only the newest builds have stage rows: no page reads many older ones together.
WITH_STAGES = 300_000
CAUSES = (
    *[("manuscript", "build-failed", "Failed to build the repo files.")] * 6,
    *[("manuscript", "export-not-made", "A declared export was not made.")] * 3,
    ("manuscript", "archive-not-found", "The repository was not found."),
    ("template", "template-failed", "The export's template could not be fetched."),
    ("outside", "archive-host-down", "The host of the repository could not be reached."),
    ("service", "worker-lost", "The worker that ran the build was lost."),
)
# The codes of findings, with severity and group. A fifth of the successes has some of the first three.
PROBLEMS = ("image-missing", "doi-unknown", "citation-unknown")
OTHERS = (("own-template-used", "notice", "build"), ("title", "passed", "editorial"), ("alt-text", "advised", "editorial"))
FIELDS = ("Marine biology", "Physics", "Linguistics", "Astronomy", "Computer science", "Soil science", "Statistics", "Chemistry")
NAMES = (
    "Ada Lovelace",
    "Grace Hopper",
    "Emmy Noether",
    "Alan Turing",
    "Mary Somerville",
    "Niels Abel",
    "Sofja Kowalewskaja",
    "Ada Yonath",
)
TOPICS = (
    "coral",
    "graphene",
    "protein folding",
    "dark matter",
    "soil",
    "memory",
    "tides",
    "lasers",
    "yeast",
    "glaciers",
    "prime gaps",
)


def fill(count: int, *, days: int = 365, seed: int = 1) -> None:
    """``count`` submissions over the last ``days``; one in nine failed, one in a hundred was cancelled."""
    from builds.models import (  # noqa: PLC0415 - when Django is set up
        Build,
        Event,
        Finding,
        SearchWords,
        Stage,
        StatusUpdate,
        Submission,
    )

    plan = list(_planned(count, days=days, seed=seed))
    recent = plan[-WITH_STAGES:]
    with indexes_made_at_the_end():
        Table(
            Submission,
            *("id", "job_id", "node_uuid", "url", "repository", "title", "authors", "state", "created_at", "updated_at"),
            *("fault", "problems", "cause_code", "subject"),
        ).insert(_submissions(plan))
        Table(
            Build,
            *("id", "submission_id", "number", "state", "requested_by", "created_at", "started_at", "finished_at"),
            *("worker", "commit", "fault", "cause_code", "cause", "problems"),
        ).insert(_builds(plan))
        Table(
            Finding,
            *("build_id", "submission_id", "position", "code", "severity", "group", "fault", "text", "advice", "file", "export"),
        ).insert(_findings(plan))
        Table(SearchWords, "submission_id", "words").insert(_search_words(plan))
        Table(Stage, "build_id", "name", "state", "started_at", "finished_at").insert(_stages(recent))
        Table(Event, "submission_id", "build_id", "kind", "actor", "at").insert(_events(plan))
        Table(
            StatusUpdate,
            *("submission_id", "build_id", "status", "message", "state", "created_at", "next_try_at", "tries", "settled_at"),
        ).insert(_status_updates(plan))
    _analyse()


def _planned(count: int, *, days: int, seed: int) -> Iterator[dict[str, Any]]:
    chance, now = random.Random(seed), datetime.now(UTC)
    for number in range(1, count + 1):
        dice = chance.random()
        seconds = (count - number) / count * days * 86_400 + 600
        yield {
            "number": number,
            "at": now - timedelta(seconds=seconds),
            "state": "failed" if dice < 0.11 else "cancelled" if dice < 0.12 else "succeeded",
            "cause": chance.choice(CAUSES),
            "problems": chance.choices((0, 1, 2, 5), (80, 12, 5, 3))[0] if dice >= 0.12 else 0,
            "waited": timedelta(seconds=chance.expovariate(1 / 5)),
            "pace": chance.lognormvariate(0, 0.6),
            "build": uuid.UUID(int=chance.getrandbits(128)),
            "names": f"{chance.choice(NAMES)} (0000-0002-{number % 10_000:04d}-{number // 10_000:04d}), {chance.choice(NAMES)}",
            "title": f"On {chance.choice(TOPICS)} and {chance.choice(TOPICS)}, part {number}",
        }


def _took(row: dict[str, Any]) -> timedelta:
    return sum((timedelta(seconds=seconds * row["pace"]) for _, seconds in STAGES), timedelta())


def _ended(row: dict[str, Any]) -> datetime:
    at: datetime = row["at"] + row["waited"] + _took(row)
    return at


def _submissions(plan: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for row in plan:
        number, repository = row["number"], f"lab-{row['number'] % 5000}/paper-{row['number']}"
        url = f"https://github.com/{repository}/blob/main/myst.yml"
        described = (repository, row["title"], row["names"], row["state"])
        fault, code, _ = row["cause"] if row["state"] == "failed" else ("", "", "")
        # Every tenth has no journal field.
        own = (fault, row["problems"], code, FIELDS[number % len(FIELDS)] if number % 10 else "")
        yield (number, f"job-{number}", f"node-{number}.", url, *described, row["at"], _ended(row), *own)


def _search_words(plan: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    from builds.record.search import joined  # noqa: PLC0415 - when Django is set up

    for row, submission in zip(plan, _submissions(plan), strict=True):
        cause = row["cause"][1:] if row["state"] == "failed" else ()
        number, *own = submission[:7]
        yield (number, joined([*map(str, own), _commit(row), *cause]))


def _builds(plan: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for row in plan:
        failed = row["state"] == "failed"
        times = (row["at"], row["at"] + row["waited"], _ended(row))
        cause = row["cause"] if failed else ("", "", "")
        yield (
            row["build"],
            row["number"],
            1,
            row["state"],
            "desci-server",
            *times,
            f"host:{row['number'] % 4}",
            _commit(row),
            *cause,
            row["problems"],
        )


def _findings(plan: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for row in plan:
        broken = [(PROBLEMS[number % len(PROBLEMS)], "broken", "build") for number in range(row["problems"])]
        others = OTHERS[0 if row["number"] % 10 == 0 else 1 :]
        for position, (code, severity, group) in enumerate((*broken, *others), 1):
            text = f"Something about {code} in the manuscript {row['number']}."
            yield (row["build"], row["number"], position, code, severity, group, "manuscript", text, "Mend it.", "index.md", "")


def _commit(row: dict[str, Any]) -> str:
    return f"{row['build'].int:032x}{row['number']:08x}"


def _stages(plan: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for row in plan:
        at = row["at"] + row["waited"]
        for name, seconds in STAGES:
            end = at + timedelta(seconds=seconds * row["pace"])
            yield (row["build"], name, "failed" if name == "build" and row["state"] == "failed" else "succeeded", at, end)
            at = end
            if name == "build" and row["state"] != "succeeded":
                break


def _events(plan: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for row in plan:
        yield (row["number"], row["build"], "submitted", "desci-server", row["at"])
        yield (row["number"], row["build"], row["state"], f"host:{row['number'] % 4}", _ended(row))


def _status_updates(plan: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for row in plan:
        status = "COMPLETED" if row["state"] == "succeeded" else "FAILED"
        yield (row["number"], row["build"], status, "Files exported successfully", "received", *[_ended(row)] * 2, 1, _ended(row))


def write_log(submission: int, lines: int) -> None:
    """Give the newest attempt of a submission without log so many lines, as its command would have written them."""
    from builds.models import Build, LogBatch  # noqa: PLC0415 - when Django is set up

    build = Build.objects.filter(submission=submission).latest("number")
    firsts = range(1, lines + 1, LINES_OF_BATCH)
    batches = (
        (build.pk, first, count, _records(first, count)) for first in firsts for count in [min(LINES_OF_BATCH, lines - first + 1)]
    )
    Table(LogBatch, "build_id", "first_line", "line_count", "records").insert(batches)
    Build.objects.filter(pk=build.pk).update(log_lines=lines)
    _analyse()


def _records(first: int, count: int) -> str:
    return "".join(f"{1_700_000_000_000 + n}\tbuild\tstdout\t{n:07d} {FILLER}\n" for n in range(first, first + count))


def _analyse() -> None:
    """As PostgreSQL does by itself, some time after so many rows were written: it reads an index alone only where it has vacuumed."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def main() -> None:
    import django  # noqa: PLC0415 - before any model is named

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--log-of", type=int, help="write ``count`` lines of a log for this submission instead")
    asked = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobsite.settings")
    django.setup()
    started_at = time.monotonic()
    if asked.log_of:
        return write_log(asked.log_of, asked.count)
    fill(asked.count, days=asked.days)
    print(f"{asked.count:,} submissions in {time.monotonic() - started_at:.0f} s")
    return None


if __name__ == "__main__":
    main()
