"""What tests of several rooms of the engine need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from builds.engine.tools import TOOLS
from builds.lib import fork_server
from builds.lib.fork_server import ForkServer


@pytest.fixture
def running_fork_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkServer]:
    """The fork server of this process, as a worker has one."""
    monkeypatch.setattr(fork_server, "_of_this_process", None)
    running = fork_server.keep_running(TOOLS / "fork_server.py")
    yield running
    running.close()
