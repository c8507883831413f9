"""The real service as processes, between the two stand-ins."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.standins import ArchiveHost, DesciServer

BASE_DIR = Path(__file__).parents[2]
SUBMISSIONS = "/v1/services/process-journal-submission"
SECRET = "test-secret"
START_SECONDS = 60
FINAL = ("succeeded", "failed", "cancelled")


class Service:
    """``manage.py serve`` in a process of its own, with its data in ``data_dir``. ``wrapper`` is what it is started by, if anything."""

    def __init__(
        self, data_dir: Path, archive: ArchiveHost, desci: DesciServer, *, wrapper: Sequence[str] = (), **settings: str
    ) -> None:
        self.data_dir, self.archive, self.desci = data_dir, archive, desci
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings, self._wrapper = settings, wrapper
        # What a build may see from inside its sandbox: tests let it go on by a file.
        self.gates = data_dir.parent / f"{data_dir.name}-gates"
        self._log = data_dir.parent / f"{data_dir.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.gates.mkdir(exist_ok=True)
        self.gates.chmod(0o755)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.data_dir.parent),
            "SECRET_KEY": "a-key-of-the-tests-that-signs-nothing-of-value",
            "INTERNAL_SERVICE_SECRET": SECRET,
            "DATA_DIR": str(self.data_dir),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "GITHUB_URL": self.archive.url,
            "DESCI_SERVER_URL": self.desci.url,
            "WEB_WORKERS": "1",
            "STOP_GRACE": "1",
            "BUILD_READABLE": str(self.gates),
            **self._settings,
        }
        command = [*self._wrapper, sys.executable, str(BASE_DIR / "manage.py"), "serve"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            assert self.process.poll() is None, f"the service has ended: {self.output()}"
            assert time.monotonic() < deadline, f"the service did not start: {self.output()}"
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/readyz", timeout=5).status_code == 200
        return False

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def output(self) -> str:
        return self.whole_output()[-4000:]

    def whole_output(self) -> str:
        return self._log.read_text(errors="replace")

    def call(self, method: str, path: str = "", **options: Any) -> requests.Response:
        return requests.request(
            method, f"{self.url}{SUBMISSIONS}{path}", headers={"X-Internal-Secret": SECRET}, timeout=30, **options
        )

    def post(self, submission: dict[str, Any]) -> dict[str, Any]:
        answer = self.call("POST", json=submission)
        assert answer.status_code == 202, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def status(self, job_id: str) -> dict[str, Any]:
        data: dict[str, Any] = self.call("GET", f"/{job_id}").json()["data"]
        return data

    def wait(self, job_id: str, state: str, *, timeout: float) -> dict[str, Any]:
        """The status, once the submission is in ``state``."""
        deadline = time.monotonic() + timeout
        while (status := self.status(job_id))["state"] != state:
            late = time.monotonic() > deadline
            assert not late, f"{job_id} is {status['state']}, not {state}: {status}\n{self.log(job_id)[-3000:]}\n{self.output()}"
            time.sleep(0.1)
        return status

    def log(self, job_id: str, first_line: int = 1) -> str:
        return self.call("GET", f"/{job_id}/log", params={"from": first_line}).text


def in_django(service: Service, script: str) -> str:
    """What a script prints that is run with the service's own database, in a process of its own."""
    environment = {**os.environ, "SECRET_KEY": "any", "INTERNAL_SERVICE_SECRET": SECRET, "DATA_DIR": str(service.data_dir)}
    environment |= {"DJANGO_SETTINGS_MODULE": "jobsite.settings", "REDIS_URL": ""}
    command = [sys.executable, str(BASE_DIR / "manage.py"), "shell", "--no-imports", "-c", script]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all stories of a test process: each has its own jobId, node and repository."""
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        running = Service(tmp_path_factory.mktemp("service") / "data", archive, desci)
        running.start()
        yield running
        running.stop()
