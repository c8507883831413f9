"""This machine's real control groups, with real programs in them; the files of version 2 also where there is only version 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from builds import process
from builds.ceilings import Ceilings
from builds.cgroup_choice import LEAF, _settle, _Unusable, choose
from builds.cgroups import LARGEST_PAGES, Groups, Unified, Version
from builds.diagnosis import Clues
from builds.stages import Stop

GROUPS = choose("auto")
real = pytest.mark.skipif(not GROUPS, reason=" ".join(GROUPS.problems) or "none")
CEILINGS = Ceilings(memory=200_000_000, processes=50, cpu_weight=33)
HOG = f"{sys.executable} -I -c 'a = bytearray(400_000_000)'; sleep 30"


def run(folder: Path, script: str, **changes: Any) -> tuple[process.Completed, list[str]]:
    lines: list[str] = []
    options: dict[str, Any] = {
        "cwd": folder,
        "env": {"PATH": "/usr/bin:/bin"},
        "on_line": lambda stream, text: lines.append(text),
        "deadline_seconds": 30,
        "stop": Stop(),
        "marker": str(folder),
        "grace_seconds": 0.5,
        "ceilings": CEILINGS,
        "groups": GROUPS,
    }
    return process.run(["/bin/sh", "-c", script], **{**options, **changes}), lines


def left(folder: Path) -> list[Any]:
    return [group for build_id, found in GROUPS.strays().items() if build_id in str(folder).replace("/", "_") for group in found]


@real
def test_a_command_runs_in_a_group_of_its_own_that_ends_with_it(tmp_path: Path) -> None:
    completed, lines = run(tmp_path, "grep -c jobsite-build- /proc/self/cgroup; cat; exit 3")
    assert (completed.exit_code, lines, left(tmp_path)) == (3, [str(len(set(GROUPS.parents.values())))], [])


@real
def test_what_ran_out_of_memory_is_told_with_the_figure_and_ended(tmp_path: Path) -> None:
    completed, _lines = run(tmp_path, HOG)
    assert completed.hit is not None
    assert completed.hit.text == "used more than the 200 MB of memory that it may."
    assert completed.peak_memory_bytes >= 200_000_000
    assert left(tmp_path) == []


@pytest.mark.skipif(GROUPS.version != Version.V1, reason="version 2 counts it by itself")
@pytest.mark.parametrize(
    ("script", "is_full"),
    [(f"{sys.executable} -c 'bytearray(400_000_000)'", True), ("dd if=/dev/zero of=$1 bs=1M count=400; kill -9 $$", False)],
    ids=["memory", "cached files"],
)
def test_what_is_cached_of_files_is_no_lack_of_memory(tmp_path: Path, script: str, is_full: bool) -> None:
    """A machine that is full ends programs too, and a build's files fill its group's memory, but give way."""
    group = GROUPS.make("full", CEILINGS)
    assert group is not None
    command = ["/bin/sh", "-c", f"read -r go; {script}", "sh", str(tmp_path / "file")]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    group.take_in(program.pid)
    program.communicate(b"go\n")
    most = int((group.folders["memory"] / "memory.max_usage_in_bytes").read_text())
    assert (most >= CEILINGS.memory - LARGEST_PAGES, group.ran_out_of_memory, group.ran_out_of_memory) == (True, is_full, is_full)
    assert group.end()


@real
def test_what_starts_too_much_is_told_and_ended(tmp_path: Path) -> None:
    completed, _lines = run(tmp_path, "for i in $(seq 100); do sleep 31 & done; wait")
    assert completed.hit is not None
    assert completed.hit.text == "started more than the 50 processes and threads that it may."


@real
def test_what_kills_itself_is_not_taken_for_a_hog(tmp_path: Path) -> None:
    completed, _lines = run(tmp_path, "kill -9 $$")
    assert (completed.signal, completed.hit) == (9, None)


def test_a_kill_that_the_kernel_knows_nothing_of_is_not_told_as_memory() -> None:
    told, guessed = (Clues(kernel_tells=known).failure(exit_code=137, command="make") for known in (True, False))
    assert (told.code, guessed.code) == ("build-failed", "limit-hit")
    assert "one of its own programs" in told.sentence


@real
def test_what_a_killed_worker_left_is_found_and_ended(tmp_path: Path) -> None:
    group = GROUPS.make("left-behind", CEILINGS)
    assert group is not None
    program = psutil.Popen(["/bin/sleep", "60"])
    group.take_in(program.pid)
    assert GROUPS.strays()["left-behind"][0].members == {program.pid}
    assert GROUPS.end("left-behind")
    assert (program.wait(5), "left-behind" in GROUPS.strays()) == (-9, False)


def test_without_groups_all_runs_as_before(tmp_path: Path) -> None:
    completed, lines = run(tmp_path, "echo x; exit 4", groups=choose("no"))
    assert (completed.exit_code, lines, choose("no").version) == (4, ["x"], Version.NONE)


def test_the_files_of_version_two(tmp_path: Path) -> None:
    for name in ("memory.swap.max", "memory.oom.group", "cgroup.kill"):
        (tmp_path / name).touch()
    group = Unified(dict.fromkeys(("memory", "pids", "cpu"), tmp_path))
    group.limit(CEILINGS)
    group.kill()
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {
        "memory.max": "200000000",
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "52",
        "cpu.weight": "33",
        "cgroup.kill": "1",
    }
    assert (group.killed_for_memory, group.ran_out_of_memory, group.refused_processes) == (0, False, 0)
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 3\noom_group_kill 1\n")
    (tmp_path / "pids.events").write_text("max 2\n")
    (tmp_path / "memory.stat").write_text("anon 1000\nfile 5000\nshmem 300\n")
    assert (group.killed_for_memory, group.ran_out_of_memory, group.refused_processes, group.memory) == (3, True, 2, 1300)


def test_what_has_started_the_service_moves_with_it_and_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text(f"{os.getppid()}\n")
    _settle(tmp_path)
    assert (tmp_path / LEAF / "cgroup.procs").read_text() == str(os.getppid())
    (tmp_path / "cgroup.procs").write_text(f"{os.getppid()}\n{1 << 30}\n")
    with pytest.raises(_Unusable, match="holds other programs too"):
        _settle(tmp_path)


def test_none_has_no_group_and_no_strays() -> None:
    assert (bool(Groups()), Groups().make("x", CEILINGS), Groups().strays()) == (False, None, {})
