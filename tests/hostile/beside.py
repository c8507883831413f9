"""Submits every hostile case to the real service, with honest builds beside each."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psutil
import requests

from builds.engine.process.tree import strays
from builds.engine.sandbox.sandbox import build_user
from tests.e2e.conftest import FINAL, SUBMISSIONS, Service
from tests.hostile.case import Case
from tests.support import quick

AT_ONCE = 3
PAIR = 2
WORKERS = AT_ONCE + 2 * PAIR
# An honest build must stay within BUILD_TIMEOUT, and must still run when the next one starts.
HELD_SECONDS = 2.0
POLL_SECONDS = 0.3
CASE_SECONDS = 180
NEIGHBOURS = "what-the-neighbour-keeps-for-itself"
TITLE = "=cmd|'/C calc'!A0 <script>\u202e"


@dataclass(frozen=True)
class Ended:
    """How a case ended, the honest builds that ran beside it all the time, and what was observed at its end: the service's readiness
    and the build's processes that were left."""

    status: dict[str, Any]
    accepted: dict[str, Any]
    readiness: int
    beside: tuple[str, ...]
    build_id: str
    left: list[str]


class Parade(threading.Thread):
    """Submits the cases, a few at a time. Two honest builds are always in their stage ``build``: the next two start before the previous
    two may continue."""

    def __init__(self, service: Service, archives: Sequence[tuple[Case, bytes]]) -> None:
        super().__init__(daemon=True)
        self._service, self._waiting = service, list(reversed(archives))
        self._flying: dict[str, tuple[dict[str, Any], tuple[str, ...], float]] = {}
        self._pairs = 0
        self._held_at = 0.0
        self._next: tuple[str, ...] = ()
        self._held: tuple[str, ...] = ()
        self.ended: dict[str, Ended] = {}
        self.honest: list[str] = []
        self.problem: BaseException | None = None

    def run(self) -> None:
        try:
            self._next = self._pair()
            while self._waiting or self._flying:
                self._relay()
                self._send()
                self._look()
                time.sleep(POLL_SECONDS)
        except BaseException as error:
            self.problem = error
        finally:
            self._release(self._held)
            self._release(self._next)

    def wait(self, name: str) -> Ended:
        """Wait until the case has ended; returns how."""
        while name not in self.ended:
            if self.problem:
                raise AssertionError(f"{name} has not ended") from self.problem
            assert self.is_alive(), f"{name} has not ended"
            time.sleep(POLL_SECONDS)
        return self.ended[name]

    def _pair(self) -> tuple[str, ...]:
        """Submit two honest builds, which continue once their gates are opened."""
        self._pairs += 1
        names = tuple(f"honest-{self._pairs}-{letter}" for letter in "ab")
        for name in names:
            waits = f"until [ -e {self._service.gates / name} ]; do sleep 0.2; done"
            self._service.archive.add("hostile", name, quick.repository(waits, **{"private.txt": NEIGHBOURS}))
            submit(self._service, name)
        self.honest += names
        return names

    def _relay(self) -> None:
        if not self._next:
            if time.monotonic() - self._held_at > HELD_SECONDS:
                self._next = self._pair()
        elif all(self._is_built(name) for name in self._next):
            self._release(self._held)
            self._held, self._next, self._held_at = self._next, (), time.monotonic()

    def _is_built(self, name: str) -> bool:
        status = self._service.status(name)
        assert status["state"] not in FINAL, status
        return bool(status["stage"] == "build")

    def _release(self, names: Sequence[str]) -> None:
        for name in names:
            (self._service.gates / name).touch()

    def _send(self) -> None:
        while self._held and self._waiting and len(self._flying) < AT_ONCE:
            case, archive = self._waiting.pop()
            self._service.archive.add_zip("hostile", case.name, "main", archive)
            accepted = submit(self._service, case.name, case.exports, case.document)
            self._flying[case.name] = (accepted, self._held, time.monotonic())

    def _look(self) -> None:
        for name, (accepted, beside, since) in list(self._flying.items()):
            status = self._service.status(name)
            if status["state"] in FINAL:
                readiness = requests.get(f"{self._service.url}/readyz", timeout=120).status_code
                build_id = build_id_of(self._service, name)
                self.ended[name] = Ended(status, accepted, readiness, beside, build_id, processes_of(build_id))
                del self._flying[name]
            assert time.monotonic() - since < CASE_SECONDS, f"{name} has not ended: {status}"


def build_id_of(service: Service, name: str) -> str:
    """The id of its only build."""
    [found] = attempts_of(service, name)
    return found


def attempts_of(service: Service, name: str) -> dict[str, str]:
    """The ids of its builds in order, and the code of each one's cause; empty if it did not fail."""
    question = (
        "SELECT b.id, b.cause_code FROM builds_build b JOIN builds_submission s ON s.id = b.submission_id WHERE s.job_id = ? "
        "ORDER BY b.number"
    )
    with sqlite3.connect(f"file:{service.data_dir}/jobsite.sqlite3?mode=ro", uri=True) as database:
        return {str(UUID(found)): code for found, code in database.execute(question, (name,))}


def processes_of(build_id: str) -> list[str]:
    """The build's running processes: those with its marker, and those of its user, if it has its own."""
    user, found = build_user(build_id), []
    marked = strays().get(build_id, [])
    for each in psutil.process_iter(["uids", "cmdline", "status"]):
        is_its_users = user is not None and each.info["uids"] and user in each.info["uids"]
        if (is_its_users or each.pid in marked) and each.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(f"process {each.pid}: {each.info['cmdline']}")
    return found


def submit(
    service: Service, name: str, exports: Sequence[dict[str, str]] = quick.EXPORTS, document: dict[str, Any] | None = None
) -> dict[str, Any]:
    return service.post(
        {
            "url": f"https://github.com/hostile/{name}/blob/main/myst.yml",
            "jobId": name,
            "uuid": f"{name}.",
            "parsedDocument": {"title": TITLE, **(document or {}), "exports": list(exports)},
        }
    )


class Desk:
    """The staff pages, as a superuser sees them."""

    def __init__(self, service: Service, name: str, password: str) -> None:
        self._service = service
        self._session = requests.Session()
        # A connection that is kept may be closed by the server in the moment in which it is used again.
        self._session.headers["Connection"] = "close"
        address = f"{service.url}/sign-in/"
        self._session.get(address, timeout=120)
        form = {"username": name, "password": password, "csrfmiddlewaretoken": self._session.cookies["csrftoken"]}
        answer = self._session.post(address, data=form, headers={"Referer": address}, timeout=120)
        assert answer.url.endswith("/submissions/"), answer.url

    def pages(self, status: dict[str, Any]) -> Iterator[str]:
        """Everything that shows a submission: its page, its log, the list, the list as CSV, the admin and the API."""
        pk = status["link"].rstrip("/").rpartition("/")[2]
        name = status["jobId"]
        for path in (
            f"/submissions/{pk}/",
            f"/submissions/{pk}/attempts/1/log/",
            f"/submissions/{pk}/attempts/1/log.txt",
            f"/submissions/?q={name}",
            f"/submissions/csv/?q={name}",
            f"/admin/builds/submission/{pk}/change/",
            f"{SUBMISSIONS}/{name}",
        ):
            answer = self._session.get(f"{self._service.url}{path}", headers={"X-Internal-Secret": "wrong"}, timeout=120)
            assert answer.status_code in (200, 401), (path, answer.status_code)
            yield f"{answer.headers}\n{answer.content.decode(errors='replace')}"
