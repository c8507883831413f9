"""Reads the queue store for the admin's dashboard, without writing to it and without building RQ's objects from what it holds.

RQ's own readers clean up while they read, and fail on odd content. Here every field is text of limited length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from redis import RedisError
from rq import worker_registration
from rq.worker import BaseWorker

from builds.queue.jobs import BuildJob
from builds.queue.store import build_queue, fail_fast_connection

# RQ's lists of jobs, as its registries are named.
LISTS = ("queued", "started", "finished", "failed", "scheduled", "deferred")
JOB_FIELDS = ("status", "created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat", "worker_name", "origin")
WORKER_FIELDS = ("state", "hostname", "pid", "birth", "last_heartbeat", "current_job", "version")
MAX_TEXT = 200
MAX_WORKERS = 500
UNREADABLE = "unreadable"


class StoreUnavailable(Exception):
    """The queue store does not answer, or a key does not hold what RQ keeps under it."""


@dataclass(frozen=True)
class Entry:
    """A job or a worker: its id or name, and the fields that the store has."""

    id: str
    fields: dict[str, str]


def count_jobs() -> dict[str, str]:
    """The length of each list, or ``unreadable``."""
    return dict(zip(LISTS, map(_shown, _run(_length(name) for name in LISTS)), strict=True))


def read_jobs(name: str, first: int, count: int) -> list[Entry]:
    """The jobs of one of ``LISTS``: the queued in their order, the others newest first."""
    command = "LRANGE" if name == "queued" else "ZREVRANGE"
    ids = _names(command, _key(name), first, first + count - 1)
    # A started job is listed with its execution: their ids have a colon between them.
    return _read([id.partition(":")[0] for id in ids], BuildJob.key_for, JOB_FIELDS)


def read_job(job_id: str) -> Entry | None:
    """One job; None if the store does not have it."""
    entry = _read([job_id], BuildJob.key_for, JOB_FIELDS)[0]
    return entry if entry.fields else None


def read_workers() -> list[Entry]:
    """The workers that are registered in the queue store, by name."""
    prefix = BaseWorker.redis_worker_namespace_prefix
    keys = _names("SMEMBERS", worker_registration.WORKERS_BY_QUEUE_KEY % build_queue().name)
    names = sorted(key.removeprefix(prefix) for key in keys)[:MAX_WORKERS]
    return _read(names, lambda name: prefix + name, WORKER_FIELDS)


def _names(*command: Any) -> list[str]:
    """The answer of a command that lists names."""
    names = _run([command])[0]
    if isinstance(names, Exception):
        raise StoreUnavailable(f"The queue store has unexpected content under {command[1]}: {names}")
    return [_shown(name) for name in names]


def _key(name: str) -> str:
    queue = build_queue()
    return str(queue.key if name == "queued" else getattr(queue, f"{name}_job_registry").key)


def _length(name: str) -> tuple[Any, ...]:
    return ("LLEN" if name == "queued" else "ZCARD", _key(name))


def _read(ids: list[str], key_of: Callable[[str], Any], fields: tuple[str, ...]) -> list[Entry]:
    """The named fields of the hash of each id. A key that is not a hash gives one field that says so."""
    found = _run(("HMGET", key_of(id), *fields) for id in ids)
    return [Entry(id, _fields(fields, values)) for id, values in zip(ids, found, strict=True)]


def _fields(names: tuple[str, ...], values: Any) -> dict[str, str]:
    if isinstance(values, Exception):
        return {names[0]: UNREADABLE}
    return {name: _shown(value) for name, value in zip(names, values, strict=True) if value}


def _run(commands: Iterable[tuple[Any, ...]]) -> list[Any]:
    """The commands' answers; a command that the store refuses answers with its error."""
    try:
        with fail_fast_connection().pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py does not annotate it
            return pipeline.execute(raise_on_error=False)
    except RedisError as error:
        raise StoreUnavailable(f"The queue store is not available: {error}") from error


def _shown(value: Any) -> str:
    if isinstance(value, Exception):
        return UNREADABLE
    return value[:MAX_TEXT].decode(errors="replace") if isinstance(value, bytes) else str(value)
