"""The real service with every hostile case in it, and honest builds beside each."""

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

from builds import process_tree
from builds.sandbox import build_user
from tests import quick
from tests.e2e.conftest import FINAL, SUBMISSIONS, Service
from tests.hostile.case import Case

AT_ONCE = 3
PAIR = 2
WORKERS = AT_ONCE + 2 * PAIR
# An honest build may take no longer than BUILD_TIMEOUT, and must outlast the start of the next.
HELD_SECONDS = 2.0
POLL_SECONDS = 0.3
CASE_SECONDS = 180
NEIGHBOURS = "what-the-neighbour-keeps-for-itself"
TITLE = "=cmd|'/C calc'!A0 <script>\u202e"


@dataclass(frozen=True)
class Ended:
    """How a case ended; at that moment what the service answered to who asks whether it is up, and what was left of its processes; and
    who was built beside it all the time."""

    status: dict[str, Any]
    accepted: dict[str, Any]
    readiness: int
    beside: tuple[str, ...]
    build_id: str
    left: list[str]


class Parade(threading.Thread):
    """Submits the cases, a few at once, while there are always two honest builds in their stage ``build``: the next two begin before
    the two before are let go on."""

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
        """How it ended, once it has."""
        while name not in self.ended:
            if self.problem:
                raise AssertionError(f"{name} has not ended") from self.problem
            assert self.is_alive(), f"{name} has not ended"
            time.sleep(POLL_SECONDS)
        return self.ended[name]

    def _pair(self) -> tuple[str, ...]:
        """Two honest builds, which go on once their gates are opened."""
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
                readiness = requests.get(f"{self._service.url}/readyz", timeout=30).status_code
                build_id = build_id_of(self._service, name)
                self.ended[name] = Ended(status, accepted, readiness, beside, build_id, processes_of(build_id))
                del self._flying[name]
            assert time.monotonic() - since < CASE_SECONDS, f"{name} has not ended: {status}"


def build_id_of(service: Service, name: str) -> str:
    """Of its only attempt."""
    [found] = attempts_of(service, name)
    return found


def attempts_of(service: Service, name: str) -> dict[str, str]:
    """The ids of its builds, the first one first, and the causes of those that failed."""
    question = (
        "SELECT b.id, b.cause_code FROM builds_build b JOIN builds_submission s ON s.id = b.submission_id WHERE s.job_id = ? "
        "ORDER BY b.number"
    )
    with sqlite3.connect(f"file:{service.data_dir}/jobsite.sqlite3?mode=ro", uri=True) as database:
        return {str(UUID(found)): code for found, code in database.execute(question, (name,))}


def processes_of(build_id: str) -> list[str]:
    """What of a build runs: by its marker, and by its user where it has one of its own."""
    user, found = build_user(build_id), []
    marked = process_tree.strays().get(build_id, [])
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
    """The pages for staff, read by somebody who may see all."""

    def __init__(self, service: Service, name: str, password: str) -> None:
        self._service = service
        self._session = requests.Session()
        address = f"{service.url}/sign-in/"
        self._session.get(address, timeout=30)
        form = {"username": name, "password": password, "csrfmiddlewaretoken": self._session.cookies["csrftoken"]}
        answer = self._session.post(address, data=form, headers={"Referer": address}, timeout=30)
        assert answer.url.endswith("/submissions/"), answer.url

    def pages(self, status: dict[str, Any]) -> Iterator[str]:
        """What is shown of a submission, here and in the API: the page, the log, the list, its table as CSV, and the admin's."""
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
            answer = self._session.get(f"{self._service.url}{path}", headers={"X-Internal-Secret": "wrong"}, timeout=60)
            assert answer.status_code in (200, 401), (path, answer.status_code)
            yield f"{answer.headers}\n{answer.content.decode(errors='replace')}"
