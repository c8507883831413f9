"""Upgrades while builds run: releases beside each other, new files in the old place, and a migration that locks the database."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import requests

from tests.e2e.conftest import SECRET, SUBMISSIONS, Service
from tests.e2e.test_faults import attempts, check_one_final
from tests.e2e.test_stories import submission
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick
from tests.support.releases import Unit, release_before, this_release
from tests.support.visitor import make_visitor
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

UNITS = ("jobsite-web@1", "jobsite-web@2", "jobsite-outbox", "jobsite-reconciler", "jobsite-worker@1", "jobsite-worker@2")


def post_held(service: Service, job_id: str) -> None:
    """Submit a manuscript whose build runs until :func:`let_go`, and wait until it does."""
    held = f"echo held; while [ ! -e {service.gates / job_id} ]; do sleep 0.1; done"
    service.archive.add("up", job_id, quick.repository(held))
    service.post(submission(job_id, f"up/{job_id}", exports=quick.EXPORTS))
    wait_until(lambda: "held" in service.log(job_id), service.output)


def let_go(service: Service, job_id: str) -> None:
    (service.gates / job_id).touch()


def pk_of(service: Service, job_id: str) -> int:
    return int(service.status(job_id)["link"].rstrip("/").rpartition("/")[2])


class Installed(Service):
    """The roles of an installation as systemd runs them, with both web servers on one socket."""

    def __init__(self, folder: Path, release: Path, archive: ArchiveHost, desci: DesciServer, **settings: str) -> None:
        super().__init__(folder / "data", archive, desci, BUILD_COMMAND=quick.COMMAND, **settings)
        self.current = folder / "current"
        self.install(release)
        self._listening = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self.units = {name: self._unit(name) for name in UNITS}

    def _unit(self, name: str) -> Unit:
        listening = self._listening if "web" in name else None
        kind = f"{name[:-1]}.service" if "@" in name else f"{name}.service"
        return Unit(kind, self.current, self.environment(), self._log, listening)

    def install(self, release: Path) -> None:
        """Migrate the database with a release, then make it the current one."""
        command = [sys.executable, str(release / "manage.py"), "migrate", "--verbosity", "0"]
        subprocess.run(command, env=self.environment(), check=True)
        self.current.unlink(missing_ok=True)
        self.current.symlink_to(release)

    def start(self) -> None:
        for unit in self.units.values():
            unit.start()
        self.wait_until_ready()

    def stop(self) -> int:
        for unit in self.units.values():
            unit.ask_to_stop()
        for unit in self.units.values():
            unit.wait()
        self._listening.close()
        return 0


@contextmanager
def load(service: Service) -> Iterator[dict[str, str]]:
    """Submit a manuscript every second while the block runs. Yields the answer of each jobId."""
    service.archive.add("up", "load", quick.repository())
    answers: dict[str, str] = {}
    done = threading.Event()

    def send() -> None:
        while not done.wait(1):
            name = f"load-{len(answers)}"
            answers[name] = _answer(service, submission(name, "up/load", exports=quick.EXPORTS))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield answers
    finally:
        done.set()
        sender.join()


def _answer(service: Service, body: dict[str, Any]) -> str:
    headers = {"X-Internal-Secret": SECRET, "Connection": "close"}
    try:
        return str(requests.post(f"{service.url}{SUBMISSIONS}", json=body, headers=headers, timeout=120).status_code)
    except requests.RequestException as error:
        return str(error)


def test_the_release_before_is_upgraded_to_this_one_under_load(tmp_path: Path, valkey: str) -> None:
    """With the commands of the systemd units, and releases in folders beside each other: no page fails, no build is lost or fails."""
    before = release_before(tmp_path / "releases" / "before")
    now = this_release(tmp_path / "releases" / "now")
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        service = Installed(tmp_path, before, archive, desci, REDIS_URL=valkey, STOP_GRACE="300")
        try:
            service.start()
            post_held(service, "held")
            visitor = make_visitor(service, pk_of(service, "held"))
            with load(service) as answers, visitor:
                wait_until(lambda: visitor.rounds > 1 and len(answers) > 3)
                service.install(now)
                upgrade(service)
                rounds, sent = visitor.rounds, len(answers)
                wait_until(lambda: visitor.rounds > rounds + 1 and len(answers) > sent + 3)
            check_after(service, [*answers, "held"])
        finally:
            service.stop()
    assert set(answers.values()) == {"202"}
    assert visitor.failed == []
    assert set(visitor.codes.values()) == {200}


def upgrade(service: Installed) -> None:
    """Restart the units one by one, as the manual says. The build that is held runs on the old worker all the time."""
    *others, first, second = service.units.values()
    for unit in others:
        unit.restart()
    for worker in (first, second):
        worker.ask_to_stop()
    let_go(service, "held")
    for worker in (first, second):
        assert worker.wait() == 0, service.output()
        worker.start()


def check_after(service: Service, job_ids: list[str]) -> None:
    for job_id in job_ids:
        service.wait(job_id, "succeeded")
        assert len(attempts(service, job_id)) == 1, service.status(job_id)
        check_one_final(service, job_id)


def rename_in(release: Path, name: str, *, old: str, new: str) -> None:
    path = release / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("has_server", [True, False], ids=["with a fork server", "without"])
def test_new_files_in_the_place_of_the_old_ones_break_no_page_and_fail_no_build(tmp_path: Path, *, has_server: bool) -> None:
    """The readers of the running build are forks of its own release, and it goes on. Without a fork server it starts programs of both
    releases and can't go on: it is queued again, and a worker of the new release builds it."""
    release = this_release(tmp_path / "release")
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        settings = {"BUILD_COMMAND": quick.COMMAND, "WORKERS": "1"}
        service = Service(tmp_path / "data", archive, desci, **settings)
        service.release = release
        service.start()
        try:
            post_held(service, "held")
            with make_visitor(service, pk_of(service, "held")) as visitor:
                replace_files(release)
                if not has_server:
                    end_fork_servers(service)
                let_go(service, "held")
                service.wait("held", "succeeded")
                rounds = visitor.rounds
                wait_until(lambda: visitor.rounds > rounds + 1)
                wait_until(lambda: "another release was installed" in service.whole_output())
            *failed, last = attempts(service, "held")
            check_one_final(service, "held")
        finally:
            service.stop()
    assert visitor.failed == []
    causes = [(each["cause"]["code"], each["cause"]["fault"]) for each in failed]
    assert causes == ([] if has_server else [("release-replaced", "service")])
    assert last["state"] == "succeeded"
    assert "another release was installed: this worker ends" in service.whole_output()


def end_fork_servers(service: Service) -> None:
    assert service.process is not None
    for process in psutil.Process(service.process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if any(word.endswith("fork_server.py") for word in process.cmdline()):
                process.kill()


def replace_files(release: Path) -> None:
    """A release whose sandbox gives its helper a plan with other names, and whose templates need a tag that the old one does not have."""
    rename_in(release, "builds/engine/sandbox/sandbox.py", old='"cwd": str(cwd)', new='"folder": str(cwd)')
    rename_in(release, "builds/engine/tools/enter.py", old='["cwd"]', new='["folder"]')
    for template in (release / "templates").rglob("*.html"):
        template.write_text("{% load tags_of_the_new_release %}")


@contextmanager
def locked(service: Service) -> Iterator[None]:
    """Hold the lock that a migration holds: SQLite's one write lock, or the table of the builds in PostgreSQL."""
    address = service.database.get("DATABASE_URL")
    if address:
        with psycopg.connect(address) as migration:
            migration.execute("LOCK TABLE builds_build IN ACCESS EXCLUSIVE MODE")
            yield
        return
    with closing(sqlite3.connect(service.data_dir / "jobsite.sqlite3", timeout=60, isolation_level=None)) as file:
        file.execute("BEGIN IMMEDIATE")
        yield
        file.execute("ROLLBACK")


def test_a_migration_that_locks_the_database_costs_no_build_its_lease(tmp_path: Path) -> None:
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        service = Service(tmp_path / "data", archive, desci, BUILD_COMMAND=quick.COMMAND, WORKERS="1", LEASE_SECONDS="2")
        service.start()
        try:
            post_held(service, "held")
            with locked(service):
                time.sleep(12)  # the lease alone holds for two seconds, and its worker waits five more before it stops the build
            let_go(service, "held")
            check_after(service, ["held"])
        finally:
            service.stop()
    assert "could not renew its lease, because the database is locked" in service.whole_output()
