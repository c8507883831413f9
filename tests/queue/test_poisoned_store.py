"""What a worker would run for someone who can write to the queue store: nothing. Each attempt works on RQ's own worker."""

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
from redis import Redis

from builds.models import Build, State
from builds.queue import jobs
from tests.queue.poison import DUMPS, LIST, POISONS, STARTED, Poison, cage, put, with_callbacks
from tests.service.test_worker import Program, environment, program
from tests.support.rows import submit
from tests.support.waiting import wait_until

__all__ = ["cage", "program"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def failed_normally(build: Build) -> bool:
    return Build.objects.filter(pk=build.pk, state=State.FAILED, cause_code="exports-not-declared").exists()


def run_a_good_build_after_it(program: Program) -> None:
    build = submit().newest_build()
    program()
    wait_until(lambda: failed_normally(build))


def run_stock_worker(cage: Path) -> None:
    command = [sys.executable, "-m", "rq.cli", "worker", "--burst", "-u", django_settings.REDIS_URL, "builds"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(cage)}, timeout=120, check=True, capture_output=True)


@pytest.mark.parametrize("dumps", DUMPS.values(), ids=DUMPS)
@pytest.mark.parametrize("poison", POISONS)
def test_a_poisoned_job_runs_nothing(
    store: Redis, program: Program, cage: Path, poison: Poison, dumps: Callable[[Any], bytes]
) -> None:
    put(store, poison(cage, dumps))
    run_a_good_build_after_it(program)
    assert store.lrange(LIST, 0, -1) == []
    assert not (cage / "sang").exists()


@pytest.mark.parametrize("poison", POISONS)
def test_a_poisoned_job_runs_nothing_under_rqworker(store: Redis, cage: Path, poison: Poison) -> None:
    put(store, poison(cage, pickle.dumps))
    build = submit().newest_build()
    command = [sys.executable, str(django_settings.BASE_DIR / "manage.py"), "rqworker", "builds", "--burst"]
    subprocess.run(command, env=environment(django_settings.REDIS_URL), timeout=120, check=True)
    assert failed_normally(build)
    assert store.lrange(LIST, 0, -1) == []
    assert not (cage / "sang").exists()


def test_an_abandoned_job_calls_nothing(store: Redis, program: Program, cage: Path) -> None:
    put(store, with_callbacks(cage, pickle.dumps), status="started")
    program()
    wait_until(lambda: store.zcard(STARTED) == 0)
    assert not (cage / "sang").exists()


@pytest.mark.parametrize("poison", POISONS)
def test_the_stock_worker_runs_each_poisoned_job(store: Redis, cage: Path, poison: Poison) -> None:
    put(store, poison(cage, pickle.dumps))
    run_stock_worker(cage)
    assert (cage / "sang").exists()


def test_the_stock_worker_calls_the_callbacks_of_an_abandoned_job(store: Redis, cage: Path) -> None:
    put(store, with_callbacks(cage, pickle.dumps), status="started")
    run_stock_worker(cage)
    assert (cage / "sang").exists()


def test_a_queued_job_holds_only_the_id_of_its_build(store: Redis) -> None:
    build_id = str(submit().newest_build().pk)
    job = jobs.BuildJob.fetch(build_id, connection=store)
    assert (job.func_name, job.args, job.kwargs, job.instance) == (jobs.TASK, (build_id,), {}, None)
    fields: Any = store.hgetall(f"rq:job:{build_id}")
    assert json.loads(zlib.decompress(fields.pop(b"data"))) == [jobs.TASK, None, [build_id], {}]
    assert b"test-secret" not in b" ".join(fields.values())
