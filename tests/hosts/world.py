"""Hosts as network namespaces on one machine: each with its own network, processes and data folder, on one bridge.

This process has to be in a network namespace of its own, where it may make interfaces. Its end of the bridge is :data:`HUB`. There it runs
what the hosts share: PostgreSQL, a queue store, an S3-compatible service and the stand-ins.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import requests
from redis import Redis, RedisError

from tests.e2e.conftest import SECRET, SUBMISSIONS
from tests.hosts.failover import Pair, pair
from tests.standins import ArchiveHost, DesciServer
from tests.support import object_store, quick
from tests.support.queue_server import PROGRAM
from tests.support.releases import unit_command
from tests.support.scraping import Scrape

HUB = "10.99.0.1"
NETWORK = "10.99.0.{}/24"
PORT = 5454
# The units of each host, by what this file calls them.
UNITS = {
    "web": "jobsite-web@.service",
    "worker-1": "jobsite-worker@.service",
    "worker-2": "jobsite-worker@.service",
    "outbox": "jobsite-outbox.service",
    "reconciler": "jobsite-reconciler.service",
}
# All hosts have one name, and the same process ids: nothing may rely on either. As systemd does, it starts a program again that has ended.
# A program that ends otherwise than with 0 is written down.
SCRIPT = """
while ! ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
ip link set lo up; ip addr add {address} dev eth0; ip link set eth0 up; hostname clone
keep() {{
    while :; do
        sh -c 'echo $$ > {folder}/pids/'$1'; cd {folder}/current && exec sh {folder}/units/'$1
        code=$?; [ $code = 0 ] || echo "$1 ended with $code" >> {folder}/ends
        sleep 0.2
    done
}}
"""
# The bucket's service lets clients be wrong by more than an hour, so that the host with the wrong clock builds, too.
ALLOWED_SKEW = 10_000
START_SECONDS, RESTART_SECONDS, CALL_SECONDS = 180.0, 180.0, 10.0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Host:
    """One host, with ``release`` as its current one. ``more`` is added to the environment of its programs."""

    def __init__(
        self,
        number: int,
        folder: Path,
        release: Path,
        environment: Mapping[str, str],
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.number, self.folder, self._release = number, folder, release
        self.address = NETWORK.format(10 + number).partition("/")[0]
        own = {"DATA_DIR": str(folder / "data"), "HOST": self.address, "PORT": str(PORT), "HOME": str(folder)}
        self._environment = {**environment, **own, **(more or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        for folder in (self.folder, self.folder / "pids", self.folder / "units"):
            folder.mkdir()
        for name, unit in UNITS.items():
            (self.folder / "units" / name).write_text(unit_command(unit))
        self.install(self._release)
        script = SCRIPT.format(address=NETWORK.format(10 + self.number), folder=self.folder)
        script += "".join(f"keep {name} &\n" for name in UNITS) + "wait\n"
        namespaces = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts"]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", *namespaces, "sh", "-c", script],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        time.sleep(0.2)  # until the new namespace exists; before that, the interface would stay here
        while Path(f"/proc/{self._process.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            time.sleep(0.05)
        ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", str(self._process.pid))
        ip("link", "set", self._cable, "master", "bridge", "up")

    def install(self, release: Path) -> None:
        """Programs that start from now on are of this release."""
        (self.folder / "new").symlink_to(release)
        (self.folder / "new").replace(self.folder / "current")

    def restart(self, name: str) -> None:
        """Ask a program to stop, and wait until it runs anew."""
        assert self._process
        before = self._pid(name)
        [inside] = psutil.Process(self._process.pid).children()
        subprocess.run(["nsenter", "-t", str(inside.pid), "-p", "sh", "-c", f"kill -TERM {before}"], check=True)
        deadline = time.monotonic() + RESTART_SECONDS
        while self._pid(name) in (before, ""):
            assert time.monotonic() < deadline, f"{name} of host {self.number} did not end: {self.output()}"
            time.sleep(0.1)
        if name == "web":
            self.wait_until_ready()

    def _pid(self, name: str) -> str:
        return (self.folder / "pids" / name).read_text().strip()

    @property
    def _cable(self) -> str:
        return f"cable{self.number}"

    def cut_off(self) -> None:
        ip("link", "set", self._cable, "down")

    def connect(self) -> None:
        ip("link", "set", self._cable, "up")

    def kill(self) -> None:
        """Kill all its processes at once."""
        if self._process:
            self._process.kill()
            self._process.wait(60)

    def call(self, method: str, path: str = "", **options: Any) -> requests.Response:
        address = f"http://{self.address}:{PORT}{SUBMISSIONS}{path}"
        return requests.request(method, address, headers={"X-Internal-Secret": SECRET}, timeout=CALL_SECONDS, **options)

    def scrape(self) -> Scrape:
        headers = {"Authorization": f"Bearer {SECRET}"}
        answer = requests.get(f"http://{self.address}:{PORT}/metrics", headers=headers, timeout=CALL_SECONDS)
        answer.raise_for_status()
        return Scrape(answer.text)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(requests.RequestException):
                if requests.get(f"http://{self.address}:{PORT}/readyz", timeout=CALL_SECONDS).status_code == 200:
                    return
            assert time.monotonic() < deadline, f"host {self.number} did not start: {self.output()}"
            time.sleep(0.2)

    def output(self) -> str:
        return self.whole_output()[-6000:]

    def whole_output(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def ends(self) -> str:
        """Which of its programs ended otherwise than with 0."""
        file = self.folder / "ends"
        return file.read_text() if file.exists() else ""


class World:
    """What the hosts share, and the hosts by their numbers. New hosts have ``release``."""

    def __init__(
        self,
        folder: Path,
        release: Path,
        archive: ArchiveHost,
        desci: DesciServer,
        database: Pair,
        environment: Mapping[str, str],
    ) -> None:
        self.folder, self.release, self.archive, self.desci = folder, release, archive, desci
        self.database, self.environment = database, environment
        self.hosts: dict[int, Host] = {}

    def add(self, number: int, more: Mapping[str, str] | None = None) -> Host:
        host = self.hosts[number] = Host(number, self.folder / f"host{number}", self.release, self.environment, more)
        host.start()
        return host

    def manage(self, *words: str) -> str:
        """Run ``manage.py`` of the release, and return what it prints."""
        environment = {**self.environment, "DATA_DIR": str(self.folder / "hub")}
        command = [sys.executable, str(self.release / "manage.py"), *words]
        return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def world(folder: Path, release: Path) -> Iterator[World]:
    """A bridge, the shared services, and a database with the tables of ``release``."""
    ip("link", "set", "lo", "up")
    ip("link", "add", "bridge", "type", "bridge")
    ip("addr", "add", NETWORK.format(1), "dev", "bridge")
    ip("link", "set", "bridge", "up")
    archive, desci = ArchiveHost(), DesciServer(SECRET, keep_files=False)
    archive.host = desci.host = HUB
    with ExitStack() as stack:
        for each in (archive, desci):
            stack.enter_context(each)
        bucket = stack.enter_context(object_store.object_store(host=HUB, allowed_skew=ALLOWED_SKEW))
        database = stack.enter_context(pair(HUB, NETWORK.format(0)))
        stack.enter_context(_queue_store(folder))
        made = World(folder, release, archive, desci, database, _environment(archive, desci, bucket))
        made.manage("migrate", "-v", "0")
        try:
            yield made
        finally:
            for host in made.hosts.values():
                host.kill()


def _environment(archive: ArchiveHost, desci: DesciServer, bucket: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "SECRET_KEY": "a-key-of-the-tests-that-signs-nothing-of-value",
        "INTERNAL_SERVICE_SECRET": SECRET,
        "DATABASE_URL": f"postgres://jobsite@{HUB}:5432/postgres",
        "REDIS_URL": f"redis://{HUB}:6379/0",
        "GITHUB_URL": archive.url,
        "DESCI_SERVER_URL": desci.url,
        "BUILD_COMMAND": quick.COMMAND,
        "BUILD_TEMPLATES_URL": "no",
        "BUILD_DOI_URL": "no",
        "BUILD_CGROUPS": "no",
        "METRICS_TOKEN": SECRET,
        **object_store.settings_of(bucket),
    }


@contextmanager
def _queue_store(folder: Path) -> Iterator[None]:
    words = ["--port", "6379", "--bind", HUB, "--protected-mode", "no", "--save", "", "--dir", str(folder)]
    running = subprocess.Popen([PROGRAM, *words], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            with suppress(RedisError):
                if Redis(host=HUB).ping():
                    break
            assert time.monotonic() < deadline, "the queue store did not start"
            time.sleep(0.1)
        yield
    finally:
        running.terminate()
        running.wait(60)


def can_make_hosts() -> str:
    """Why there can be no hosts on this machine; empty if there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    with tempfile.TemporaryFile() as words:
        tried = [
            "unshare",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
            "--uts",
            "ip",
            "link",
            "add",
            "name",
            "a",
            "type",
            "bridge",
        ]
        try:
            done = subprocess.run(tried, stdout=words, stderr=words, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"no network namespace with a bridge can be made: {error}"
        words.seek(0)
        return f"no network namespace with a bridge can be made: {words.read().decode()}" if done.returncode else ""
