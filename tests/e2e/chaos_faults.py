"""The faults of the chaos test. Each returns whether it found what it is to hit; those that last do so while submissions go on."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import psutil
from redis import Redis, RedisError

from jobsite import embedded
from tests.e2e.conftest import FINAL, WAIT_SECONDS, Service

if TYPE_CHECKING:
    from tests.e2e.chaos import Chaos

LEASE_SECONDS = 4
# How long something is stopped or locked that must not lose a build by it, or lose it and retry it.
LONGER_THAN_A_LEASE = LEASE_SECONDS + 4
DATABASE = "jobsite.sqlite3"
# A build that is still running when its work-horse is stopped. Its processes are known by the jobId in the command.
SLEEP = "sh -c 'sleep 600; :' {job_id}\n"

Fault = Callable[["Chaos"], bool]


def processes(service: Service, *words: str) -> list[psutil.Process]:
    """The service's processes whose command contains all of ``words``."""
    assert service.process is not None
    found = []
    for child in psutil.Process(service.process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if all(word in " ".join(child.cmdline()) for word in words):
                found.append(child)
    return found


def programs(service: Service, *words: str) -> list[psutil.Process]:
    """Those that the supervisor has started."""
    return [process for process in processes(service, *words) if _is_program(process, service)]


def work_horses(service: Service) -> list[psutil.Process]:
    return [process for process in processes(service, "manage.py", "worker") if not _is_program(process, service)]


def _is_program(process: psutil.Process, service: Service) -> bool:
    with suppress(psutil.Error):
        return service.process is not None and process.ppid() == service.process.pid
    return False


# --- processes


def kill(find: Callable[[Service], list[psutil.Process]]) -> Fault:
    def fault(chaos: Chaos) -> bool:
        found = find(chaos.service)
        if found:
            with suppress(psutil.Error):
                chaos.random.choice(found).send_signal(signal.SIGKILL)
        return bool(found)

    return fault


def stop(find: Callable[[Service], list[psutil.Process]]) -> Fault:
    """Stop a process with SIGSTOP for longer than a lease, then let it continue."""

    def fault(chaos: Chaos) -> bool:
        found = find(chaos.service)
        if found:
            chaos.meanwhile(partial(_stop_for_a_while, chaos.random.choice(found)))
        return bool(found)

    return fault


def _stop_for_a_while(process: psutil.Process) -> None:
    with suppress(psutil.Error):
        process.suspend()
        time.sleep(LONGER_THAN_A_LEASE)
        process.resume()


def hang_two(*, cancelled: bool) -> Fault:
    """Stop two work-horses for good. Their builds are cancelled, or must end at their time limit."""

    def fault(chaos: Chaos) -> bool:
        job_ids = [f"hung-{len(chaos.kinds)}-{side}" for side in ("left", "right")]
        for job_id in job_ids:
            chaos.add_repository(job_id, SLEEP.format(job_id=job_id))
            chaos.submit(job_id, "hung and cancelled" if cancelled else "hung", repository=job_id)
        chaos.meanwhile(partial(_hang, chaos, job_ids, cancelled=cancelled))
        return True

    return fault


def _hang(chaos: Chaos, job_ids: list[str], *, cancelled: bool) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    waiting, horses = set(job_ids), dict[str, psutil.Process]()
    while waiting and time.monotonic() < deadline:
        horses |= {job_id: horse for job_id in waiting for horse in _horses_of(chaos.service, job_id)}
        waiting = {job_id for job_id in waiting - set(horses) if chaos.status(job_id)["state"] not in FINAL}
        time.sleep(0.1)
    for horse in horses.values():
        with suppress(psutil.Error):
            horse.suspend()
            chaos.hung.append(horse)
    if cancelled:
        _cancel(chaos, job_ids)


def _horses_of(service: Service, job_id: str) -> list[psutil.Process]:
    """The work-horse that runs a command with this jobId: the ancestor whose parent is a worker."""
    workers = {worker.pid for worker in programs(service, "manage.py", "worker")}
    found = []
    for process in processes(service, job_id):
        with suppress(psutil.Error):
            found += [ancestor for ancestor in process.parents() if ancestor.ppid() in workers]
    return found[:1]


def _cancel(chaos: Chaos, job_ids: Iterable[str]) -> None:
    started_at = time.monotonic()
    for job_id in job_ids:
        chaos.cancel(job_id)
    for job_id in job_ids:
        while chaos.status(job_id)["state"] not in FINAL:
            assert time.monotonic() < started_at + WAIT_SECONDS, f"{job_id} was cancelled and does not end"
            time.sleep(0.1)
        chaos.cancel_seconds.append(time.monotonic() - started_at)


# --- the queue store, the database, the clock


def flush(chaos: Chaos) -> bool:
    with suppress(RedisError):
        Redis.from_url(embedded.redis_url(chaos.service.data_dir), socket_timeout=5).flushall()
    return True


def lock_database(chaos: Chaos) -> bool:
    """Hold the only write lock for longer than a lease."""
    chaos.meanwhile(partial(_hold_write_lock, chaos.service))
    return True


def _hold_write_lock(service: Service) -> None:
    connection = sqlite3.connect(service.data_dir / DATABASE, timeout=60, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(LONGER_THAN_A_LEASE)
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def step_clock(chaos: Chaos) -> bool:
    """Step the wall clock of all programs, forward or back, by more than a lease; the next time to the true time."""
    assert chaos.clock is not None
    away = chaos.random.choice((-1, 1)) * chaos.random.randrange(10 * LEASE_SECONDS, 30 * LEASE_SECONDS)
    chaos.clock.step_to(0 if chaos.clock.shift else away)
    return True


# --- desci-server and the archive host


def away(chaos: Chaos) -> bool:
    chaos.service.desci.fail(500, for_seconds=chaos.random.uniform(1, 5))
    return True


def slow(chaos: Chaos) -> bool:
    chaos.service.desci.slow(chaos.random.uniform(0.5, 2), for_seconds=5)
    return True


def never_answer(chaos: Chaos) -> bool:
    """desci-server reads the next calls and never answers, as when its handler fails (CONTRACT §3)."""
    chaos.service.desci.hang(chaos.random.choice(CALLS))
    return True


def desci_down(chaos: Chaos) -> bool:
    chaos.service.desci.down()
    time.sleep(chaos.random.uniform(0.5, 3))
    chaos.service.desci.up()
    return True


def drip(*calls: str, headers: bool) -> Fault:
    """desci-server answers a byte at a time: to four status updates, as many as the outbox sends at once, or to a delivery."""

    def fault(chaos: Chaos) -> bool:
        where = chaos.random.choice(calls)
        chaos.service.desci.drip(where, times=4 if where == "updateStatus" else 1, headers=headers, every=0.5)
        return True

    return fault


def lie(*, html: bool) -> Fault:
    """desci-server answers 200 and does nothing."""

    def fault(chaos: Chaos) -> bool:
        chaos.service.desci.lie(html=html, for_seconds=chaos.random.uniform(1, 5))
        return True

    return fault


def archive_drips(chaos: Chaos) -> bool:
    chaos.service.archive.fail("/chaos/", action="drip-headers", every=0.5, times=2)
    return True


def archive_limits(chaos: Chaos) -> bool:
    """The archive host answers 429 and asks to wait for some seconds."""
    chaos.service.archive.limit("/chaos/", seconds=chaos.random.randrange(1, 5), times=2)
    return True


# --- all of them

CALLS = ("updateStatus", "receiveFiles")
PROGRAMS: dict[str, Callable[[Service], list[psutil.Process]]] = {
    "work-horse": work_horses,
    "worker": lambda service: programs(service, "manage.py", "worker"),
    "web process": lambda service: programs(service, "manage.py", "web"),
    "outbox": lambda service: programs(service, "manage.py", "outbox"),
    "reconciler": lambda service: programs(service, "manage.py", "reconciler"),
    "queue store": lambda service: programs(service, "valkey-server"),
}
LOCKED, CLOCK = "database locked for longer than a lease", "clock stepped"
FAULTS: dict[str, Fault] = {
    "build killed": kill(lambda service: processes(service, "build.sh")),
    **{f"{name} killed": kill(find) for name, find in PROGRAMS.items()},
    **{f"{name} stopped for longer than a lease": stop(find) for name, find in PROGRAMS.items()},
    "queue store flushed": flush,
    LOCKED: lock_database,
    CLOCK: step_clock,
    "desci-server answers 500": away,
    "desci-server slow": slow,
    "desci-server never answers": never_answer,
    "desci-server down": desci_down,
    "desci-server drips headers to an update": drip("updateStatus", headers=True),
    "desci-server drips headers to a delivery": drip("receiveFiles", headers=True),
    "desci-server drips a body": drip(*CALLS, headers=False),
    "desci-server answers 200 with a page": lie(html=True),
    "desci-server answers 200 with a refusal": lie(html=False),
    "archive host drips headers": archive_drips,
    "archive host limits its rate": archive_limits,
    "two work-horses hung and cancelled": hang_two(cancelled=True),
    "two work-horses hung": hang_two(cancelled=False),
}
