"""A worker's sign of life: the program writes it, idle or busy, and deletes it at its end. That of a killed worker is deleted later."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from redis import Redis
from rq.exceptions import StopRequested
from rq.job import Job

from builds.lib import release
from builds.lifecycle import pausing
from builds.models import SILENT_AFTER, Build, State, Worker
from builds.pipeline import isolation
from builds.queue import store as queue_store
from builds.queue import workers
from builds.service.worker import JobsiteWorker
from tests.support.counted import scrape_here
from tests.support.rows import submit
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db


def alive(name: str = "host:1", *, ago: timedelta = timedelta(0), ending: bool = False) -> Worker:
    worker = Worker(name=name, host="host", pid=os.getpid(), started_at=timezone.now(), ending=ending)
    workers.report_alive(worker)
    Worker.objects.filter(pk=name).update(seen_at=timezone.now() - ago)
    return worker


def test_a_sign_of_life_holds_the_time_and_the_memory_in_use() -> None:
    alive()
    worker = Worker.objects.get()
    assert not worker.is_silent
    assert worker.memory_bytes > 10_000_000
    # The four parts may have been added in another order: more by a rounding error, not by a clock tick.
    assert 0 < worker.processor_seconds < sum(os.times()[:4]) + 0.01


def test_the_processor_time_of_a_worker_never_goes_back() -> None:
    """A process that ends while its tree is measured is missed."""
    worker = alive()
    worker.processor_seconds = 1e9
    workers.report_alive(worker)
    assert Worker.objects.get().processor_seconds == 1e9


def test_each_sign_of_life_renews_the_same_row_or_makes_it_again() -> None:
    worker = alive()
    workers.report_alive(worker)
    assert Worker.objects.count() == 1
    Worker.objects.all().delete()
    workers.report_alive(worker)
    assert Worker.objects.get() == worker


def test_silent_and_ending_workers_do_not_take_builds() -> None:
    alive("alive"), alive("ending", ending=True), alive("silent", ago=SILENT_AFTER + timedelta(seconds=1))
    assert [worker.name for worker in workers.taking_builds()] == ["alive"]


def test_only_workers_that_are_silent_for_long_are_deleted() -> None:
    alive("alive"), alive("silent", ago=SILENT_AFTER * 2), alive("dead", ago=workers.FORGOTTEN_AFTER * 2)
    workers.forget_silent()
    assert [worker.name for worker in Worker.objects.all()] == ["alive", "silent"]


def test_a_worker_that_ends_removes_its_own_row_only() -> None:
    before = alive()
    Worker.objects.update(started_at=timezone.now() + timedelta(minutes=1))  # a later worker has the same name and process id
    workers.report_end(before)
    assert Worker.objects.count() == 1
    after = Worker.objects.get()
    workers.report_end(after)
    assert Worker.objects.count() == 0


def test_a_process_that_has_ended_uses_no_memory() -> None:
    assert workers.measure_tree(2**22 + 1) == (0, 0)


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
    """Starts the worker's program and waits for its first sign of life."""
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


Program = Callable[[], "subprocess.Popen[bytes]"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_an_idle_worker_gives_signs_of_life_and_deletes_its_row_at_its_end(program: Program) -> None:
    child = program()
    first = Worker.objects.get()
    assert (first.name.rpartition("-")[0], first.host, first.ending) == (f"host:{child.pid}", socket.gethostname(), False)
    assert {
        "sandbox": first.sandbox,
        "cgroups": first.cgroups,
        "isolation_notes": first.isolation_notes,
    } == isolation.worker_columns()
    wait_until(Worker.objects.filter(seen_at__gt=first.seen_at).exists)
    child.terminate()
    assert child.wait(20) == 0
    assert not Worker.objects.exists()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_row_of_a_killed_worker_stays_for_a_while(program: Program) -> None:
    child = program()
    child.kill()
    child.wait(20)
    assert [worker.pid for worker in Worker.objects.all()] == [child.pid]


def in_queue_store(build: Build) -> bool:
    job_id = str(build.pk)
    return bool(queue_store.build_queue().get_job_ids()) or Job.exists(job_id, connection=queue_store.fail_fast_connection())


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_a_paused_worker_starts_nothing_and_a_resumed_one_starts_at_once(program: Program) -> None:
    pausing.pause(actor="ada", reason="New templates.")
    build = submit().newest_build()
    program()
    wait_until(lambda: not in_queue_store(build))
    build.refresh_from_db()
    assert build.state == State.QUEUED
    pausing.resume(actor="ada")
    wait_until(Build.objects.filter(pk=build.pk, state=State.FAILED, cause_code="exports-not-declared").exists)
    assert Build.objects.get(pk=build.pk).worker == Worker.objects.get().name
    # While the queue was paused, the worker has started no work-horse.
    wait_until(lambda: scrape_here()("jobsite_work_horses_exited_total", exit="0") == 1)
    assert scrape_here()("jobsite_work_horses_spawned_total") == 1


def test_a_work_horse_loads_no_more_of_our_files() -> None:
    """A worker that forks while the next release is being installed must not load files of that release."""
    look = "from builds.queue import jobs; print(jobs.TASK.rpartition('.')[0] in sys.modules)"
    command = [sys.executable, "-c", f"import sys, django; django.setup(); import builds.management.commands.worker; {look}"]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "True\n"


def test_a_worker_ends_for_another_release_before_it_takes_a_job_and_not_after(
    store: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RQ puts a job back that nobody executes, but only after a minute."""
    worker: Any = JobsiteWorker([queue_store.build_queue()], connection=store, name="any")
    monkeypatch.setattr(worker, "_write_row", lambda write: None)
    monkeypatch.setattr(release, "has_changed", lambda: True)
    worker.last_cleaned_at = datetime.now(UTC)
    queue_store.enqueue("some-build")
    job, _queue = worker.dequeue_job_and_maintain_ttl(1)
    assert job.id == "some-build"
    with pytest.raises(StopRequested):
        worker.run_maintenance_tasks()
