"""Faults of the real service: whatever is killed, stopped or flushed, each submission ends once and leaves no process behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis import Redis

from builds.engine.process.tree import strays
from jobsite import embedded
from tests.e2e.conftest import FINAL, SECRET, Service, in_django
from tests.e2e.test_stories import submission
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick
from tests.support.waiting import SECONDS, wait_until

pytestmark = pytest.mark.e2e

SETTINGS = {"BUILD_COMMAND": quick.COMMAND, "LEASE_SECONDS": "3", "WORKERS": "2"}
# Processes that are hard to end: one ignores SIGTERM, one has its own session, one has also dropped its environment.
STUBBORN = """
(trap '' TERM; while true; do sleep 7{mark}; done) &
setsid -f sleep 7{mark}
env -i setsid -f sleep 7{mark}
"""


@pytest.fixture(scope="module")
def quick_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that runs a script of the repository as the build."""
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        running = Service(tmp_path_factory.mktemp("faults") / "data", archive, desci, **SETTINGS)
        running.start()
        yield running
        running.stop()


def post(service: Service, job_id: str, before: str = "", *, once: str = "") -> None:
    """Submit a repository whose build runs ``before``; ``once`` only until :func:`not_again`."""
    if once:
        before = f"if [ ! -e {service.gates / job_id} ]; then\n{once}\nfi"
    service.archive.add("faults", job_id, quick.repository(before))
    service.post(submission(job_id, f"faults/{job_id}", exports=quick.EXPORTS))


def not_again(service: Service, job_id: str) -> None:
    (service.gates / job_id).touch()


def running_with(mark: str) -> list[psutil.Process]:
    """All processes of the build with this mark."""
    found = []
    for candidate in psutil.process_iter():
        with suppress(psutil.Error):
            if f"7{mark}" in candidate.cmdline() and candidate.status() != psutil.STATUS_ZOMBIE:
                found.append(candidate)
    return found


def wait_for_stage(service: Service, mark: str, count: int = 3) -> None:
    wait_until(lambda: len(running_with(mark)) >= count, service.output)


def workers(service: Service) -> list[psutil.Process]:
    assert service.process is not None
    found = []
    for child in psutil.Process(service.process.pid).children():
        with suppress(psutil.Error):
            if child.cmdline()[-1:] == ["worker"]:
                found.append(child)
    return found


def work_horse(service: Service, mark: str) -> psutil.Process:
    """The work-horse that runs the build with this mark: the ancestor of the build's processes."""
    ours = {process.pid for process in running_with(mark)}
    for worker in workers(service):
        for horse in worker.children():
            with suppress(psutil.Error):
                if ours & {child.pid for child in horse.children(recursive=True)}:
                    return horse
    raise AssertionError(service.output())


def attempts(service: Service, job_id: str) -> list[dict[str, Any]]:
    return sorted(service.status(job_id)["attempts"], key=lambda attempt: int(attempt["number"]))


def check_one_final(service: Service, job_id: str, final: str = "COMPLETED") -> None:
    """desci-server has received one final status, as the last update, and the files if it is a success."""
    service.desci.wait_for(lambda server: server.statuses(job_id)[-1:] == [final], timeout=SECONDS)
    assert [status for status in service.desci.statuses(job_id) if status != "IN_PROGRESS"] == [final]
    assert "PENDING" not in [update.status for update in service.desci.updates[job_id]]
    assert bool(service.desci.deliveries[job_id]) is (final == "COMPLETED")


def queue_store(service: Service) -> psutil.Process:
    assert service.process is not None
    return next(child for child in psutil.Process(service.process.pid).children() if "valkey" in child.name())


def flush_queue_store(service: Service) -> None:
    with Redis.from_url(embedded.redis_url(service.data_dir)) as store:
        store.flushall()


@pytest.mark.parametrize("whom", ["worker", "work-horse", "both"])
def test_a_killed_worker_or_work_horse_loses_no_build(quick_service: Service, whom: str) -> None:
    """No process of the build is left, and a second attempt delivers it."""
    job_id, mark = f"killed-{whom}", f"{len(whom)}001"
    post(quick_service, job_id, once=f"{STUBBORN.format(mark=mark)}\nsleep 600")
    wait_for_stage(quick_service, mark)
    not_again(quick_service, job_id)
    horse = work_horse(quick_service, mark)
    worker = horse.parent()
    assert worker is not None
    for victim in {"worker": [worker], "work-horse": [horse], "both": [worker, horse]}[whom]:
        victim.kill()
    quick_service.wait(job_id, "succeeded", timeout=SECONDS)
    wait_until(lambda: not running_with(mark), quick_service.output)
    first, second = attempts(quick_service, job_id)
    assert first["state"] == "failed"
    assert first["cause"]["code"] in ("worker-lost", "worker-stopped")
    assert (first["cause"]["fault"], second["state"]) == ("service", "succeeded")
    check_one_final(quick_service, job_id)
    if whom == "work-horse":
        wait_until(lambda: quick_service.scrape().total("jobsite_work_horses_exited_total", exit="SIGKILL") == 1)


def test_a_build_is_shown_as_cancelled_only_when_none_of_its_processes_runs(quick_service: Service) -> None:
    mark = "2002"
    post(quick_service, "cancelled", f"{STUBBORN.format(mark=mark)}\ntrap '' TERM\nwhile true; do sleep 600; done")
    wait_for_stage(quick_service, mark)
    answer = quick_service.call("POST", "/cancelled/cancel", json={"reason": "Wrong branch."})
    assert answer.status_code < 300, answer.text
    states = set()

    def is_cancelled() -> bool:
        state = quick_service.status("cancelled")["state"]
        states.add(state)
        return bool(state == "cancelled")

    wait_until(is_cancelled, quick_service.output)
    assert running_with(mark) == []
    assert "running" in states, "the request alone is no end"
    check_one_final(quick_service, "cancelled", "FAILED")
    assert "Wrong branch." in quick_service.desci.updates["cancelled"][-1].message


def test_a_flushed_queue_store_loses_no_submission(quick_service: Service) -> None:
    names = [f"flushed-{number}" for number in range(6)]
    for name in names:
        post(quick_service, name, "sleep 0.5")
    flush_queue_store(quick_service)
    for name in names:
        quick_service.wait(name, "succeeded", timeout=SECONDS)
        check_one_final(quick_service, name)
        assert len(attempts(quick_service, name)) == 1


def test_a_build_continues_while_the_queue_store_is_down(quick_service: Service) -> None:
    """The queue store is down for longer than RQ's interval between two signs of life."""
    gate = quick_service.gates / "gate"
    post(quick_service, "storeless", f"until [ -e {gate} ]; do sleep 0.1; done")
    wait_until(lambda: quick_service.status("storeless")["state"] == "running")
    killed = queue_store(quick_service)
    killed.kill()
    wait_until(lambda: queue_store_is_back(quick_service, killed.pid), quick_service.output)
    gate.touch()
    quick_service.wait("storeless", "succeeded", timeout=SECONDS)
    assert len(attempts(quick_service, "storeless")) == 1
    check_one_final(quick_service, "storeless")


def queue_store_is_back(service: Service, before: int) -> bool:
    with suppress(StopIteration, psutil.Error):
        return queue_store(service).pid != before
    return False


def test_submissions_are_accepted_while_the_queue_store_hangs(quick_service: Service) -> None:
    hung = queue_store(quick_service)
    hung.suspend()
    try:
        quick_service.archive.add("faults", "hung", quick.repository())
        body = submission("hung", "faults/hung", exports=quick.EXPORTS)
        answer = quick_service.call("POST", json=body)  # desci-server gives up after 10 s
        assert answer.status_code == 202
        assert answer.elapsed.total_seconds() < 10
    finally:
        hung.resume()
    quick_service.wait("hung", "succeeded", timeout=SECONDS)
    check_one_final(quick_service, "hung")


def test_as_many_builds_run_at_once_as_there_are_workers(quick_service: Service) -> None:
    gate = quick_service.gates / "workers"
    names = [f"at-once-{number}" for number in range(3)]
    for name in names:
        post(quick_service, name, f"until [ -e {gate} ]; do sleep 0.1; done")

    def states() -> list[str]:
        return sorted(quick_service.status(name)["state"] for name in names)

    wait_until(lambda: states() == ["queued", "running", "running"], quick_service.output)
    for _ in range(10):
        assert states() == ["queued", "running", "running"]
    gate.touch()
    for name in names:
        quick_service.wait(name, "succeeded", timeout=SECONDS)


@pytest.mark.parametrize(("taken", "words"), [("port", "can't be used"), ("folder", "already running on")])
def test_a_failed_start_says_why(quick_service: Service, tmp_path: Path, taken: str, words: str) -> None:
    folder = quick_service.data_dir if taken == "folder" else tmp_path / "data"
    second = Service(folder, quick_service.archive, quick_service.desci, **SETTINGS)
    second._log = tmp_path / "log"
    if taken == "port":
        second.port = quick_service.port
    with pytest.raises(AssertionError, match="has ended"):
        second._is_ready = lambda: False  # type: ignore[method-assign]
        second.start()
    assert second.process is not None
    assert second.process.wait(SECONDS) == 1
    assert words in second.output()
    assert "Traceback" not in second.output()


def everything(service: Service) -> list[psutil.Process]:
    assert service.process is not None
    top = psutil.Process(service.process.pid)
    return [top, *top.children(recursive=True)]


def test_killing_and_stopping_the_whole_service_loses_nothing(tmp_path: Path) -> None:
    """First as if the machine lost power, then stopped by an operator during a build, and started again."""
    names = [f"whole-{number}" for number in range(4)]
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        service = Service(tmp_path / "data", archive, desci, **SETTINGS)
        service.start()
        try:
            for number, name in enumerate(names):
                post(service, name, once=f"{STUBBORN.format(mark=f'4{number}04')}\nsleep 600" if number < 2 else "sleep 0.1")
            for name, mark in zip(names[:2], ("4004", "4104"), strict=True):
                wait_for_stage(service, mark)
                not_again(service, name)
            shown = service.log(names[0]).splitlines()
            for victim in everything(service):
                with suppress(psutil.NoSuchProcess):
                    victim.kill()
            assert service.process is not None
            service.process.wait(SECONDS)
            service.start()
            for name in names:
                service.wait(name, "succeeded", timeout=SECONDS)
                check_one_final(service, name)
            first = service.call("GET", f"/{names[0]}/log", params={"attempt": 1}).text.splitlines()
            assert first[: len(shown)] == shown
            stopped_during_a_build(service)
        finally:
            if service.process and service.process.poll() is None:
                service.stop()


def stopped_during_a_build(service: Service) -> None:
    mark = "5005"
    post(service, "stopped", once=f"{STUBBORN.format(mark=mark)}\nsleep 600")
    wait_for_stage(service, mark)
    not_again(service, "stopped")
    before = everything(service)
    assert service.process is not None
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(SECONDS) == 0
    assert running_with(mark) == []
    assert [process for process in before if process.is_running()] == []
    service.start()
    service.wait("stopped", "succeeded", timeout=SECONDS)
    assert [attempt["state"] for attempt in attempts(service, "stopped")] == ["failed", "succeeded"]
    assert attempts(service, "stopped")[0]["cause"]["code"] == "worker-stopped"
    check_one_final(service, "stopped")


def test_two_undeliverable_papers_leave_the_queue_moving(tmp_path: Path) -> None:
    """With one worker, and the patience of 15 minutes that is the default."""
    held, others = ["undeliverable-1", "undeliverable-2"], [f"deliverable-{number}" for number in range(4)]
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        service = Service(tmp_path / "data", archive, desci, **{**SETTINGS, "WORKERS": "1"})
        try:
            service.start()
            for job_id in held:
                desci.fail(503, where=f"{job_id}/receiveFiles")
                post(service, job_id)
            for job_id in held:
                wait_until(lambda: attempts(service, job_id)[0]["state"] == "failed", service.output)  # noqa: B023 - called at once
            for job_id in others:
                post(service, job_id)
            for job_id in others:
                service.wait(job_id, "succeeded", timeout=SECONDS)
                check_one_final(service, job_id)
                assert len(attempts(service, job_id)) == 1
            for job_id in held:
                assert service.status(job_id)["state"] not in FINAL
                assert {attempt["cause"]["code"] for attempt in attempts(service, job_id)[:-1]} == {"desci-server-down"}
            desci.end_faults()
            for job_id in held:
                service.wait(job_id, "succeeded", timeout=SECONDS)
                check_one_final(service, job_id)
        finally:
            if service.process and service.process.poll() is None:
                service.stop()


def test_the_metrics_agree_with_the_record_to_the_last_one(quick_service: Service, tmp_path: Path) -> None:
    """Whatever the other tests have done to this service: killed workers and work-horses, lost the queue store."""
    before = quick_service.scrape()
    post(quick_service, "counted", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
    post(quick_service, "counted-failure", "exit 3")
    quick_service.wait("counted", "succeeded", timeout=SECONDS)
    quick_service.wait("counted-failure", "failed", timeout=SECONDS)
    wait_until(lambda: quick_service.scrape().is_at_rest, quick_service.output)
    after = quick_service.scrape()
    assert after("jobsite_submissions_total") - before("jobsite_submissions_total") == 2
    name = "jobsite_build_processor_seconds_total"
    assert after(name) > before(name)
    assert after("jobsite_workers", state="accepting") > 0
    assert after.total("jobsite_worker_processor_seconds_total") > 0
    (tmp_path / "scrape").write_text(after.text)
    script = f"""
from tests.support.counted import check_agrees
from tests.support.scraping import Scrape
check_agrees(Scrape(open({str(tmp_path / "scrape")!r}).read()))
print("agrees")
"""
    assert in_django(quick_service, script).strip() == "agrees"


def test_ended_builds_leave_nothing_behind(quick_service: Service) -> None:
    """After all tests above: no unfinished build, no process with a marker, no workspace in use."""
    listed = quick_service.desci.updates
    for job_id in list(listed):
        assert quick_service.status(job_id)["state"] in FINAL
    builds = {folder.name for folder in (quick_service.data_dir / "exports").glob("*")}
    assert not builds & set(strays())
