"""What somebody who can write to the queue store could have run by a worker: nothing. Each try works on RQ's own worker."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.cache import caches
from redis import Redis
from rq.serializers import JSONSerializer

from builds import queue
from builds.models import Build, State
from tests.rows import submit
from tests.test_workers import Program, program, wait_until

__all__ = ["program"]

pytestmark = pytest.mark.django_db(transaction=True)

LIST, STARTED = "rq:queue:builds", "rq:wip:builds"
CANARY = "import pathlib\npathlib.Path(__file__).with_name('sang').mkdir(exist_ok=True)\ndef run(*a, **k): pass\n"
CALL: tuple[Any, ...] = (queue.TASK, None, ["00000000-0000-0000-0000-000000000000"], {})


class Evil:
    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "sang")

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str, int, bool]]:
        return os.makedirs, (self.path, 0o700, True)


@pytest.fixture
def cage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module ``canary``, which the worker can import. Imported, or unpickled, it makes the folder ``sang``."""
    (tmp_path / "canary.py").write_text(CANARY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
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


Poison = Callable[[Path, Callable[[Any], bytes]], dict[str, bytes]]
POISONS = [with_function, with_pickle, with_pickled_meta, with_pickled_result, with_callbacks]


def put(store: Redis, fields: dict[str, bytes], *, status: str = "queued") -> None:
    """A job that has no build: next in the list, or, started, one whose worker is long gone."""
    job: Any = {"created_at": "2026-01-01T00:00:00.000000Z", "origin": "builds", "status": status, **fields}
    store.hset("rq:job:evil", mapping=job)
    if status == "queued":
        store.rpush(LIST, "evil")
        store.sadd("rq:queues", LIST)
    else:
        store.zadd(STARTED, {"evil:1": 1})


def run_a_good_build_after_it(program: Program) -> None:
    build = submit().newest_build()
    program()
    wait_until(Build.objects.filter(pk=build.pk, state=State.FAILED, cause_code="exports-not-declared").exists)


def run_stock_worker(cage: Path) -> None:
    command = [sys.executable, "-m", "rq.cli", "worker", "--burst", "-u", django_settings.REDIS_URL, "builds"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(cage)}, timeout=120, check=True, capture_output=True)


@pytest.mark.parametrize("dumps", [pickle.dumps, JSONSerializer.dumps], ids=["pickle", "json"])
@pytest.mark.parametrize("poison", POISONS)
def test_a_job_that_somebody_else_put_there_runs_nothing(
    store: Redis, program: Program, cage: Path, poison: Poison, dumps: Callable[[Any], bytes]
) -> None:
    put(store, poison(cage, dumps))
    run_a_good_build_after_it(program)
    assert store.lrange(LIST, 0, -1) == []
    assert not (cage / "sang").exists()


def test_an_abandoned_job_calls_nothing(store: Redis, program: Program, cage: Path) -> None:
    put(store, with_callbacks(cage, pickle.dumps), status="started")
    program()
    wait_until(lambda: store.zcard(STARTED) == 0)
    assert not (cage / "sang").exists()


@pytest.mark.parametrize("poison", POISONS)
def test_each_of_them_would_run_with_the_worker_as_it_comes(store: Redis, cage: Path, poison: Poison) -> None:
    put(store, poison(cage, pickle.dumps))
    run_stock_worker(cage)
    assert (cage / "sang").exists()


def test_an_abandoned_job_would_call_with_the_worker_as_it_comes(store: Redis, cage: Path) -> None:
    put(store, with_callbacks(cage, pickle.dumps), status="started")
    run_stock_worker(cage)
    assert (cage / "sang").exists()


def test_a_queued_build_is_told_by_its_id_alone(store: Redis) -> None:
    build_id = str(submit().newest_build().pk)
    job = queue.BuildJob.fetch(build_id, connection=store)
    assert (job.func_name, job.args, job.kwargs, job.instance) == (queue.TASK, (build_id,), {}, None)
    fields: Any = store.hgetall(f"rq:job:{build_id}")
    assert json.loads(zlib.decompress(fields.pop(b"data"))) == [queue.TASK, None, [build_id], {}]
    assert b"test-secret" not in b" ".join(fields.values())


def test_the_counts_of_requests_are_no_pickles_either(settings: Any, valkey: str, store: Redis, cage: Path) -> None:
    settings.CACHES = {**settings.CACHES, "rates": {**settings.CACHES["rates"], "LOCATION": valkey}}
    rates = caches["rates"]
    rates.add("one", 0)
    assert rates.incr("one") == 1
    store.set(rates.make_key("evil"), pickle.dumps(Evil(cage)))
    with pytest.raises(ValueError):
        rates.get("evil")
    assert not (cage / "sang").exists()
