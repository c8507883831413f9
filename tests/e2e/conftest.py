"""The real service as processes, with stand-ins for GitHub and desci-server."""

from __future__ import annotations

import hashlib
import os
import signal
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
from tests.support.ports import free_port
from tests.support.postgres import own_database
from tests.support.scraping import Scrape

BASE_DIR = Path(__file__).parents[2]
SUBMISSIONS = "/v1/services/process-journal-submission"
SECRET = "test-secret"
START_SECONDS = 180
STOP_SECONDS = 180
# Only a hang takes this long: a busy machine must not fail a test.
WAIT_SECONDS = 300
FINAL = ("succeeded", "failed", "cancelled")


class Service:
    """``manage.py serve`` as a process, with its data in ``data_dir``. ``wrapper`` is a command that starts it, if any."""

    release = BASE_DIR

    def __init__(
        self, data_dir: Path, archive: ArchiveHost, desci: DesciServer, *, wrapper: Sequence[str] = (), **settings: str
    ) -> None:
        self.data_dir, self.archive, self.desci = data_dir, archive, desci
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings, self._wrapper = settings, wrapper
        # A folder that builds can see inside the sandbox: tests let a build continue by creating a file there.
        self.gates = data_dir.parent / f"{data_dir.name}-gates"
        self._log = data_dir.parent / f"{data_dir.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.database = own_database_setting(data_dir)

    def environment(self) -> dict[str, str]:
        self.gates.mkdir(exist_ok=True)
        self.gates.chmod(0o755)
        return {
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
            "BUILD_TEMPLATES_URL": "no",
            "BUILD_DOI_URL": "no",
            "BUILD_CACHE_DAYS": "0",
            **self.database,
            "METRICS_TOKEN": SECRET,
            **self._settings,
        }

    def start(self) -> None:
        """Start it and wait until it is ready."""
        command = [*self._wrapper, sys.executable, str(self.release / "manage.py"), "serve"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environment(), stdout=log, stderr=log, start_new_session=True)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            assert self.process is None or self.process.poll() is None, f"the service has ended: {self.output()}"
            assert time.monotonic() < deadline, f"the service did not start: {self.output()}"
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/readyz", timeout=30).status_code == 200
        return False

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def output(self) -> str:
        return self.whole_output()[-4000:]

    def whole_output(self) -> str:
        return self._log.read_text(errors="replace")

    def call(self, method: str, path: str = "", **options: Any) -> requests.Response:
        return requests.request(
            method, f"{self.url}{SUBMISSIONS}{path}", headers={"X-Internal-Secret": SECRET}, timeout=120, **options
        )

    def post(self, submission: dict[str, Any]) -> dict[str, Any]:
        answer = self.call("POST", json=submission)
        assert answer.status_code == 202, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def status(self, job_id: str) -> dict[str, Any]:
        data: dict[str, Any] = self.call("GET", f"/{job_id}").json()["data"]
        return data

    def wait(self, job_id: str, state: str, *, timeout: float = WAIT_SECONDS) -> dict[str, Any]:
        """Wait until the submission is in ``state``, and return its status."""
        deadline = time.monotonic() + timeout
        while (status := self.status(job_id))["state"] != state:
            late = time.monotonic() > deadline
            assert not late, f"{job_id} is {status['state']}, not {state}: {status}\n{self.log(job_id)[-3000:]}\n{self.output()}"
            time.sleep(0.1)
        return status

    def scrape(self) -> Scrape:
        answer = requests.get(f"{self.url}/metrics", headers={"Authorization": f"Bearer {SECRET}"}, timeout=120)
        answer.raise_for_status()
        return Scrape(answer.text)

    def log(self, job_id: str, first_line: int = 1) -> str:
        return self.call("GET", f"/{job_id}/log", params={"from": first_line}).text


def in_django(service: Service, script: str) -> str:
    """Run a script with the service's database in a separate process, and return its output."""
    environment = {**os.environ, "SECRET_KEY": "any", "INTERNAL_SERVICE_SECRET": SECRET, "DATA_DIR": str(service.data_dir)}
    environment |= {"DJANGO_SETTINGS_MODULE": "jobsite.settings", "REDIS_URL": "", **service.database}
    command = [sys.executable, str(BASE_DIR / "manage.py"), "shell", "--no-imports", "-c", script]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def own_database_setting(data_dir: Path) -> dict[str, str]:
    """The setting of a service in ``data_dir`` if the tests run on PostgreSQL: a database of its own. Empty for SQLite in the folder."""
    server = os.environ.get("DATABASE_URL", "")
    if not server.startswith("postgres"):
        return {}
    return {"DATABASE_URL": own_database(server, f"service_{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]}")}


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests of a test process. Each test has its own jobId, node and repository."""
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        running = Service(tmp_path_factory.mktemp("service") / "data", archive, desci)
        running.start()
        yield running
        running.stop()
