"""A work-horse that hangs: its worker ends it and its build, with the right cause, and takes the next build."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from redis import Redis

from builds import lifecycle
from builds.models import Build, Stage, State
from builds.record import logs
from tests.service.test_worker import environment
from tests.support.rows import submit
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

EXPORTS = [{"format": "meca", "output": "exports/article.meca.zip"}]


class Bench:
    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, kind: str, number: int = 0, settings: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a worker that hangs in its first stage."""
        more = {
            "HORSE_FILE": str(self.folder / f"horse-{number}"),
            "REQUIRE_DECLARED_EXPORTS": "0",
            "GRACE": "1",
            **(settings or {}),
        }
        command = [sys.executable, "-m", "tests.service.hung_worker", kind]
        child = subprocess.Popen(
            command, env=environment(self.address) | more, cwd=django_settings.BASE_DIR, start_new_session=True
        )
        self.started.append(child)
        return child

    def horse(self, number: int = 0) -> psutil.Process:
        """The work-horse, once it hangs."""
        file = self.folder / f"horse-{number}"
        wait_until(lambda: file.exists() and file.read_text())
        return psutil.Process(int(file.read_text()))


@pytest.fixture
def bench(store: Redis, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, django_settings.REDIS_URL)
    yield bench
    for child in bench.started:
        children = psutil.Process(child.pid).children(recursive=True) if child.poll() is None else []
        child.kill()
        for process in children:
            process.kill()
        child.wait(20)
    for process in psutil.process_iter():  # the work-horses that a worker left
        with suppress(psutil.Error):
            if process.environ().get("HORSE_FILE", "").startswith(str(tmp_path)):
                process.kill()


def queued(job_id: str = "job-1") -> Build:
    return submit(job_id, exports=EXPORTS).newest_build()


def wait_for_end(build: Build) -> Build:
    wait_until(lambda: not Build.objects.unfinished().filter(pk=build.pk).exists())
    return Build.objects.get(pk=build.pk)


def lines(build: Build) -> list[str]:
    return [line.text for line in logs.read(build)]


@pytest.mark.parametrize("kind", ["python", "c", "kernel", "stopped", "command"])
def test_a_cancel_ends_a_hung_build(bench: Bench, kind: str) -> None:
    build = queued()
    bench.start(kind)
    horse = bench.horse()
    command = horse.children()
    lifecycle.request_cancel(build, actor="ada", reason="It hangs.")
    build = wait_for_end(build)
    assert not any(process.is_running() for process in [horse, *command])
    assert len(command) == (kind == "command")
    assert (build.state, build.cause_code) == (State.CANCELLED, "")
    assert [(stage.name, stage.state) for stage in build.stages.all()] == [("fetch", Stage.State.CANCELLED)]
    assert lines(build)[0] == "Now it hangs."
    assert lines(build)[-2:] == [
        "The build did not stop on its own, so the worker killed its processes.",
        "Cancelled by ada: It hangs.",
    ]
    assert build.submission.builds.count() == 1


@pytest.mark.parametrize("kind", ["python", "c", "stopped"])
@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("STAGE_TIMEOUT", "The fetch stage exceeded its time limit of 1.0 s."),
        ("ATTEMPT_TIMEOUT", "The attempt exceeded its time limit of 1.0 s. It ended in the fetch stage."),
    ],
)
def test_a_time_limit_ends_a_hung_build(bench: Bench, kind: str, setting: str, sentence: str) -> None:
    build = queued()
    bench.start(kind, settings={setting: "1"})
    horse = bench.horse()
    build = wait_for_end(build)
    assert (build.state, build.cause_code, build.cause) == (State.FAILED, "fetch-timeout", sentence)
    assert not horse.is_running()
    assert [(stage.name, stage.state) for stage in build.stages.all()] == [("fetch", Stage.State.FAILED)]
    assert lines(build)[-2].endswith("so the worker killed its processes.")
    assert lines(build)[-1].startswith(sentence)
    again = build.submission.newest_build()
    assert (again.state, again.automatic, bool(again.not_before)) == (State.QUEUED, True, True), (
        "as after the work-horse's own timeout"
    )


@pytest.mark.parametrize("kind", ["c", "stopped"])
def test_a_hung_build_is_not_lost_before_its_limit(bench: Bench, kind: str) -> None:
    build = queued()
    bench.start(kind, settings={"LEASE_SECONDS": "3"})
    bench.horse()
    hung_at = time.monotonic()
    while time.monotonic() < hung_at + 9:
        assert Build.objects.filter(pk=build.pk, state=State.RUNNING, lease_expires_at__gt=timezone.now()).exists()
        time.sleep(0.2)


def test_two_hung_builds_do_not_stop_a_third(bench: Bench) -> None:
    hung = [queued("job-1"), queued("job-2")]
    for number in (0, 1):
        bench.start("c", number, settings={"STAGE_TIMEOUT": "8"})
    wait_until(lambda: Build.objects.filter(state=State.RUNNING).count() == 2)
    third = queued("job-3")
    assert [wait_for_end(build).cause_code for build in hung] == ["fetch-timeout", "fetch-timeout"]
    wait_until(Build.objects.filter(pk=third.pk, started_at__isnull=False).exists)


def test_a_build_that_was_ended_by_another_process_loses_its_work_horse(bench: Bench) -> None:
    build = queued()
    worker = bench.start("stopped")
    horse = bench.horse()
    worker.send_signal(signal.SIGSTOP)
    Build.objects.filter(pk=build.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    lifecycle.lose(Build.objects.get(pk=build.pk))
    worker.send_signal(signal.SIGCONT)
    wait_until(lambda: not horse.is_running())
    build.refresh_from_db()
    assert build.cause_code == "worker-lost"
    assert worker.poll() is None, "the worker takes the next build"


def test_a_stopped_worker_does_not_lose_its_build(bench: Bench) -> None:
    build = queued()
    worker = bench.start("python", settings={"LEASE_SECONDS": "3"})
    bench.horse()
    worker.send_signal(signal.SIGSTOP)
    stopped_at = time.monotonic()
    while time.monotonic() < stopped_at + 8:
        assert Build.objects.filter(pk=build.pk, state=State.RUNNING, lease_expires_at__gt=timezone.now()).exists()
        time.sleep(0.2)
    worker.send_signal(signal.SIGCONT)


def test_a_worker_that_must_stop_hands_over_its_hung_build(bench: Bench) -> None:
    build = queued()
    worker = bench.start("c")
    horse = bench.horse()
    worker.send_signal(signal.SIGUSR1)
    build = wait_for_end(build)
    assert build.cause_code == "worker-stopped"
    assert not horse.is_running()
    assert build.submission.newest_build().state == State.QUEUED


def test_a_work_horse_that_hangs_after_the_end_of_its_build_is_killed(bench: Bench) -> None:
    build = queued()
    worker = bench.start("end")
    horse = bench.horse()
    wait_until(lambda: not horse.is_running())
    build.refresh_from_db()
    assert (build.state, worker.poll()) == (State.FAILED, None), "the worker takes the next build"


def test_a_worker_goes_on_without_a_work_horse_that_cannot_be_killed(bench: Bench) -> None:
    """Its build ends as usual, with all other processes, and the worker takes the next build."""
    build = queued()
    worker = bench.start("disk")
    horse = bench.horse()
    [command] = horse.children()
    lifecycle.request_cancel(build, actor="ada", reason="It hangs.")
    build = wait_for_end(build)
    assert build.state == State.CANCELLED
    assert horse.is_running()
    assert not command.is_running() or command.status() == psutil.STATUS_ZOMBIE
    second = queued("job-2")
    wait_until(Build.objects.filter(pk=second.pk, state=State.RUNNING, stages__name="fetch").exists)
    assert worker.poll() is None
    wait_until(lambda: bench.horse() != horse)  # which hangs in the same way
    worker.send_signal(signal.SIGUSR1)
    worker.wait(60)
    for left in (horse, bench.horse()):
        left.kill()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_worker_that_must_stop_does_not_wait_for_ever_for_such_a_work_horse(bench: Bench, number: signal.Signals) -> None:
    queued()
    worker = bench.start("disk", settings={"STOP_GRACE": "1"})
    horse = bench.horse()
    worker.send_signal(number)
    worker.wait(120)
    assert horse.is_running()
    horse.kill()
