"""Our own programs in a build's sandbox: as forks where that is possible, and otherwise started, with the same result."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builds.engine.context import Context
from builds.engine.myst import own_tools
from builds.errors import SandboxLost
from builds.lib import fork_server
from builds.lib.fork_server import ForkServer
from tests.support.sandboxed import BUBBLEWRAP, FINE, needs_bubblewrap, read_page
from tests.support.stage_context import make_context

pytestmark = [
    pytest.mark.slow,
    needs_bubblewrap,
]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    # An ordinary user has no control groups here.
    made = make_context(tmp_path, groups=SimpleNamespace(make=lambda *arguments: None))
    (made.workspace / "index.json").write_text("{}")
    return replace(made, sandbox=BUBBLEWRAP.sandbox(made.workspace, "a build"))


def test_it_runs_as_a_fork(context: Context, running_fork_server: ForkServer, caplog: pytest.LogCaptureFixture) -> None:
    assert read_page(context) == FINE
    assert (fork_server.current(), caplog.records) == (running_fork_server, [])


def test_it_is_started_where_the_server_does_not_fork_it(
    context: Context, running_fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    os.kill(running_fork_server.pid, signal.SIGKILL)
    monkeypatch.setattr(fork_server.ForkServer, "is_there", True)  # it has ended a moment later
    with caplog.at_level(logging.WARNING):
        assert read_page(context) == FINE
    assert "read_exports.py is started as a new process" in caplog.text
    assert fork_server.current() is None


def test_a_sandbox_that_is_lost_in_both_ways_is_the_services_fault(
    context: Context, running_fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*arguments: Any, **options: Any) -> None:
        raise SandboxLost("lost")

    monkeypatch.setattr(own_tools, "run_command", lose)
    with pytest.raises(SandboxLost):
        read_page(context)
