"""A program in a sandbox runs in its control group from its first moment on, although the sandbox was made outside."""

from __future__ import annotations

import errno
import os
import select
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from builds.engine.process.ceilings import Ceilings
from builds.engine.process.cgroups import Group
from builds.engine.process.command import Completed
from builds.engine.sandbox import gate
from builds.engine.sandbox.gate import Gate
from builds.errors import SandboxLost, SandboxUnavailable
from builds.lib.stop import Stop
from tests.support.commands import run_in
from tests.support.sandboxed import BUBBLEWRAP, GROUPS, needs_bubblewrap, needs_groups, zombies

pytestmark = [
    pytest.mark.slow,
    needs_bubblewrap,
    needs_groups,
]
CEILINGS = Ceilings(memory=200_000_000, processes=50)


@dataclass
class Watched:
    """The groups of this machine, each of which tells ``moves`` before and after it is given a process."""

    moves: Any

    def make(self, build_id: str, ceilings: Ceilings) -> Group | None:
        group = GROUPS.make(build_id, ceilings)
        assert group
        add = group.add

        def adding(pid: int) -> None:
            self.moves("before", group, pid)
            add(pid)
            self.moves("after", group, pid)

        group.add = adding  # type: ignore[method-assign]
        return group


def run(folder: Path, argv: list[str], moves: Any = lambda when, group, pid: None, **options: Any) -> Completed:
    sandbox = BUBBLEWRAP.sandbox(folder, "a build")
    assert sandbox is not None
    sandbox.hand_over()
    environment = {"PATH": "/usr/bin:/bin"}
    completed, _lines = run_in(
        folder, argv, env=environment, sandbox=sandbox, ceilings=CEILINGS, groups=Watched(moves), **options
    )
    return completed


def test_all_that_the_program_uses_is_limited(tmp_path: Path) -> None:
    completed = run(tmp_path, [sys.executable, "-I", "-c", "a = bytearray(400_000_000)"])
    assert completed.hit is not None
    assert completed.hit.text == "used more than its memory limit of 200 MB."


def test_nothing_runs_before_the_sandbox_is_in_the_group(tmp_path: Path) -> None:
    made, found = tmp_path / "made", []

    def slow(when: str, group: Group, pid: int) -> None:
        if when == "before":
            time.sleep(0.3)  # so that the sandbox would have had the time to start the program
        found.append((when, made.exists()))

    assert run(tmp_path, ["touch", "made"], slow).exit_code == 0
    assert (found, made.exists()) == ([(when, False) for when in ("before", "after") * 2], True)


@pytest.mark.parametrize("number", [0, 1], ids=["bubblewrap", "the first process of the sandbox"])
def test_nothing_runs_where_a_process_can_not_be_moved(tmp_path: Path, number: int) -> None:
    seen: list[int] = []

    def refuse(when: str, group: Group, pid: int) -> None:
        if when == "before":
            seen.append(pid)
            if len(seen) > number:
                raise PermissionError(13, "Permission denied")

    with pytest.raises(SandboxUnavailable, match="could not be put into its control group: Permission denied"):
        run(tmp_path, ["touch", "made"], refuse)
    assert not (tmp_path / "made").exists()
    assert not any(map(psutil.pid_exists, seen))
    assert not GROUPS.strays().get(str(tmp_path).replace("/", "_")[-80:])


def test_a_sandbox_that_is_killed_before_its_start_is_not_the_manuscripts_fault(tmp_path: Path) -> None:
    def kill(when: str, group: Group, pid: int) -> None:
        if when == "after" and len(group.members) > 1:
            for member in group.members:
                os.kill(member, 9)

    with pytest.raises(SandboxLost):
        run(tmp_path, ["touch", "made"], kill)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("option", [("--no-such-option",), ("--ro-bind", "/no/such/folder", "/x")], ids=["at once", "later"])
def test_a_sandbox_that_can_not_be_made_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[str, ...]) -> None:
    """Also if it has said which process it has made, and ended before that could be moved."""
    monkeypatch.setattr("builds.engine.sandbox.bubblewrap.Bubblewrap._files", lambda self: option)
    with pytest.raises(SandboxUnavailable, match="could not be made"):
        run(tmp_path, ["touch", "made"], lambda when, group, pid: time.sleep(0.3))


def test_a_bubblewrap_that_says_nothing_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[int] = []
    read = Gate.__dict__["first_process"].func

    def silent(self: Gate) -> int | None:
        said.append(read(self))
        raise TimeoutError(errno.ETIMEDOUT, "bubblewrap did not say which process it has made")

    monkeypatch.setattr(Gate, "first_process", property(silent))
    with pytest.raises(SandboxUnavailable):
        run(tmp_path, ["touch", "made"])
    [first] = said
    os.waitpid(first, 0)  # it ends with bubblewrap


def test_nothing_of_it_is_left_at_its_end(tmp_path: Path) -> None:
    """Bubblewrap often ends before the first process of its sandbox, which then has to be reaped here."""
    before = zombies()
    for _again in range(5):
        assert run(tmp_path, ["/bin/sh", "-c", "sleep 60 & setsid sleep 60 & exit 3"]).exit_code == 3
    assert not zombies() - before
    assert not GROUPS.strays().get(str(tmp_path).replace("/", "_")[-80:])


def test_a_program_that_was_taken_out_of_its_group_is_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Group, "members", set())
    started_at = time.monotonic()
    assert run(tmp_path, ["sleep", "60"], deadline_seconds=1).timed_out
    assert time.monotonic() - started_at < 50


@pytest.mark.parametrize(
    ("said", "has_ended", "problem"),
    [
        (b"", False, "did not say which"),
        (b'{ "child-pid": 12', False, "did not say which"),
        (b'{ "child-pid": 12', True, "did not say all"),
        (b"{}", False, "did not say all"),
    ],
)
def test_a_process_that_bubblewrap_has_not_named_is_not_guessed(
    monkeypatch: pytest.MonkeyPatch, said: bytes, has_ended: bool, problem: str
) -> None:
    monkeypatch.setattr(gate, "INFO_SECONDS", 0.1)
    info, says = os.pipe()
    os.write(says, said)
    if has_ended:
        os.close(says)
    with pytest.raises(OSError, match=problem):
        _ = Gate(info, go=-1).first_process
    for descriptor in (info, *([] if has_ended else [says])):
        os.close(descriptor)


def test_all_that_bubblewrap_says_is_read() -> None:
    """Otherwise it would end when it says the rest."""
    info, says = os.pipe()
    os.write(says, b'{\n    "child-pid": 123,')
    writer = threading.Timer(0.1, os.write, (says, b'\n    "net-namespace": 1\n}\n'))
    writer.start()
    assert Gate(info, go=-1).first_process == 123
    writer.join()
    assert not select.select([info], [], [], 0)[0]
    os.close(info)
    os.close(says)


def test_a_program_that_does_not_end_is_ended(tmp_path: Path) -> None:
    before = zombies()
    completed = run(tmp_path, ["sleep", "60"], deadline_seconds=1, stop=Stop())
    assert (completed.timed_out, zombies() - before) == (True, set())
