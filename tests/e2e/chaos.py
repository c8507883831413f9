"""Runs the real service while its processes are killed, stopped, flushed and lied to, then looks at it from the outside.

``python -m tests.e2e.chaos --submissions 300 --seed 7`` for long; ``test_chaos.py`` runs it short. What happens is chosen by the seed;
when it happens to what depends on the machine.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import requests
from redis import Redis, RedisError

from jobsite import embedded
from tests.e2e.conftest import FINAL, SECRET, Service
from tests.standins import ArchiveHost, DesciServer

PATIENCE_SECONDS = 600.0
MYST = "version: 1\nproject:\n  title: Chaos\n"
# A build of its own kind, quick but real: a child that daemonises, lines of output, then the exports as the repository brought them.
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


# What lies between two faults, in submissions: so that each meets builds in every stage, and the service gets well between them.
SUBMISSIONS_PER_FAULT = 3


class Chaos:
    """``count`` submissions of all kinds, and a fault after every few of them, each kind in its turn."""

    def __init__(self, service: Service, *, count: int, seed: int) -> None:
        self.service, self.count = service, count
        self.random = random.Random(seed)
        self.kinds: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.repeated = 0
        self.seen_logs: dict[tuple[str, int], list[str]] = {}
        self.faults: Counter[str] = Counter()
        self._deck: list[str] = []

    def run(self) -> None:
        """Submit all, with a fault now and then; wait for the end of each.

        Raises:
            AssertionError: something has not ended in time.
        """
        self._prepare()
        for number in range(self.count):
            self._submit(
                f"chaos-{number}", self.random.choice(("good", "good", "good", "broken", "missing", "unwanted", "cancelled"))
            )
            if number % SUBMISSIONS_PER_FAULT == 1:
                self._fault()
            if self.random.random() < 0.3:
                self._look_at_a_log()
            time.sleep(self.random.uniform(0, 0.8))
        self._wait_for_the_end()

    def _prepare(self) -> None:
        meca = _meca()
        for name, end, pause in (("good", "", 1), ("broken", "echo 'Error: it is broken' >&2; exit 1", 1), ("slow", "", 3)):
            files: dict[str, str | bytes] = {"myst.yml": MYST, "build.sh": BUILD.format(end=end, pause=pause), "made.zip": meca}
            self.service.archive.add("chaos", name, files)

    # --- what is asked for

    def _submit(self, job_id: str, kind: str) -> None:
        self.kinds[job_id] = kind
        repository = {"broken": "broken", "missing": "none", "unwanted": "slow", "cancelled": "slow"}.get(kind, "good")
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
            self._until_answered(lambda: self.service.call("POST", f"/{job_id}/cancel", json={"reason": "chaos"}))

    def _post(self, body: dict[str, Any]) -> requests.Response:
        """Each may be taken, also one whose answer is lost with the web server; asked after a failure, it is a new attempt."""
        self.asked[body["jobId"]] += 1
        return self.service.call("POST", json=body)

    def _until_answered(self, call: Callable[[], requests.Response]) -> requests.Response:
        """As desci-server does: again, until it is answered."""
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
        attempt = self._status(job_id)["attempts"][-1]["number"]
        lines = answer.text.splitlines()
        if self._status(job_id)["attempts"][-1]["number"] == attempt and lines:
            shown = self._until_answered(lambda: self.service.call("GET", f"/{job_id}/log", params={"attempt": attempt}))
            self.seen_logs[job_id, attempt] = shown.text.splitlines()

    def _status(self, job_id: str) -> dict[str, Any]:
        data: dict[str, Any] = self._until_answered(lambda: self.service.call("GET", f"/{job_id}")).json()["data"]
        return data

    # --- what goes wrong

    def _fault(self) -> None:
        """The next of a shuffled deck, so that every kind comes before one comes twice. What it is to hit may have to begin first."""
        self._deck = self._deck or self.random.sample(sorted(FAULTS), len(FAULTS))
        name = self._deck.pop()
        deadline = time.monotonic() + TARGET_SECONDS
        while not FAULTS[name](self):
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)
        self.faults[name] += 1

    def processes(self, *words: str) -> list[psutil.Process]:
        """The service's processes whose command holds all of ``words``."""
        assert self.service.process is not None
        found = []
        for child in psutil.Process(self.service.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if all(word in " ".join(child.cmdline()) for word in words):
                    found.append(child)
        return found

    def kill(self, *words: str, top: bool = False) -> bool:
        found = [p for p in self.processes(*words) if not top or _is_top(p, self.service)]
        if found:
            with suppress(psutil.Error):
                self.random.choice(found).send_signal(signal.SIGKILL)
        return bool(found)

    def pause(self) -> bool:
        """Stop a work-horse for longer than its lease."""
        horses = [p for p in self.processes("manage.py", "worker") if not _is_top(p, self.service)]
        if not horses:
            return False
        with suppress(psutil.Error):
            horse = self.random.choice(horses)
            horse.suspend()
            time.sleep(LEASE_SECONDS + 4)
            horse.resume()
        return True

    def redis(self) -> Redis:
        return Redis.from_url(embedded.redis_url(self.service.data_dir), socket_timeout=5)

    def flush(self) -> bool:
        with suppress(RedisError):
            self.redis().flushall()
        return True

    def away(self) -> bool:
        self.service.desci.fail(500, for_seconds=self.random.uniform(1, 5))
        return True

    def slow(self) -> bool:
        self.service.desci.slow(self.random.uniform(0.5, 2), for_seconds=5)
        return True

    def silent(self) -> bool:
        """Its next calls are read and never answered, as when its handler breaks inside (CONTRACT §3)."""
        self.service.desci.hang(self.random.choice(("updateStatus", "receiveFiles")))
        return True

    def desci_down(self) -> bool:
        self.service.desci.down()
        time.sleep(self.random.uniform(0.5, 3))
        self.service.desci.up()
        return True

    # --- how it ended

    def _wait_for_the_end(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        waiting = set(self.kinds)
        while waiting:
            waiting = {job_id for job_id in waiting if not self._has_ended(job_id)}
            late = time.monotonic() > deadline
            assert not late, f"not ended: {[self._status(j) for j in sorted(waiting)[:3]]}\n{self.service.output()}"
            time.sleep(0.5)

    def _has_ended(self, job_id: str) -> bool:
        status = self._status(job_id)
        if status["state"] not in FINAL:
            return False
        return self.kinds[job_id] == "unwanted" or self.service.desci.statuses(job_id)[-1:] in (["COMPLETED"], ["FAILED"])

    def broken_invariants(self) -> list[str]:
        """What is not as DESIGN's invariants have it, in words; empty where all is well."""
        found = [problem for job_id in self.kinds for problem in self._problems_of(job_id)]
        for (job_id, attempt), lines in self.seen_logs.items():
            now = self._until_answered(lambda j=job_id, a=attempt: self.service.call("GET", f"/{j}/log", params={"attempt": a}))  # type: ignore[misc]
            if now.text.splitlines()[: len(lines)] != lines:
                found.append(f"{job_id}: lines of attempt {attempt} that were shown are gone")
        found += [f"{stray} still runs" for stray in self._strays()]
        lost_answers = SENDERS * (self.faults["outbox killed"] + self.faults["desci-server down"])
        if self.repeated > lost_answers:
            found.append(f"{self.repeated} final statuses were sent again; at most {lost_answers} answers can have been lost")
        return found + [f"workspace {path.name} is left" for path in self._workspaces()]

    def losses(self) -> int:
        return sum(
            (attempt["cause"] or {}).get("code") == "worker-lost"
            for job_id in self.kinds
            for attempt in self._status(job_id)["attempts"]
        )

    def redeliveries(self) -> int:
        return sum(attempt["mode"] == "deliver" for job_id in self.kinds for attempt in self._status(job_id)["attempts"])

    def _strays(self) -> list[psutil.Process]:
        """Living processes that stand in a workspace, also in one that is gone: those of builds, whatever they have made of themselves."""
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
        """Those that stay: the reconciler takes away what a killed worker left, after a while."""
        deadline = time.monotonic() + 90
        folder = self.service.data_dir / "workspaces"
        while (left := list(folder.glob("*"))) and time.monotonic() < deadline:
            time.sleep(1)
        return left

    def _problems_of(self, job_id: str) -> list[str]:
        status, heard = self._status(job_id), self._heard(job_id)
        finals = [word for word in heard if word in ("COMPLETED", "FAILED")]
        expected = {"good": "succeeded", "broken": "failed", "missing": "failed"}.get(self.kinds[job_id])
        problems = []
        if expected and status["state"] != expected and not _is_excused(status["cause"] or {}):
            problems.append(f"{job_id} ({self.kinds[job_id]}) has {status['state']}: {status['cause']}")
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
        """What desci-server has taken. An update whose answer was lost, with the outbox or on the way, comes once more, word for word."""
        said = [(update.status, update.message) for update in self.service.desci.updates[job_id] if update.code == 200]
        words = [word for word, before in zip(said, [None, *said], strict=False) if word != before]
        self.repeated += sum(word == before for word, before in pairwise(said) if word[0] != "IN_PROGRESS")
        return [status for status, _message in words]


LEASE_SECONDS = 4
TARGET_SECONDS = 20.0
# So many updates an outbox has under way at once.
SENDERS = 4
# What a kill may honestly make of a good manuscript: its program was killed, or its worker twice in a row.
EXCUSES = ("limit-hit", "worker-lost")
WAS_KILLED = "the command was killed by one of its own programs, or by somebody on the service's machine"
FAULTS: dict[str, Callable[[Chaos], bool]] = {
    "build killed": lambda chaos: chaos.kill("build.sh"),
    "work-horse killed": lambda chaos: chaos.kill("manage.py", "worker"),
    "worker killed": lambda chaos: chaos.kill("manage.py", "worker", top=True),
    "web killed": lambda chaos: chaos.kill("jobsite.wsgi", top=True),
    "web process killed": lambda chaos: chaos.kill("jobsite.wsgi"),
    "outbox killed": lambda chaos: chaos.kill("manage.py", "outbox"),
    "reconciler killed": lambda chaos: chaos.kill("manage.py", "reconciler"),
    "queue store flushed": Chaos.flush,
    "queue store killed": lambda chaos: chaos.kill("valkey-server"),
    "work-horse stopped for longer than its lease": Chaos.pause,
    "desci-server answers 500": Chaos.away,
    "desci-server slow": Chaos.slow,
    "desci-server never answers": Chaos.silent,
    "desci-server down": Chaos.desci_down,
}


def _is_excused(cause: dict[str, Any]) -> bool:
    return cause.get("code") in EXCUSES or WAS_KILLED in cause.get("sentence", "")


def _is_top(child: psutil.Process, service: Service) -> bool:
    with suppress(psutil.Error):
        return service.process is not None and child.ppid() == service.process.pid
    return False


def _meca() -> bytes:
    import io  # noqa: PLC0415 - for this helper alone
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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ArchiveHost() as archive, DesciServer(SECRET, keep_files=False) as desci:
        database = {"DATABASE_URL": os.environ["DATABASE_URL"]} if "DATABASE_URL" in os.environ else {}
        service = Service(Path(folder) / "data", archive, desci, **SETTINGS, **database)
        service.start()
        chaos = Chaos(service, count=options.submissions, seed=options.seed)
        try:
            chaos.run()
            problems = chaos.broken_invariants()
            told = _told(chaos, options.seed)
        finally:
            service.stop()
    sys.stdout.write("\n".join([*told, *(problems or ["every invariant holds"])]) + "\n")
    sys.exit(bool(problems))


def _told(chaos: Chaos, seed: int) -> list[str]:
    return [
        f"seed {seed}: {chaos.count} submissions: {dict(Counter(chaos.kinds.values()))}",
        f"faults: {dict(chaos.faults)}",
        f"builds lost with their worker: {chaos.losses()}; attempts that only deliver: {chaos.redeliveries()}",
    ]


SETTINGS = {"BUILD_COMMAND": COMMAND, "LEASE_SECONDS": str(LEASE_SECONDS), "WORKERS": "4", "WEB_WORKERS": "2"}

if __name__ == "__main__":
    main()
