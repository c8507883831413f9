"""Jobs that try to run code in whoever loads them, and the fixture that shows whether one did."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq.serializers import JSONSerializer

from builds.queue.jobs import TASK

LIST, STARTED = "rq:queue:builds", "rq:wip:builds"
REGISTRIES = (STARTED, *(f"rq:{name}:builds" for name in ("finished", "failed", "scheduled", "deferred")))
CANARY = "import pathlib\npathlib.Path(__file__).with_name('sang').mkdir(exist_ok=True)\ndef run(*a, **k): pass\n"
CALL: tuple[Any, ...] = (TASK, None, ["00000000-0000-0000-0000-000000000000"], {})
DUMPS = {"pickle": pickle.dumps, "json": JSONSerializer.dumps}

Poison = Callable[[Path, Callable[[Any], bytes]], dict[str, bytes]]


class Evil:
    """Unpickled, it makes the folder ``sang``."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "sang")

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str, int, bool]]:
        return os.makedirs, (self.path, 0o700, True)


@pytest.fixture
def cage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module ``canary`` that every process can import. The import makes the folder ``sang``."""
    (tmp_path / "canary.py").write_text(CANARY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def with_function(cage: Path, dumps: Callable[[Any], bytes]) -> dict[str, bytes]:
    return {"data": dumps(("canary.run", None, [], {}))}


def with_pickle(cage: Path, dumps: Callable[[Any], bytes]) -> dict[str, bytes]:
    return {"data": pickle.dumps(Evil(cage))}


def with_pickled_meta(cage: Path, dumps: Callable[[Any], bytes]) -> dict[str, bytes]:
    return {"data": dumps(CALL), "meta": pickle.dumps(Evil(cage))}


def with_pickled_result(cage: Path, dumps: Callable[[Any], bytes]) -> dict[str, bytes]:
    return {"data": dumps(CALL), "result": pickle.dumps(Evil(cage))}


def with_callbacks(cage: Path, dumps: Callable[[Any], bytes]) -> dict[str, bytes]:
    callbacks = {f"{when}_callback_name": b"canary.run" for when in ("success", "failure", "stopped")}
    return {"data": dumps(CALL), **callbacks}


POISONS = [with_function, with_pickle, with_pickled_meta, with_pickled_result, with_callbacks]


def put(store: Redis, fields: dict[str, bytes], *, status: str = "queued") -> None:
    """A job without a build: either next in the queue, or started by a worker that no longer exists."""
    store.hset("rq:job:evil", mapping=job(fields, status))
    if status == "queued":
        store.rpush(LIST, "evil")
        store.sadd("rq:queues", LIST)
    else:
        store.zadd(STARTED, {"evil:1": 1})


def put_everywhere(store: Redis, cage: Path) -> None:
    """Put every poison into every list and into a worker's current job, each with a pickled result."""
    for poison in POISONS:
        for kind, dumps in DUMPS.items():
            name = f"{poison.__name__}-{kind}"
            store.hset(f"rq:job:{name}", mapping=job(poison(cage, dumps), "failed"))
            store.xadd(f"rq:results:{name}", {"type": 1, "return_value": pickle.dumps(Evil(cage))}, id="1-1")
            store.rpush(LIST, name)
            for registry in REGISTRIES:
                store.zadd(registry, {f"{name}:1" if registry == STARTED else name: 1})
            put_worker(store, name)


def put_worker(store: Redis, job_id: str) -> None:
    worker: Any = {"state": "busy", "current_job": job_id, "birth": "never", "queues": "builds"}
    store.hset("rq:worker:evil", mapping=worker)
    store.sadd("rq:workers", "rq:worker:evil")
    store.sadd("rq:workers:builds", "rq:worker:evil")


def job(fields: dict[str, bytes], status: str) -> Any:
    return {"created_at": "2026-01-01T00:00:00.000000Z", "origin": "builds", "status": status, **fields}
