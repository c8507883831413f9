"""Three hosts share a database, a queue store and a bucket. One is cut off, one is killed, and the clock of one is wrong by an hour.

``test_hosts.py`` runs this as a program (``__main__.py``), in a network namespace of its own. It fails with what is wrong.
"""

from __future__ import annotations

from pathlib import Path

from tests.e2e.clock import Clock
from tests.hosts.run import Run
from tests.hosts.world import World, world
from tests.support.releases import this_release

AN_HOUR = 3600
# Submissions before a fault, and during it.
SUBMISSIONS = 6


def main(folder: Path) -> None:
    with world(folder, this_release(folder / "release")) as made:
        clock = Clock(folder)
        clock.step_to(-AN_HOUR)
        for number, more in ((1, {}), (2, {}), (3, clock.environment)):
            made.add(number, more)
        for host in made.hosts.values():
            host.wait_until_ready()
        run = Run(made)

        first = run.submit(SUBMISSIONS, 1, 2, 3)
        run.wait_for("builds run", lambda: any(run.status(job, 2)["state"] == "running" for job in first))
        made.hosts[1].cut_off()
        first += run.submit(SUBMISSIONS, 2, 3)
        run.wait_until_ended(first, 2)

        clock.step_to(AN_HOUR)
        second = run.submit(SUBMISSIONS, 2, 3)
        run.wait_for("builds run", lambda: sum(run.status(job, 3)["state"] == "running" for job in second) >= 2)
        made.hosts[2].kill()
        run.wait_until_ended(second, 3)

        made.hosts[1].connect()
        made.hosts[1].wait_until_ready()
        last = run.submit(SUBMISSIONS, 1, 3)
        run.wait_until_ended(last, 1)
        run.check(1, faults=2)
        deliver_again(run, made)
        # RQ ends a worker that gets no answer between two jobs. Its unit starts it again, and refuses until the queue store is back.
        ended = [line for line in made.hosts[1].ends().splitlines() if not line.startswith("worker-")]
        assert ended == [], f"host 1: {ended}{made.hosts[1].output()}"
        assert made.hosts[3].ends() == "", f"host 3: {made.hosts[3].ends()}{made.hosts[3].output()}"


def deliver_again(run: Run, made: World) -> None:
    """Every host that is left delivers what any host has made: all were asked for again, and none is built again."""
    for job_id in run.jobs:
        made.desci.task_states[job_id] = "PENDING"
        run.submit_again(job_id, 1)
    run.wait_for(
        "all are delivered again",
        lambda: all(len(run.status(job, 1)["attempts"]) > 1 and run.is_over(job, 1) for job in run.jobs),
    )
    for job_id in run.jobs:
        attempt = run.status(job_id, 1)["attempts"][-1]
        assert (attempt["mode"], attempt["state"]) == ("deliver", "succeeded"), attempt
