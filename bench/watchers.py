"""What 100 people who watch one live log cost: the processor time of the web processes, and how late a line reaches them.

Each of them is another signed-in viewer with a connection and a session of their own, and does what ``log.js`` does while it follows a
log. They run in a separate process, so that their cost does not count. The processor time is measured while a build writes a few lines a
second, and while it writes none. The baseline is as many clients that request ``/healthz``, with the pause after which the script asks
again where answers do not go on: what the web server itself costs a page that polls.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.memory import name_of, processes
from bench.results import Aim, Result, report
from builds.staff.roles import VIEWERS
from tests.browser.conftest import pk_of, submit
from tests.e2e.conftest import BASE_DIR, SECRET, Service, in_django
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick

WATCHERS = 100
WINDOW_SECONDS = 30
SETTLE_SECONDS = 5
MAX_CORES = 0.05
NAME = "watched"
# Each line contains its time of writing. The random pauses avoid synchronising with any polling interval.
WRITER = """
python3 -c 'import os, random, time
while not os.path.exists("{gates}/quiet"):
    print("written at", time.time(), flush=True)
    time.sleep(random.uniform(0.05, 0.75))'
echo 'nothing more'
while [ ! -e {gates}/end ]; do sleep 0.2; done"""
MAKE_VIEWERS = """
import json
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Group, User
group, sessions = Group.objects.get(name={role!r}), []
for number in range({count}):
    user = User.objects.create(username=f"watcher-{{number}}", password="!")
    user.groups.add(group)
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session.create()
    sessions.append(session.session_key)
print(json.dumps(sessions))
"""
SCRIPT = (BASE_DIR / "builds" / "static" / "desk" / "log.js").read_text()
WRITTEN_AT = re.compile(r"written at ([0-9.]+)")


def constant(name: str) -> float:
    """A pause of the page's script, in seconds. Fails if the script no longer has it, because the clients would do something else."""
    found = re.search(rf"^const {name} = (\d+)", SCRIPT, re.MULTILINE)
    if found is None:
        raise LookupError(f"log.js has no {name}")
    return int(found[1]) / 1000


# --- the clients, in a process of their own


class Connection:
    """A browser's connection, kept open between requests."""

    def __init__(self, port: int, cookie: str) -> None:
        self._port = port
        self._headers = (
            f"Host: 127.0.0.1:{port}\r\nConnection: keep-alive\r\nX-Live: 1\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
            "Accept-Language: en-GB,en;q=0.9\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n"
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n"
            f"Referer: http://127.0.0.1:{port}/submissions/\r\nCookie: sessionid={cookie}\r\n\r\n"
        )
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of the answer's body, as they come.

        Raises:
            OSError, EOFError: the connection broke.
            RuntimeError: the answer is not a 200.
        """
        reader, writer = self._open or await asyncio.open_connection("127.0.0.1", self._port)
        self._open = None
        try:
            writer.write(f"GET {path} HTTP/1.1\r\n{self._headers}".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            if " 200 " not in head.partition("\r\n")[0]:
                raise RuntimeError(head.partition("\r\n")[0])
            length = re.search(r"content-length: (\d+)", head)
            if length:
                yield await reader.readexactly(int(length[1]))
            else:
                while size := int(await reader.readline(), 16):  # a chunk is whole lines
                    for line in (await reader.readexactly(size + 2)).removesuffix(b"\r\n").splitlines():
                        yield line
            if length and "connection: close" not in head:
                self._open = reader, writer
        finally:
            if self._open is None:
                writer.close()


@dataclass
class Seen:
    """What the clients saw: when each line of the log arrived and when it was written; when each line of an answer did, and its length."""

    lines: list[tuple[float, float]] = field(default_factory=list)
    answers: list[tuple[float, int]] = field(default_factory=list)
    failures: int = 0


async def watch(connection: Connection, path: str, seen: Seen) -> None:
    """Follow a log as the script does."""
    pause, last = constant("EVERY"), 0
    await asyncio.sleep(random.uniform(0, pause))
    while True:
        async for body in ask(connection, f"{path}?after={last}", seen):
            answer = json.loads(body or "{}")
            if answer.get("lines"):
                last = answer["first"] + len(answer["lines"]) - 1
                seen.lines += [(time.time(), float(at)) for line in answer["lines"] for at in WRITTEN_AT.findall(line)]
        await asyncio.sleep(pause)


async def poll(connection: Connection, path: str, seen: Seen) -> None:
    """The baseline: an answer that needs nothing, and the pauses of a page that polls."""
    await asyncio.sleep(random.uniform(0, constant("EVERY")))
    while True:
        async for _body in ask(connection, path, seen):
            pass
        await asyncio.sleep(constant("EVERY"))


async def ask(connection: Connection, path: str, seen: Seen) -> AsyncIterator[bytes]:
    """The lines of the answer. If the connection breaks, a browser connects again."""
    try:
        async for line in connection.lines(path):
            seen.answers.append((time.time(), len(line)))
            yield line
    except (OSError, EOFError):
        seen.failures += 1


async def run_clients(port: int, path: str, sessions: list[str]) -> Seen:
    """Until the standard input ends."""
    seen = Seen()
    act = poll if path == "/healthz" else watch
    clients = [asyncio.create_task(act(Connection(port, cookie), path, seen)) for cookie in sessions]
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    done, _rest = await asyncio.wait([ended, *clients], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {ended}:
        task.result()
    return seen


def clients_main(port: int, path: str) -> None:
    sessions = json.loads(sys.stdin.readline())
    seen = asyncio.run(run_clients(port, path, sessions))
    print(json.dumps([seen.lines, seen.answers, seen.failures]))


class Clients:
    """The process of the clients."""

    def __init__(self, service: Service, path: str, sessions: list[str]) -> None:
        command = [sys.executable, "-m", "bench.watchers", "--clients", str(service.port), path]
        self._process = subprocess.Popen(command, cwd=BASE_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._process.stdin:
            self._process.stdin.write(json.dumps(sessions) + "\n")
            self._process.stdin.flush()

    def end(self) -> Seen:
        """What they saw. Raises RuntimeError if one of them failed."""
        output, _errors = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError("the clients failed")
        lines, answers, failures = json.loads(output)
        return Seen([tuple(each) for each in lines], [tuple(each) for each in answers], failures)


# --- the measurement


@dataclass(frozen=True)
class Window:
    """A span of time, and the cores that the web processes kept busy in it."""

    since: float
    until: float
    cores: float

    def holds(self, at: float) -> bool:
        return self.since <= at <= self.until

    def rate(self, seen: Seen) -> float:
        """Answers per second."""
        return sum(self.holds(at) for at, _size in seen.answers) / (self.until - self.since)


def find_web_processes(service: Service) -> list[psutil.Process]:
    """Those of the web server. Others may end while one looks."""
    webs = []
    for process in processes(service):
        with suppress(psutil.NoSuchProcess):
            webs += [process] if name_of(process) == "web" else []
    return webs


def measure(webs: list[psutil.Process], seconds: float = WINDOW_SECONDS) -> Window:
    since, before = time.time(), used_by(webs)
    time.sleep(seconds)
    until, after = time.time(), used_by(webs)
    return Window(since, until, (after - before) / (until - since))


def used_by(webs: list[psutil.Process]) -> float:
    """Processor time of the processes with all their threads, in seconds."""
    return sum(times.user + times.system for times in (web.cpu_times() for web in webs))


def compare(service: Service, sessions: list[str]) -> None:
    webs = find_web_processes(service)
    idle = measure(webs, SETTLE_SECONDS)
    submit(service, NAME, WRITER.format(gates=service.gates))
    service.wait(NAME, "running", timeout=60)
    clients = Clients(service, f"/submissions/{pk_of(service, NAME)}/attempts/1/log/follow/", sessions)
    time.sleep(SETTLE_SECONDS)
    writing = measure(webs)
    (service.gates / "quiet").touch()
    while "nothing more" not in service.log(NAME):
        time.sleep(0.5)
    time.sleep(SETTLE_SECONDS)
    quiet = measure(webs)
    seen = clients.end()
    (service.gates / "end").touch()
    service.wait(NAME, "succeeded", timeout=60)
    clients = Clients(service, "/healthz", sessions)
    time.sleep(SETTLE_SECONDS)
    bare = measure(webs)
    show(idle, writing, quiet, bare, seen, clients.end())


def show(idle: Window, writing: Window, quiet: Window, bare: Window, seen: Seen, seen_bare: Seen) -> None:
    print(f"idle: {idle.cores * 100:.1f} % of a core; failed requests: {seen.failures} and {seen_bare.failures}")
    late = sorted(arrived - written for arrived, written in seen.lines if writing.holds(arrived))
    lines = len({written for arrived, written in seen.lines if writing.holds(arrived)})
    print(f"{lines} lines were written in {WINDOW_SECONDS} s, and arrived {len(late)} times at {WATCHERS} watchers")
    aim = Aim(MAX_CORES * 100)
    who = f"{WATCHERS} watchers"
    report(
        Result(f"{who}, lines are written", writing.cores * 100, "% of a core", bare.cores * 100, aim),
        Result(f"{who}, nothing is written", quiet.cores * 100, "% of a core", bare.cores * 100, aim),
        Result(f"{who}, lines are written: answers", writing.rate(seen), "/s", bare.rate(seen_bare)),
        Result(f"{who}, nothing is written: answers", quiet.rate(seen), "/s", bare.rate(seen_bare)),
        Result("a line, from writing to arriving: median", statistics.median(late), "s"),
        Result("a line, from writing to arriving: p95", late[int(len(late) * 0.95)], "s"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.clients:
        return clients_main(int(asked.clients[0]), asked.clients[1])
    with tempfile.TemporaryDirectory() as folder, ArchiveHost() as archive, DesciServer(SECRET) as desci:
        Path(folder).chmod(0o755)  # builds run as another user if the service is root's
        settings = {"BUILD_COMMAND": quick.COMMAND, "WORKERS": "1", "WEB_WORKERS": "2", "SECRET_KEY": "any"}  # that of in_django
        service = Service(Path(folder) / "data", archive, desci, **settings)
        service.start()
        try:
            compare(service, json.loads(in_django(service, MAKE_VIEWERS.format(role=VIEWERS, count=WATCHERS))))
        finally:
            service.stop()
    return None


if __name__ == "__main__":
    main()
