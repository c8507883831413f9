"""Runs the real service while its processes are killed and stopped and others fail it, then checks the results from outside.

``python -m tests.e2e.chaos --submissions 300 --seed 7`` for long; ``test_chaos.py`` runs it short. What happens is chosen by the seed;
when it happens to what depends on the machine.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.e2e.chaos_faults import CLOCK, FAULTS, LEASE_SECONDS, LOCKED
from tests.e2e.clock import Clock
from tests.e2e.conftest import FINAL, SECRET, Service
from tests.standins import ArchiveHost, DesciServer

PATIENCE_SECONDS = 600.0
MYST = "version: 1\nproject:\n  title: Chaos\n"
# A quick but real build: it starts a daemon, prints lines, and then leaves the exports as they are in the repository.
COMMAND = "sh ./build.sh"
BUILD = """
setsid sleep 300 >/dev/null 2>&1 &
for n in 1 2 3 4 5 6 7 8 9 10; do echo "line $n of the build"; sleep 0.{pause}; done
{end}
mkdir -p exports _build/site/content
cp made.zip exports/manuscript.meca.zip
echo '{{"kind": "Article"}}' > _build/site/content/index.json
"""
EXPORTS = [{"format": "meca", "output": "exports/manuscript.meca.zip"}]


# Submissions between two faults: enough that faults meet builds in every stage, and that the service recovers in between.
SUBMISSIONS_PER_FAULT = 3


class Chaos:
    """``count`` submissions of all kinds, with one of ``faults`` after every few of them. Without a ``clock`` it is never stepped.

    ``count`` 0: as many as it takes for each fault that is possible here to come once.
    """

    def __init__(
        self, service: Service, *, count: int, seed: int, clock: Clock | None = None, faults: Collection[str] = tuple(FAULTS)
    ) -> None:
        self.service, self.clock = service, clock
        self.random = random.Random(seed)
        self.skipped = {name: reason for name, reason in _impossible(clock).items() if name in faults}
        self._possible = sorted(set(faults) - set(self.skipped))
        self.count = count or SUBMISSIONS_PER_FAULT * len(self._possible)
        self.kinds: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.repeated = 0
        self.seen_logs: dict[tuple[str, int], list[str]] = {}
        self.faults: Counter[str] = Counter()
        self._deck: list[str] = []
        # What goes on while submissions are made, and what failed in it.
        self._meanwhile: list[threading.Thread] = []
        self._failed: list[str] = []
        self.hung: list[psutil.Process] = []
        self.cancel_seconds: list[float] = []

    def run(self) -> None:
        """Submit all, cause faults in between, and wait until each submission has ended.

        Raises:
            AssertionError: something has not ended in time.
        """
        self._prepare()
        for number in range(self.count):
            self.submit(f"chaos-{number}", self.random.choice(KINDS))
            if number % SUBMISSIONS_PER_FAULT == 1:
                self._fault()
            if self.random.random() < 0.3:
                self._look_at_a_log()
            time.sleep(self.random.uniform(0, 0.8))
        for thread in self._meanwhile:
            thread.join()
        self._wait_for_the_end()
        if self.clock:
            self.clock.step_to(0)

    def _prepare(self) -> None:
        for name, end, pause in (("good", "", 1), ("broken", "echo 'Error: it is broken' >&2; exit 1", 1), ("slow", "", 3)):
            self.add_repository(name, BUILD.format(end=end, pause=pause))

    def add_repository(self, name: str, script: str) -> None:
        self.service.archive.add("chaos", name, {"myst.yml": MYST, "build.sh": script, "made.zip": _meca()})

    def meanwhile(self, action: Callable[[], None]) -> None:
        """Do this while submissions go on. The run waits for its end."""
        self._meanwhile.append(threading.Thread(target=self._watched, args=(action,), daemon=True))
        self._meanwhile[-1].start()

    def _watched(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # a broken invariant, and found in the summary
            self._failed.append(f"during a fault: {error!r}")

    # --- submitting

    def submit(self, job_id: str, kind: str, repository: str = "") -> None:
        self.kinds[job_id] = kind
        repository = repository or REPOSITORIES.get(kind, "good")
        body = {
            "url": f"https://github.com/chaos/{repository}/blob/main/myst.yml",
            "jobId": job_id,
            "uuid": f"node-of-{job_id}.",
            "parsedDocument": {"title": job_id, "exports": EXPORTS},
        }
        self._until_answered(lambda: self._post(body))
        if kind == "unwanted":
            self.service.desci.forget(job_id)
        if kind == "cancelled":
            self.cancel(job_id)

    def cancel(self, job_id: str) -> None:
        self._until_answered(lambda: self.service.call("POST", f"/{job_id}/cancel", json={"reason": "chaos"}))

    def _post(self, body: dict[str, Any]) -> requests.Response:
        """Submit once. The service may accept it even if its answer is lost. After a failure this is a new attempt."""
        self.asked[body["jobId"]] += 1
        return self.service.call("POST", json=body)

    def _until_answered(self, call: Callable[[], requests.Response]) -> requests.Response:
        """Send again until there is an answer, as desci-server does."""
        deadline = time.monotonic() + 60
        while True:
            with suppress(requests.RequestException):
                answer = call()
                if answer.status_code < 500:
                    return answer
            assert time.monotonic() < deadline, f"no answer: {self.service.output()}"
            time.sleep(0.2)

    def _look_at_a_log(self) -> None:
        job_id = self.random.choice(list(self.kinds))
        answer = self._until_answered(lambda: self.service.call("GET", f"/{job_id}/log"))
        attempt = self.status(job_id)["attempts"][-1]["number"]
        lines = answer.text.splitlines()
        if self.status(job_id)["attempts"][-1]["number"] == attempt and lines:
            shown = self._until_answered(lambda: self.service.call("GET", f"/{job_id}/log", params={"attempt": attempt}))
            self.seen_logs[job_id, attempt] = shown.text.splitlines()

    def status(self, job_id: str) -> dict[str, Any]:
        answer = self._until_answered(lambda: self.service.call("GET", f"/{job_id}"))
        assert answer.status_code == 200, f"{job_id}: {answer.status_code} {answer.text[:500]}"
        data: dict[str, Any] = answer.json()["data"]
        return data

    # --- faults

    def _fault(self) -> None:
        """Cause the next fault of a shuffled deck, so that every kind comes before one comes twice. Waits until its target exists."""
        self._deck = self._deck or self.random.sample(self._possible, len(self._possible))
        name = self._deck.pop()
        deadline = time.monotonic() + TARGET_SECONDS
        while not FAULTS[name](self):
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)
        self.faults[name] += 1

    # --- checks

    def _wait_for_the_end(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        waiting = set(self.kinds)
        while waiting:
            waiting = {job_id for job_id in waiting if not self._has_ended(job_id)}
            late = time.monotonic() > deadline
            assert not late, f"not ended: {[self.status(j) for j in sorted(waiting)[:3]]}\n{self.service.output()}"
            time.sleep(0.5)

    def _has_ended(self, job_id: str) -> bool:
        status = self.status(job_id)
        if status["state"] not in FINAL:
            return False
        return self.kinds[job_id] == "unwanted" or self.service.desci.statuses(job_id)[-1:] in (["COMPLETED"], ["FAILED"])

    def broken_invariants(self) -> list[str]:
        """The violated invariants, in words. Empty if all hold."""
        found = [problem for job_id in self.kinds for problem in self._problems_of(job_id)]
        for (job_id, attempt), lines in self.seen_logs.items():
            now = self._until_answered(lambda j=job_id, a=attempt: self.service.call("GET", f"/{j}/log", params={"attempt": a}))  # type: ignore[misc]
            if now.text.splitlines()[: len(lines)] != lines:
                found.append(f"{job_id}: lines of attempt {attempt} that were shown are gone")
        found += self._failed
        found += [f"{stray} still runs" for stray in self._strays()]
        found += [f"the hung work-horse {horse} was not killed" for horse in self.hung if horse.is_running()]
        lost_answers = SENDERS * (self.faults["outbox killed"] + self.faults["desci-server down"])
        if self.repeated > lost_answers:
            found.append(f"{self.repeated} final statuses were sent again; at most {lost_answers} answers can have been lost")
        return found + [f"workspace {path.name} is left" for path in self._workspaces()]

    def losses(self) -> int:
        return sum(
            (attempt["cause"] or {}).get("code") == "worker-lost"
            for job_id in self.kinds
            for attempt in self.status(job_id)["attempts"]
        )

    def redeliveries(self) -> int:
        return sum(attempt["mode"] == "deliver" for job_id in self.kinds for attempt in self.status(job_id)["attempts"])

    def _strays(self) -> list[psutil.Process]:
        """Processes whose working folder is a workspace, even a deleted one. These belong to builds, whatever their environment says."""
        found = []
        for candidate in psutil.process_iter():
            with suppress(psutil.Error):
                if (
                    candidate.cwd().startswith(str(self.service.data_dir / "workspaces"))
                    and candidate.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(candidate)
        return found

    def _workspaces(self) -> list[Path]:
        """Workspaces that stay: the reconciler removes those of a killed worker after a while."""
        deadline = time.monotonic() + 90
        folder = self.service.data_dir / "workspaces"
        while (left := list(folder.glob("*"))) and time.monotonic() < deadline:
            time.sleep(1)
        return left

    def _problems_of(self, job_id: str) -> list[str]:
        status, heard = self.status(job_id), self._heard(job_id)
        finals = [word for word in heard if word in ("COMPLETED", "FAILED")]
        expected = EXPECTED.get(self.kinds[job_id])
        problems = []
        if expected and status["state"] != expected and not _is_excused(status["cause"] or {}):
            log = self._until_answered(lambda: self.service.call("GET", f"/{job_id}/log")).text
            problems.append(f"{job_id} ({self.kinds[job_id]}) has {status['state']}: {status['attempts']}\n{log}")
        told_rightly = 1 <= len(finals) <= self.asked[job_id] and heard[-1] == finals[-1]
        if self.kinds[job_id] != "unwanted" and not told_rightly:
            problems.append(f"{job_id}: desci-server heard {heard}")
        if finals and (finals[-1] == "COMPLETED") != (status["state"] == "succeeded"):
            problems.append(f"{job_id} has {status['state']}, but desci-server heard {finals[-1]}")
        if status["state"] == "succeeded" and not self.service.desci.deliveries[job_id]:
            problems.append(f"{job_id} has succeeded without a delivery")
        open_attempts = [attempt["number"] for attempt in status["attempts"] if attempt["state"] not in FINAL]
        return problems + ([f"{job_id}: attempts {open_attempts} are open"] if open_attempts else [])

    def _heard(self, job_id: str) -> list[str]:
        """The updates that desci-server accepted. An update whose answer was lost is sent once more with the same words."""
        said = [(update.status, update.message) for update in self.service.desci.updates[job_id] if update.accepted]
        words = [word for word, before in zip(said, [None, *said], strict=False) if word != before]
        self.repeated += sum(word == before for word, before in pairwise(said) if word[0] != "IN_PROGRESS")
        return [status for status, _message in words]


KINDS = ("good", "good", "good", "broken", "missing", "unwanted", "cancelled")
REPOSITORIES = {"broken": "broken", "missing": "none", "unwanted": "slow", "cancelled": "slow"}
EXPECTED = {"good": "succeeded", "broken": "failed", "missing": "failed", "hung": "failed", "hung and cancelled": "cancelled"}
TARGET_SECONDS = 20.0
# How many updates an outbox sends at once.
SENDERS = 4
# The causes with which a good manuscript may fail after a kill: its program was killed, or its worker twice in a row.
EXCUSES = ("limit-hit", "worker-lost")
WAS_KILLED = "the command was killed by one of its own programs, or by someone on the service's machine"


def _impossible(clock: Clock | None) -> dict[str, str]:
    """The faults that cannot be caused here, with the reason."""
    reasons = {CLOCK: "" if clock else Clock.missing() or "no clock was given"}
    reasons[LOCKED] = "only SQLite has one write lock" if "DATABASE_URL" in os.environ else ""
    return {name: reason for name, reason in reasons.items() if reason}


def _is_excused(cause: dict[str, Any]) -> bool:
    return cause.get("code") in EXCUSES or WAS_KILLED in cause.get("sentence", "")


def _meca() -> bytes:
    import io  # noqa: PLC0415 - only needed here
    import zipfile  # noqa: PLC0415

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("manifest.xml", '<manifest><item><instance href="article.xml"/></item></manifest>')
        archive.writestr("article.xml", "<article/>")
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--submissions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument(
        "--faults", default="", help="cause only the faults whose name contains one of these words, with commas between"
    )
    options = parser.parse_args()
    faults = [name for name in FAULTS if any(word in name for word in options.faults.split(","))]
    with tempfile.TemporaryDirectory() as folder, ArchiveHost() as archive, DesciServer(SECRET, keep_files=False) as desci:
        clock = None if Clock.missing() else Clock(Path(folder))
        service = Service(Path(folder) / "data", archive, desci, **SETTINGS, **(clock.environment if clock else {}))
        service.start()
        chaos = Chaos(service, count=options.submissions, seed=options.seed, clock=clock, faults=faults)
        try:
            chaos.run()
            problems = chaos.broken_invariants()
            report = _report(chaos, options.seed)
        finally:
            service.stop()
    sys.stdout.write("\n".join([*report, *(problems or ["every invariant holds"])]) + "\n")
    sys.exit(bool(problems))


def _report(chaos: Chaos, seed: int) -> list[str]:
    return [
        f"seed {seed}: {chaos.count} submissions: {dict(Counter(chaos.kinds.values()))}",
        f"faults: {dict(chaos.faults)}",
        *(f"skipped: {name}: {reason}" for name, reason in chaos.skipped.items()),
        f"seconds from the cancel of a hung build to its end: {[round(seconds, 1) for seconds in sorted(chaos.cancel_seconds)]}",
        f"builds lost with their worker: {chaos.losses()}; attempts that only deliver: {chaos.redeliveries()}",
    ]


# An attempt is longer than a silent delivery. The run itself asks more often than one client may.
SETTINGS = {
    "API_RATE_PER_CLIENT": "100000",
    "API_RATE": "100000",
    "BUILD_COMMAND": COMMAND,
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "ATTEMPT_TIMEOUT": "150",
    "WORKERS": "4",
    "WEB_WORKERS": "2",
}

if __name__ == "__main__":
    main()
