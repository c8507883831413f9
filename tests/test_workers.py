"""A worker's sign of life: written by the real program, idle and while it builds, gone with it, and swept when it was killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from redis import Redis
from rq.job import Job

from builds import isolation, queue, queue_control, workers
from builds.models import Build, State
from builds.queue_models import SILENT_AFTER, Worker
from tests.rows import submit

pytestmark = pytest.mark.django_db


def signed(name: str = "host:1", *, ago: timedelta = timedelta(0), ending: bool = False) -> Worker:
    worker = Worker(name=name, host="host", pid=os.getpid(), started_at=timezone.now(), ending=ending)
    workers.sign(worker)
    Worker.objects.filter(pk=name).update(seen_at=timezone.now() - ago)
    return worker


def test_a_sign_says_that_the_worker_is_alive_and_what_it_uses() -> None:
    signed()
    worker = Worker.objects.get()
    assert not worker.is_silent
    assert worker.memory_bytes > 10_000_000


def test_each_sign_renews_the_same_row_also_when_it_was_swept() -> None:
    worker = signed()
    workers.sign(worker)
    assert Worker.objects.count() == 1
    Worker.objects.all().delete()
    workers.sign(worker)
    assert Worker.objects.get() == worker


def test_who_takes_builds_is_alive_and_not_told_to_stop() -> None:
    signed("alive"), signed("ending", ending=True), signed("silent", ago=SILENT_AFTER + timedelta(seconds=1))
    assert [worker.name for worker in workers.taking_builds()] == ["alive"]


def test_only_those_that_are_silent_for_long_are_swept() -> None:
    signed("alive"), signed("silent", ago=SILENT_AFTER * 2), signed("dead", ago=workers.FORGOTTEN_AFTER * 2)
    workers.forget_silent()
    assert [worker.name for worker in Worker.objects.all()] == ["alive", "silent"]


def test_a_worker_that_ends_removes_its_own_row_only() -> None:
    before = signed()
    Worker.objects.update(started_at=timezone.now() + timedelta(minutes=1))  # another took its name, and its process id
    workers.sign_off(before)
    assert Worker.objects.count() == 1
    after = Worker.objects.get()
    workers.sign_off(after)
    assert Worker.objects.count() == 0


def test_a_process_that_has_ended_uses_no_memory() -> None:
    assert workers.memory_of_tree(2**22 + 1) == 0


# --- the program


def environment(address: str) -> dict[str, str]:
    name = str(connection.settings_dict["NAME"])
    database = f"sqlite:///{name}" if connection.vendor == "sqlite" else f"{settings.DATABASE_URL.rpartition('/')[0]}/{name}"
    nowhere = {
        "DJANGO_SETTINGS_MODULE": "jobsite.settings",
        "GITHUB_URL": "http://127.0.0.1:1",
        "DESCI_SERVER_URL": "http://127.0.0.1:1",
        "REQUIRE_DECLARED_EXPORTS": "1",
    }
    return {**os.environ, "DATABASE_URL": database, "REDIS_URL": address, "WORKER_NAME": "host", **nowhere}


@pytest.fixture
def program(store: Redis) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts the worker's program, and waits for its first sign of life."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "worker"]
        child = subprocess.Popen(command, env=environment(settings.REDIS_URL), start_new_session=True)
        started.append(child)
        wait_until(Worker.objects.filter(pid=child.pid).exists)
        return child

    yield start
    for child in started:
        child.kill()
        child.wait(20)


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


Program = Callable[[], "subprocess.Popen[bytes]"]


@pytest.mark.django_db(transaction=True)
def test_a_worker_gives_signs_while_it_waits_and_is_gone_when_it_has_ended(program: Program) -> None:
    child = program()
    first = Worker.objects.get()
    assert (first.name, first.host, first.ending) == (f"host:{child.pid}", socket.gethostname(), False)
    assert {"sandbox": first.sandbox, "cgroups": first.cgroups, "isolation_notes": first.isolation_notes} == isolation.of_worker()
    wait_until(Worker.objects.filter(seen_at__gt=first.seen_at).exists)
    child.terminate()
    assert child.wait(20) == 0
    assert not Worker.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_sign_of_a_killed_worker_stays_for_those_who_look_for_it(program: Program) -> None:
    child = program()
    child.kill()
    child.wait(20)
    assert [worker.pid for worker in Worker.objects.all()] == [child.pid]


@pytest.mark.django_db(transaction=True)
def test_a_worker_starts_nothing_while_the_queue_is_paused_and_at_once_when_it_is_resumed(program: Program) -> None:
    queue_control.pause(actor="ada", reason="New templates.")
    build = submit().newest_build()
    program()
    wait_until(
        lambda: queue.builds().get_job_ids() == [] and not Job.exists(str(build.pk), connection=queue.hurried_connection())
    )
    build.refresh_from_db()
    assert build.state == State.QUEUED
    queue_control.resume(actor="ada")
    wait_until(Build.objects.filter(pk=build.pk, state=State.FAILED, cause_code="exports-not-declared").exists)
    assert Build.objects.get(pk=build.pk).worker == Worker.objects.get().name


def test_a_work_horse_needs_no_file_of_ours_any_more() -> None:
    """A worker of one release, forking while the next one is being installed, must not read of that one."""
    look = (
        "import sys, builds.management.commands.worker, builds.queue; print(builds.queue.TASK.rpartition('.')[0] in sys.modules)"
    )
    command = [sys.executable, "-c", f"import django; django.setup(); {look}"]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "True\n"
