"""A queue store of the tests' own: fixtures, to be imported where they are used."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from builds import queue, service


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    """A queue store of its own, on a unix socket; gives its address."""
    folder = Path(tempfile.mkdtemp(prefix="jobsite-"))
    socket = folder / "v.sock"
    command = [service._queue_store_program(), "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not socket.exists():
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield f"unix://{socket}"
    running.terminate()
    running.wait(20)
    shutil.rmtree(folder)


@pytest.fixture
def store(valkey: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """The queue store, empty, and used by the service's code, at once."""
    settings.REDIS_URL = valkey
    monkeypatch.setattr(queue, "enqueue_soon", queue.enqueue)
    queue.hurried_connection.cache_clear()
    queue.builds.cache_clear()
    yield queue.hurried_connection()
    queue.hurried_connection().flushall()
    queue.hurried_connection().close()
    queue.hurried_connection.cache_clear()
    queue.builds.cache_clear()
