"""A rolling restart under load, and after an upgrade: no request is refused, no build is aborted, and the programs are the right ones."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import SECRET, Service
from tests.e2e.test_faults import attempts, check_one_final
from tests.e2e.test_stories import submission
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick
from tests.support.forked import is_forked
from tests.support.releases import this_release
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

PROGRAMS = ["outbox", "reconciler", "web", "web", "worker", "worker"]
BUILDS = 20


SETTINGS = {"BUILD_COMMAND": quick.COMMAND, "WEB_WORKERS": "2", "WORKERS": "2", "STOP_GRACE": "60"}


@contextmanager
def started(data: Path, release: Path | None = None) -> Iterator[Service]:
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        running = Service(data, archive, desci, **SETTINGS)
        running.release = release or running.release
        try:
            running.start()
            yield running
        finally:
            running.stop()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with started(tmp_path / "data") as running:
        yield running


def renewable(service: Service) -> dict[int, str]:
    """The programs that a renewal replaces, by process id."""
    assert service.process is not None
    found = {}
    for child in psutil.Process(service.process.pid).children():
        with suppress(psutil.Error):
            found[child.pid] = "".join(child.cmdline()[2:3])  # a zombie has none
    return {pid: name for pid, name in found.items() if name in PROGRAMS}


def renew(service: Service) -> None:
    """Replace all programs. Meanwhile idle workers may end, because another release was installed, and are started again."""
    assert service.process is not None
    before = renewable(service)
    service.process.send_signal(signal.SIGHUP)
    wait_until(lambda: is_complete(service) and not set(renewable(service)) & set(before), service.output)


def is_complete(service: Service) -> bool:
    return sorted(renewable(service).values()) == PROGRAMS


def check_descriptors(service: Service) -> None:
    """No program has the supervisor's lock, and only the web server has its socket."""
    for pid, name in renewable(service).items():
        process = psutil.Process(pid)
        assert not [file.path for file in process.open_files() if file.path.endswith("serve.lock")], name
        ports = [each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
        assert ports == ([service.port] if name == "web" else []), name


def check_programs(service: Service, *, forked: bool) -> None:
    wait_until(lambda: is_complete(service), service.output)
    found = renewable(service)
    assert {name for pid, name in found.items() if is_forked(pid) != forked} == set()
    check_descriptors(service)
    check_build(service, f"build-{min(found)}")


def check_build(service: Service, name: str) -> None:
    service.archive.add("renewed", "it", quick.repository())
    service.post(submission(name, "renewed/it", exports=quick.EXPORTS))
    service.wait(name, "succeeded")


def test_programs_are_forked_from_the_supervisor_until_another_release_is_installed(tmp_path: Path) -> None:
    release = this_release(tmp_path / "release")
    with started(tmp_path / "data", release) as service:
        check_programs(service, forked=True)
        renew(service)
        check_programs(service, forked=True)
        (release / "templates" / "of_the_next_release.html").touch()
        renew(service)
        check_programs(service, forked=False)


def test_a_service_started_through_a_link_is_of_one_release_and_renews_from_the_next(tmp_path: Path) -> None:
    releases = [this_release(tmp_path / "releases" / number) for number in ("1", "2")]
    current = tmp_path / "current"
    current.symlink_to(releases[0])
    with started(tmp_path / "data", current) as service:
        before = renewable(service)
        for pid in (service.process.pid if service.process else 0, *before):
            assert str(releases[0] / "manage.py") in " ".join(psutil.Process(pid).cmdline()).split()
        assert all(map(is_forked, before))
        current.unlink()
        current.symlink_to(releases[1])
        renew(service)
        for pid in renewable(service):
            assert psutil.Process(pid).cmdline()[1] == str(releases[1] / "manage.py")
            assert not is_forked(pid)
        check_build(service, "of-the-next")


def test_a_rolling_restart_under_load_refuses_no_request_and_aborts_no_build(service: Service) -> None:
    wait_until(lambda: is_complete(service), service.output)  # the web server answers before the last program is started
    service.archive.add("roll", "it", quick.repository("sleep 0.7"))
    codes: dict[str, int] = {}
    asked: Counter[int] = Counter()
    done = threading.Event()

    def load() -> None:
        """Many requests, but no more builds than a slow machine can end soon."""
        while not done.is_set():
            name = f"rolling-{len(codes)}"
            if len(codes) < BUILDS:
                codes[name] = service.call("POST", json=submission(name, "roll/it", exports=quick.EXPORTS)).status_code
            asked[service.call("GET", "/rolling-0").status_code] += 1
            time.sleep(0.2)

    sender = threading.Thread(target=load)
    sender.start()
    try:
        renew(service)
    finally:
        done.set()
        sender.join()
    assert set(codes.values()) == {202}
    assert set(asked) == {200}
    for name in codes:
        service.wait(name, "succeeded")
        assert len(attempts(service, name)) == 1
        check_one_final(service, name)
