"""The service's secrets are in no argument, no build's environment and not in the queue store."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis import Redis

from builds.engine.process.tree import MARKER
from jobsite import embedded
from tests.e2e.conftest import BASE_DIR, SECRET, Service
from tests.e2e.test_stories import submission
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.any_database]

TOKEN = "ghp_" + "k7" * 18
KEY = "a-key-of-the-tests-that-signs-nothing-of-value"
PROGRAMS = {"serve", "web", "worker", "outbox", "reconciler"}


@pytest.fixture
def building(tmp_path: Path) -> Iterator[Service]:
    """A service with one running and one queued build."""
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        service = Service(tmp_path / "data", archive, desci, BUILD_COMMAND=quick.COMMAND, WORKERS="1", GITHUB_TOKEN=TOKEN)
        service.start()
        gate = service.gates / "go"
        archive.add("lab", "held", quick.repository(f"while [ ! -e {gate} ]; do sleep 0.05; done"))
        for name in ("held", "waits"):
            service.post(submission(name, "lab/held", exports=quick.EXPORTS))
        wait_until(lambda: any(is_of_build(process) for process in processes(service)), service.output)
        yield service
        gate.touch()
        for name in ("held", "waits"):
            service.wait(name, "succeeded")
        service.stop()


def processes(service: Service) -> list[psutil.Process]:
    assert service.process is not None
    own = psutil.Process(service.process.pid)
    return [own, *own.children(recursive=True)]


def cmdline(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def environment(process: psutil.Process) -> dict[str, str]:
    with suppress(psutil.Error):
        return process.environ()
    return {}


def is_of_build(process: psutil.Process) -> bool:
    return MARKER in environment(process) and cmdline(process)[:2] == ["sleep", "0.05"]


def secrets(service: Service) -> list[str]:
    return [SECRET, KEY, TOKEN, (service.data_dir / "queue" / "password").read_text().strip()]


def test_no_argument_of_a_process_contains_a_secret(building: Service) -> None:
    found = {process: cmdline(process) for process in processes(building)}
    assert {argv[2] for argv in found.values() if len(argv) > 2} >= PROGRAMS
    assert any("valkey-server" in argv[0] for argv in found.values() if argv)
    for argv in found.values():
        assert not any(secret in argument for secret in secrets(building) for argument in argv), argv


def test_no_environment_variable_of_a_build_contains_a_secret(building: Service) -> None:
    own, *_ = processes(building)
    assert {SECRET, KEY, TOKEN} <= set(environment(own).values())
    of_build = [environment(process) for process in processes(building) if MARKER in environment(process)]
    assert of_build
    for variables in of_build:
        assert not any(secret in value for secret in secrets(building) for value in variables.values())


def test_the_queue_store_contains_no_secret(building: Service) -> None:
    store = Redis.from_url(embedded.redis_url(building.data_dir))
    texts = [text for key in store.scan_iter() for text in contents(store, key)]
    assert b"builds" in b" ".join(texts)
    for secret in secrets(building):
        assert not any(secret.encode() in text for text in texts)
    store.close()


def contents(store: Redis, key: bytes) -> Iterator[bytes]:
    """A key and its whole content. RQ compresses some of it."""
    yield key
    kind: Any = store.type(key)
    read: dict[bytes, Any] = {
        b"string": lambda: [store.get(key)],
        b"hash": lambda: [part for pair in dict[bytes, bytes](store.hgetall(key)).items() for part in pair],  # type: ignore[arg-type]
        b"list": lambda: store.lrange(key, 0, -1),
        b"set": lambda: store.smembers(key),
        b"zset": lambda: store.zrange(key, 0, -1),
        b"stream": lambda: [repr(store.xrange(key)).encode()],
    }
    for value in read.get(kind, list)():
        yield value
        with suppress(zlib.error):
            yield zlib.decompress(value)


def test_no_command_of_a_build_gets_the_token(building: Service) -> None:
    """The archive was fetched with the token in a header, so no program needed it."""
    assert TOKEN not in building.log("held")
    assert TOKEN not in building.output()


@pytest.mark.parametrize(("given", "starts"), [({}, False), ({"SECRET_KEY": ""}, False), ({"SECRET_KEY": "x" * 50}, True)])
def test_the_service_starts_only_with_a_signing_key_of_the_operator(tmp_path: Path, given: dict[str, str], starts: bool) -> None:
    variables = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), **given}
    checked = subprocess.run(
        [sys.executable, str(BASE_DIR / "manage.py"), "check"], env=variables, capture_output=True, text=True, check=False
    )
    assert (checked.returncode == 0) is starts
    assert ("SECRET_KEY is not set" in checked.stderr) is not starts
