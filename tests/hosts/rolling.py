"""Three hosts are upgraded one after the other, the database fails over meanwhile, and submissions come in all the time.

Nothing is refused, lost or doubled, and afterwards the metrics and the log lines of all hosts agree with the database to the last one.
``test_hosts.py`` runs this as a program (``__main__.py``), in a network namespace of its own. It fails with what is wrong.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.conftest import BASE_DIR
from tests.hosts.run import Run
from tests.hosts.world import UNITS, World, world
from tests.support.releases import release_before, this_release

# The rows that the log lines and metrics are compared with.
ROWS = """
import json
from builds.models import Build, Stage, StatusUpdate
print(json.dumps({
    "builds": [list(row) for row in Build.objects.values_list("submission__job_id", "number", "state", "cause_code", "fault")],
    "stages": [list(row) for row in Stage.objects.values_list("build__submission__job_id", "build__number", "name", "state")],
    "updates": [list(row) for row in StatusUpdate.objects.values_list("build__submission__job_id", "status", "state")],
}))
"""
COMPARE = """
import sys
sys.path.append({tests!r})
from tests.support.counted import check_agrees
from tests.support.scraping import Scrape
check_agrees(Scrape(open({path!r}).read()))
"""


def main(folder: Path, submissions: int) -> None:
    before, now = release_before(folder / "releases" / "before"), this_release(folder / "releases" / "now")
    with world(folder, before) as made:
        for number in (1, 2, 3):
            made.add(number)
        for host in made.hosts.values():
            host.wait_until_ready()
        run = Run(made)
        with submitting(run, submissions) as sent:
            run.wait_for("submissions come in", lambda: len(run.jobs) > 2)
            upgrade(made, now, run)
        assert sent == [submissions]
        run.wait_until_ended(run.jobs, 1)
        run.check(1, faults=1 + len(UNITS))
        check_record(made, run)
        for host in made.hosts.values():
            assert host.ends() == "", f"host {host.number}: {host.ends()}{host.output()}"


@contextmanager
def submitting(run: Run, submissions: int) -> Iterator[list[int]]:
    """Submit in a thread. After the block, the yielded list has the number of what was accepted."""
    accepted: list[int] = []

    def send() -> None:
        for number in range(submissions):
            run.submit(1, 1 + number % 3, 1 + (number + 1) % 3, 1 + (number + 2) % 3)
            run.wait_for("a host has time", lambda: run.open_jobs() < QUEUED)
        accepted.append(len(run.jobs))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield accepted
    finally:
        thread.join()


# How many submissions are unfinished at a time: more than all workers take at once.
QUEUED = 9


def upgrade(made: World, release: Path, run: Run) -> None:
    """As docs/operations/upgrade.md says. The database fails over while the second host is between both releases."""
    made.release = release
    made.manage("migrate", "-v", "0")
    for number, host in made.hosts.items():
        ended = run.ended()
        host.install(release)
        for name in UNITS:
            host.restart(name)
            if (number, name) == (2, "worker-1"):
                made.database.fail_over()
        run.wait_for("work goes on", lambda ended=ended: run.ended() > ended or not run.open_jobs())


def check_record(made: World, run: Run) -> None:
    host = made.hosts[1]
    run.wait_for("all is at rest", lambda: host.scrape().is_at_rest)
    (made.folder / "scrape").write_text(host.scrape().text)
    made.manage("shell", "--no-imports", "-c", COMPARE.format(tests=str(BASE_DIR), path=str(made.folder / "scrape")))
    rows = json.loads(made.manage("shell", "--no-imports", "-c", ROWS))
    differences = compared(lines(made), rows)
    assert not differences, "\n".join(differences)


def lines(made: World) -> list[dict[str, Any]]:
    """The lines of all hosts. One that is not a JSON object fails here."""
    return [json.loads(line) for host in made.hosts.values() for line in host.whole_output().splitlines()]


def compared(found: list[dict[str, Any]], rows: dict[str, list[list[Any]]]) -> list[str]:
    """How the lines differ from the rows."""
    said = {
        "accepted": Counter(line["jobId"] for line in found if line["event"] == "submission_accepted" and not line["again"]),
        "builds": Counter(
            (line["jobId"], line["attempt"], line["state"], line.get("causeCode", ""), line.get("causeClass", ""))
            for line in found
            if line["event"] == "build_ended"
        ),
        "stages": Counter(
            (line["jobId"], line["attempt"], line["stage"], line["state"]) for line in found if line["event"] == "stage_ended"
        ),
        "updates": Counter((line["jobId"], line["status"]) for line in found if line["event"] == "status_update_received"),
    }
    true = {
        "accepted": Counter({job_id for job_id, *_ in rows["builds"]}),
        "builds": Counter(tuple(row) for row in rows["builds"]),
        "stages": Counter(tuple(row) for row in rows["stages"]),
        "updates": Counter((job_id, status) for job_id, status, state in rows["updates"] if state == "received"),
    }
    return [
        f"{what}: only in the lines {dict(said[what] - true[what])}, only in the database {dict(true[what] - said[what])}"
        for what in true
        if said[what] != true[what]
    ]
