"""Submissions to several hosts, and what must be true of them in the end."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from typing import Any

import requests

from tests.e2e.chaos import SENDERS
from tests.e2e.conftest import FINAL
from tests.hosts.world import Host, World
from tests.support import quick

PATIENCE_SECONDS = 300.0


class Run:
    """``jobs`` are the jobIds that were submitted."""

    def __init__(self, made: World) -> None:
        self._world = made
        self.jobs: list[str] = []
        self.problems: list[str] = []
        for name, pause in (("quick", ""), ("slow", "sleep 4")):
            made.archive.add("lab", name, quick.repository(pause))

    def submit(self, count: int, *hosts: int) -> list[str]:
        """Submit in turn to these hosts. Returns the new jobIds."""
        new = [f"job-{len(self.jobs) + number}" for number in range(count)]
        for number, job_id in enumerate(new):
            repository = ("quick", "slow")[number % 2]
            body = {
                "url": f"https://github.com/lab/{repository}/blob/main/myst.yml",
                "jobId": job_id,
                "uuid": f"node-{job_id}.",
                "parsedDocument": {"title": job_id, "exports": quick.EXPORTS},
            }
            first = number % len(hosts)
            self._post(body, [self._world.hosts[each] for each in (*hosts[first:], *hosts[:first])])
        self.jobs += new
        return new

    def _post(self, body: dict[str, Any], hosts: list[Host]) -> None:
        """Submit to the first of these hosts that takes it, as a proxy in front of them does."""
        refused: Counter[str] = Counter()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            for host in hosts:
                try:
                    answer = host.call("POST", json=body)
                except requests.RequestException as error:
                    refused[type(error).__name__] += 1
                    continue
                if answer.status_code == 202:
                    return
                refused[f"{answer.status_code} {answer.text[:200]}"] += 1
            time.sleep(0.3)
        raise AssertionError(f"no host took {body['jobId']}: {refused}")

    def submit_again(self, job_id: str, host: int) -> None:
        body = self.status(job_id, host)
        again = {"jobId": job_id, "uuid": body["uuid"], "url": body["url"], "parsedDocument": {"title": job_id}}
        assert self._world.hosts[host].call("POST", json=again).status_code == 202

    def status(self, job_id: str, host: int) -> dict[str, Any]:
        data: dict[str, Any] = self._world.hosts[host].call("GET", f"/{job_id}").json()["data"]
        return data

    def wait_for(self, what: str, holds: Any) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with suppress(requests.RequestException):
                if holds():
                    return
            outputs = "\n".join(f"--- host {host.number}\n{host.output()}" for host in self._world.hosts.values())
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_SECONDS} s\n{outputs}"
            time.sleep(0.3)

    def wait_until_ended(self, jobs: list[str], host: int) -> None:
        """Until these have ended, and desci-server knows."""
        waiting = set(jobs)

        def ended() -> bool:
            waiting.difference_update(job for job in list(waiting) if self.is_over(job, host))
            return not waiting

        self.wait_for(f"{jobs} end", ended)

    def is_over(self, job_id: str, host: int) -> bool:
        heard = self._world.desci.statuses(job_id)
        return self.status(job_id, host)["state"] in FINAL and bool(heard) and heard[-1] in ("COMPLETED", "FAILED")

    def check(self, host: int, *, faults: int) -> None:
        repeated = 0
        for job_id in self.jobs:
            status = self.status(job_id, host)
            said = [update for update in self._world.desci.updates[job_id] if update.accepted]
            finals = [update for update in said if update.status in ("COMPLETED", "FAILED")]
            repeated += len(finals) - len({(update.status, update.message) for update in finals})
            if status["state"] != "succeeded" or {update.status for update in finals} != {"COMPLETED"} or said[-1] != finals[-1]:
                self.problems.append(
                    f"{job_id}: {status['state']}, desci-server heard {[u.status for u in said]}: {status['attempts']}"
                )
            if not self._world.desci.deliveries[job_id]:
                self.problems.append(f"{job_id}: no files arrived")
        if repeated > SENDERS * faults:
            self.problems.append(f"{repeated} final statuses came twice; at most {SENDERS * faults} answers can have been lost")
        assert not self.problems, "\n".join(self.problems)

    def ended(self) -> int:
        """How many final statuses desci-server has accepted so far."""
        return sum(1 for job in list(self.jobs) if self._world.desci.statuses(job)[-1:] in (["COMPLETED"], ["FAILED"]))

    def open_jobs(self) -> int:
        return len(self.jobs) - self.ended()
