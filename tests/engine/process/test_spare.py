"""A sandbox that is made before it is needed is one that would have been made then, and nothing of it is left if it is not needed."""

from __future__ import annotations

import errno
import os
import signal
import threading
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from builds.engine import terminal
from builds.engine.context import Context
from builds.engine.myst import own_tools
from builds.engine.process.ceilings import Ceilings
from builds.engine.process.cgroups import Group, Groups, Version
from builds.engine.process.command import Command
from builds.engine.process.spare import Spare
from builds.engine.process.start import Starting
from builds.engine.process.tree import Tree
from builds.engine.sandbox import bubblewrap, joining
from builds.engine.terminal import Progress
from builds.errors import ArchiveUnsafe, ProcessesLeft, SandboxUnavailable
from builds.lib import fork_server
from tests.support.sandboxed import BUBBLEWRAP, FINE, GROUPS, needs_bubblewrap, needs_groups, read_page, zombies
from tests.support.stage_context import make_context
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("running_fork_server"),
    needs_bubblewrap,
    needs_groups,
]
MEMORY_LIMIT = "memory.max" if GROUPS.version == Version.V2 else "memory.limit_in_bytes"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Group]:
    """The control groups that were made: one for each sandbox."""
    groups: list[Group] = []
    make = Groups.make

    def kept(self: Groups, build_id: str, ceilings: Ceilings) -> Group | None:
        group = make(self, build_id, ceilings)
        assert group
        groups.append(group)
        return group

    monkeypatch.setattr(Groups, "make", kept)
    return groups


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    before = zombies()
    context = make_context(tmp_path, groups=GROUPS)
    (context.workspace / "index.json").write_text("{}")
    yield replace(context, sandbox=BUBBLEWRAP.sandbox(context.workspace, "a build"))
    assert not GROUPS.strays().get(context.build_id)
    assert not zombies() - before


def descriptors_now() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_program_runs_in_the_sandbox_that_was_made_before(context: Context, made: list[Group]) -> None:
    own_tools.prepare(context)
    assert (read_page(context), len(made)) == (FINE, 1)
    assert (read_page(context), len(made)) == (FINE, 2)  # each sandbox is for one program


def test_its_limits_hold(context: Context, made: list[Group]) -> None:
    limited = replace(context, limits=replace(context.limits, ceilings=Ceilings(memory=60_000_000, processes=50)))
    own_tools.prepare(limited)
    wait_until(lambda: len(made[0].members) == 3)  # bubblewrap, the first process inside, and the shell that waits
    assert (made[0].folders["memory"] / MEMORY_LIMIT).read_text().strip() == str(60_000_000 // 4096 * 4096)
    assert read_page(limited) == FINE


def test_nothing_is_left_of_one_that_is_not_needed(context: Context, made: list[Group]) -> None:
    descriptors, threads = descriptors_now(), threading.active_count()
    with context.spare:
        own_tools.prepare(context)
        own_tools.prepare(context)  # one is there already
        assert len(made) == 1
    wait_until(lambda: threading.active_count() == threads)
    assert descriptors_now() == descriptors
    context.spare.close()


@pytest.mark.parametrize(
    "other",
    [{"env": {"LANG": "C"}}, {"limits": {"ceilings": Ceilings(processes=51)}}, {"sandbox": {"nice": 7}}],
    ids=["environment", "limits", "sandbox"],
)
def test_a_program_that_needs_another_one_gets_its_own(context: Context, made: list[Group], other: dict[str, Any]) -> None:
    own_tools.prepare(context)
    changed = replace(context, limits=replace(context.limits, **other.get("limits", {})))
    assert context.sandbox
    changed = replace(changed, sandbox=replace(context.sandbox, **other.get("sandbox", {})))
    assert (read_page(changed, env=other.get("env", {})), len(made)) == (FINE, 2)


def test_a_program_that_no_fork_can_be_gets_its_own(context: Context, made: list[Group]) -> None:
    own_tools.prepare(context)
    fork_server.do_without()
    assert (read_page(context), len(made)) == (FINE, 2)


def test_one_that_was_killed_while_it_waited_is_made_again(context: Context, made: list[Group]) -> None:
    own_tools.prepare(context)
    wait_until(lambda: len(made[0].members) == 3)
    bubblewrap = psutil.Process(context.spare._made.result().process.pid)
    for member in made[0].members:
        with suppress(ProcessLookupError):  # the end of one may be that of another
            os.kill(member, signal.SIGKILL)
    wait_until(lambda: bubblewrap.status() == psutil.STATUS_ZOMBIE)
    assert (read_page(context), len(made)) == (FINE, 2)
    assert fork_server.current() is not None


def test_one_that_can_not_be_made_is_made_when_it_is_needed(
    context: Context, made: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Group, pid: int) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Group, "add", refuse)
        own_tools.prepare(context)
        assert context.spare._made.exception()
    assert (read_page(context), len(made)) == (FINE, 2)


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()], ids=["no thread", "no memory"])
def test_it_needs_no_thread(context: Context, made: list[Group], monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(self: threading.Thread) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        own_tools.prepare(context)
    assert (read_page(context), len(made)) == (FINE, 1)


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), MemoryError(), SandboxUnavailable("x")], ids=lambda error: type(error).__name__
)
def test_no_build_fails_because_none_can_be_begun(context: Context, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(self: Starting, command: Command) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Starting, "__init__", refuse)
        own_tools.prepare(context)
    assert read_page(context) == FINE


@pytest.mark.parametrize("shell", [joining.SHELL, ("/bin/sleep", "60")], ids=["it ends", "it does not"])
@pytest.mark.parametrize("can_look", [True, False], ids=["found", "not found"])
def test_it_is_ended_whatever_happens(
    context: Context, monkeypatch: pytest.MonkeyPatch, shell: tuple[str, ...], can_look: bool
) -> None:
    def refuse(self: Tree, grace_seconds: float) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    descriptors = descriptors_now()
    monkeypatch.setattr(bubblewrap, "SHELL", shell)
    own_tools.prepare(context)
    with monkeypatch.context() as patched, nullcontext() if can_look else pytest.raises(OSError, match="Too many open files"):
        if not can_look:
            patched.setattr(Tree, "end", refuse)
        context.spare.close()
    assert descriptors_now() == descriptors


@pytest.mark.parametrize("free", range(5))
def test_no_descriptor_is_left_open_where_there_are_too_few(context: Context, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    pipes, pipe = iter(range(free)), os.pipe

    def scarce() -> tuple[int, int]:
        if next(pipes, None) is None:
            raise OSError(errno.EMFILE, "Too many open files")
        return pipe()

    descriptors = descriptors_now()
    with monkeypatch.context() as patched:
        patched.setattr(os, "pipe", scarce)
        own_tools.prepare(context)
    assert descriptors_now() == descriptors
    assert read_page(context) == FINE


@pytest.mark.parametrize("others", [ArchiveUnsafe("x"), None], ids=["after an error", "otherwise"])
def test_an_error_of_its_end_does_not_hide_another(
    context: Context, monkeypatch: pytest.MonkeyPatch, others: Exception | None
) -> None:
    def left(self: Spare) -> None:
        raise ProcessesLeft("y")

    monkeypatch.setattr(Spare, "close", left)
    with pytest.raises(ArchiveUnsafe if others else ProcessesLeft), context.spare:
        if others:
            raise others


@pytest.mark.parametrize("lacks", ["server", "groups", "sandbox"])
def test_none_is_made_where_a_program_joins_none(
    context: Context, made: list[Group], lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lacks == "server":
        monkeypatch.setattr(fork_server, "_of_this_process", None)
    nothing: Any = {} if lacks == "server" else {lacks: None}
    lacking = replace(context, **nothing)
    own_tools.prepare(lacking)
    assert made == []


def test_a_build_that_fails_before_it_needs_one_leaves_none(context: Context, made: list[Group], tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a/myst.yml", "project: {}")
        file.writestr("a/../../b", "")
    with pytest.raises(ArchiveUnsafe):
        terminal.run(context, str(archive), tmp_path, Progress())
    assert len(made) == 1
