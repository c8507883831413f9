"""A queue store for tests: fixtures to import where they are used."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from builds.queue import store as queue
from tests.support.queue_server import LOCAL, server


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    """Start a queue store on a unix socket. Yields its address."""
    with tempfile.TemporaryDirectory(prefix="jobsite-") as name, server(Path(name), *LOCAL):
        yield f"unix://{name}/v.sock"


@pytest.fixture
def store(valkey: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """An empty queue store that the service's code uses at once, without a thread."""
    settings.REDIS_URL = valkey
    monkeypatch.setattr(queue, "enqueue_soon", queue.enqueue)
    queue.fail_fast_connection.cache_clear()
    queue.build_queue.cache_clear()
    yield queue.fail_fast_connection()
    queue.fail_fast_connection().flushall()
    queue.fail_fast_connection().close()
    queue.fail_fast_connection.cache_clear()
    queue.build_queue.cache_clear()
