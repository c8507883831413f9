"""Builds every hostile manuscript with the real service and its real sandbox, beside honest ones."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil
import pytest
import requests

from builds.engine.sandbox.sandbox import build_user
from tests.e2e.conftest import BASE_DIR, SECRET, Service, in_django
from tests.hostile.beside import NEIGHBOURS, WORKERS, Desk, Parade, attempts_of, processes_of
from tests.hostile.case import Case, Target, forms, stolen
from tests.hostile.corpus import CASES as ALL
from tests.hostile.harm import SHARED
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick

pytestmark = pytest.mark.e2e

TOKEN = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"
KEY = "a-key-of-the-tests-that-signs-nothing-of-value"
PASSWORD = "a long password, with spaces"
# See tests/hostile/alone.py.
SANDBOX = os.environ.get("HOSTILE_SANDBOX", "bubblewrap")
ONLY = os.environ.get("HOSTILE_CASES", "").split()
CASES = [case for case in ALL if not ONLY or case.name in ONLY]
LIMITS = {
    "GITHUB_TOKEN": TOKEN,
    "BUILD_COMMAND": "sh make.sh",
    # Only what never ends takes this long, also on a machine on which all else is slow.
    "BUILD_TIMEOUT": "90",
    "BUILD_SANDBOX": SANDBOX,
    "BUILD_MEMORY_MAX_BYTES": "1500000000",
    "BUILD_PROCESSES_MAX": "150",
    "BUILD_DISK_MAX_BYTES": "300000000",
    "BUILD_FILES_MAX": "20000",
    "BUILD_FILE_MAX_BYTES": "200000000",
    "LOG_MAX_BYTES": "1000000",
    "UNPACKED_MAX_BYTES": "150000000",
    "EXPORTS_MAX_BYTES": "100000000",
    "WORKERS": str(WORKERS),
    "API_RATE": "0",
    "API_RATE_PER_CLIENT": "0",
}
MAKE_ADMIN = "from django.contrib.auth.models import User\nUser.objects.create_superuser('admin', password={password!r})"
PUBLIC_FOLDERS = [Path(name) for name in ("/tmp", "/var/tmp", "/dev/shm", "/run/lock") if Path(name).is_dir()]
TIDY_SECONDS = 300
LOG_CHARACTERS = 5000  # the end of a log that says why a build failed


@dataclass
class Attacked:
    service: Service
    parade: Parade
    desk: Desk
    tmp: Path

    @cached_property
    def by_groups(self) -> bool:
        """Whether control groups limit the builds."""
        modes = requests.get(f"{self.service.url}/readyz", timeout=30).json()["isolation"]
        return bool(modes) and all(mode["cgroups"] != "none" for mode in modes)

    def secrets(self) -> list[str]:
        """Every secret that no build may get, in each form."""
        queue = (self.service.data_dir / "queue" / "password").read_text().strip()
        return [form for secret in (TOKEN, KEY, SECRET, NEIGHBOURS, PASSWORD, queue) for form in forms(secret)]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("hostile")
    with ExitStack() as stack:
        archive, desci = stack.enter_context(ArchiveHost()), stack.enter_context(DesciServer(SECRET))
        tmp = folder / "tmp"
        tmp.mkdir()
        service = Service(folder / "data", archive, desci, TMPDIR=str(tmp), **LIMITS)
        service.start()
        stack.callback(service.stop)
        in_django(service, MAKE_ADMIN.format(password=PASSWORD))
        (folder / "private.txt").write_text(NEIGHBOURS)
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0jobsite-{service.port}")
        abstract.listen()
        port = listening.getsockname()[1]
        target = Target(service.data_dir, BASE_DIR, service.port, a_worker(service), port, str(folder / "private.txt"))
        parade = Parade(service, [(case, case.archive(target)) for case in CASES])
        parade.start()
        yield Attacked(service, parade, Desk(service, "admin", PASSWORD), tmp)


def a_worker(service: Service) -> int:
    assert service.process is not None
    children = psutil.Process(service.process.pid).children()
    return next(child.pid for child in children if child.cmdline()[-1] == "worker")


def left_the_sandbox(attacked: Attacked, name: str) -> Iterator[str]:
    """Everything about a build that anyone but the service can see."""
    service, ended = attacked.service, attacked.parade.wait(name)
    yield json.dumps([ended.accepted, ended.status, service.status(name)], ensure_ascii=False)
    yield service.log(name)
    yield from attacked.desk.pages(ended.status)
    yield from (f"{update.status} {update.message}" for update in service.desci.updates[name])
    for delivery in service.desci.deliveries[name]:
        yield f"{delivery.fields} {delivery.order} {delivery.lost}"
        for part in delivery.parts:
            yield f"{part.filename} {part.headers} {Path(part.path).read_text(errors='replace')}"
    kept = service.data_dir / "exports" / ended.build_id
    yield from (path.read_text(errors="replace") for path in kept.rglob("*") if path.is_file())


def check(case: Case, ended: dict[str, object], log: str, *, by_groups: bool) -> None:
    expected = case.cause(by_groups=by_groups, alone=SANDBOX == "landlock")
    assert ended["state"] == case.state, f"{ended['cause']}\n{log[-LOG_CHARACTERS:]}"
    cause = ended["cause"] or {"code": "", "fault": "", "sentence": ""}
    assert isinstance(cause, dict)
    assert cause["code"].startswith(expected.code) if expected.code else cause["code"] == "", cause
    assert cause["fault"] == expected.fault, cause
    assert expected.words in cause["sentence"], cause


def left_behind(attacked: Attacked, build_id: str) -> list[str]:
    """Processes, workspaces and files that a build left behind."""
    found = processes_of(build_id)
    found += [str(path) for path in (attacked.service.data_dir / "workspaces").glob(f"*{build_id}*")]
    found += shared_memory()
    user = build_user(build_id)
    if user is not None:
        found += [str(path) for folder in PUBLIC_FOLDERS for path in folder.iterdir() if is_of(path, user)]
    return found


def shared_memory() -> list[str]:
    """What the hostile cases left in memory that all programs share."""
    kinds = [path for path in Path("/proc/sysvipc").glob("*") if path.is_file()]
    return [f"{path} {line}" for path in kinds for line in path.read_text().splitlines() if line.split()[0] == str(SHARED)]


def is_of(path: Path, user: int) -> bool:
    """Other programs may remove their files meanwhile."""
    with suppress(FileNotFoundError):
        return path.lstat().st_uid == user
    return False


def nothing_left(attacked: Attacked, build_id: str) -> None:
    """Removing everything may take a while after the build's end is reported, but not for ever."""
    deadline = time.monotonic() + TIDY_SECONDS
    while left := left_behind(attacked, build_id):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_it_ends_as_expected_and_steals_nothing(attacked: Attacked, case: Case) -> None:
    ended = attacked.parade.wait(case.name)
    check(case, ended.status, attacked.service.log(case.name), by_groups=attacked.by_groups)
    assert ended.readiness == 200
    assert len(ended.beside) == 2
    assert ended.left == []
    secrets = [*attacked.secrets(), *(case.control.finds if case.control and not case.control.instead else ())]
    for text in left_the_sandbox(attacked, case.name):
        assert stolen(text, secrets) == []
    nothing_left(attacked, ended.build_id)


def test_the_honest_builds_beside_them_are_delivered_unharmed(attacked: Attacked) -> None:
    for case in CASES:
        attacked.parade.wait(case.name)
    attacked.parade.join()
    assert attacked.parade.problem is None
    for name in attacked.parade.honest:
        attacked.service.wait(name, "succeeded")
        attacked.service.desci.wait_for(has_completed(name), timeout=300)
        [delivery] = attacked.service.desci.deliveries[name]
        assert [(part.filename, part.sha256) for part in delivery.parts] == HONEST, name
        *before, last = attempts_of(attacked.service, name).values()
        assert last == ""
        # With Landlock alone, an ordinary user's builds share one limit on processes. A build that can't start any is retried.
        assert before == [] or (SANDBOX == "landlock" and not attacked.by_groups and set(before) == {"processes-full"}), name
        for build_id in attempts_of(attacked.service, name):
            nothing_left(attacked, build_id)


def has_completed(name: str) -> Callable[[DesciServer], bool]:
    return lambda server: "COMPLETED" in server.statuses(name)


HONEST = [
    ("/exports/article.meca/article.xml", hashlib.sha256(quick.ARTICLE.encode()).hexdigest()),
    ("/exports/article.meca/bundle/index.md", hashlib.sha256(b"# Title\n").hexdigest()),
    ("/exports/article.meca/manifest.xml", hashlib.sha256(quick.MANIFEST.encode()).hexdigest()),
    ("index.json", hashlib.sha256(quick.PAGE.encode()).hexdigest()),
]


def test_the_service_is_unchanged(attacked: Attacked) -> None:
    """None of its processes was restarted, and no files are left."""
    attacked.parade.join()
    assert attacked.service.process is not None
    assert psutil.Process(attacked.service.process.pid).is_running()
    output = attacked.service.whole_output()
    lines = output.splitlines()
    troubled = [number for number, line in enumerate(lines) if "started again" in line or "Traceback" in line]
    assert [lines[number : number + 40] for number in troubled] == []
    assert stolen(output, attacked.secrets()) == []
    assert list(attacked.service.data_dir.glob("workspaces/*")) == []
    assert list(attacked.tmp.iterdir()) == []
    assert not Path("/etc/cron.d/evil").exists()
    assert os.getuid() != 0 or Path("/etc/shadow").stat().st_uid == 0
