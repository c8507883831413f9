"""The real control groups of this machine with real programs; the files of version 2 also on machines with version 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from builds.engine.diagnosis import Clues
from builds.engine.process.ceilings import Ceilings
from builds.engine.process.cgroup_probe import LEAF, _settle, _Unusable, choose
from builds.engine.process.cgroups import LARGEST_PAGES, Groups, Legacy, Unified, Version
from builds.engine.process.command import Completed
from tests.support.commands import run_in
from tests.support.sandboxed import GROUPS, needs_groups

CEILINGS = Ceilings(memory=200_000_000, processes=50, cpu_weight=33)
HOG = f"{sys.executable} -I -c 'a = bytearray(400_000_000)'; sleep 30"


def run(folder: Path, script: str, *, groups: Groups = GROUPS) -> tuple[Completed, list[str]]:
    environment = {"PATH": "/usr/bin:/bin"}
    completed, lines = run_in(folder, ["/bin/sh", "-c", script], env=environment, ceilings=CEILINGS, groups=groups)
    return completed, [text for _stream, text in lines]


def left(folder: Path) -> list[Any]:
    return [group for build_id, found in GROUPS.strays().items() if build_id in str(folder).replace("/", "_") for group in found]


@needs_groups
def test_a_command_runs_in_its_own_group_that_is_removed_at_its_end(tmp_path: Path) -> None:
    completed, lines = run(tmp_path, "grep -c jobsite-build- /proc/self/cgroup; cat; exit 3")
    assert (completed.exit_code, lines, left(tmp_path)) == (3, [str(len(set(GROUPS.parents.values())))], [])


@needs_groups
def test_a_command_that_runs_out_of_memory_is_ended_and_the_limit_named(tmp_path: Path) -> None:
    completed, _lines = run(tmp_path, HOG)
    assert completed.hit is not None
    assert completed.hit.text == "used more than its memory limit of 200 MB."
    assert completed.peak_memory_bytes >= 200_000_000
    assert left(tmp_path) == []


@pytest.mark.skipif(GROUPS.version != Version.V1, reason="version 2 counts them itself")
@pytest.mark.parametrize(
    ("script", "is_full"),
    [(f"{sys.executable} -c 'bytearray(400_000_000)'", True), ("dd if=/dev/zero of=$1 bs=1M count=400; kill -9 $$", False)],
    ids=["memory", "cached files"],
)
def test_cached_files_do_not_count_as_lack_of_memory(tmp_path: Path, script: str, is_full: bool) -> None:
    """The kernel also kills when the machine is full. Cached files fill a group's memory too, but the kernel can free them."""
    group = GROUPS.make("full", CEILINGS)
    assert group is not None
    command = ["/bin/sh", "-c", f"read -r go; {script}", "sh", str(tmp_path / "file")]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    group.add(program.pid)
    program.communicate(b"go\n")
    peak = int((group.folders["memory"] / "memory.max_usage_in_bytes").read_text())
    assert (peak >= CEILINGS.memory - LARGEST_PAGES, group.ran_out_of_memory, group.ran_out_of_memory) == (True, is_full, is_full)
    assert group.end()


@needs_groups
def test_the_processor_time_is_that_of_the_group(tmp_path: Path) -> None:
    completed, _lines = run(tmp_path, f"{sys.executable} -Ic 'import time\nwhile time.process_time() < 0.3: pass'")
    assert completed.processor_seconds >= 0.3


def test_the_kernel_counts_the_processor_time_of_a_group(tmp_path: Path) -> None:
    (tmp_path / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n")
    (tmp_path / "cpuacct.usage").write_text("2500000000\n")
    folders = dict.fromkeys(("memory", "pids", "cpu"), tmp_path)
    assert (Unified(folders).processor_seconds, Legacy(folders).processor_seconds) == (1.5, 2.5)
    assert Legacy({"memory": tmp_path, "pids": tmp_path}).processor_seconds == 0


@needs_groups
def test_a_command_that_starts_too_many_processes_is_ended_and_the_limit_named(tmp_path: Path) -> None:
    completed, _lines = run(tmp_path, "for i in $(seq 100); do sleep 31 & done; wait")
    assert completed.hit is not None
    assert completed.hit.text == "started more than its limit of 50 processes and threads."


@needs_groups
def test_a_command_that_kills_itself_is_not_blamed_for_its_memory(tmp_path: Path) -> None:
    completed, _lines = run(tmp_path, "kill -9 $$")
    assert (completed.signal, completed.hit) == (9, None)


def test_a_kill_that_the_kernel_did_not_report_is_not_blamed_on_memory() -> None:
    known, guessed = (Clues(kernel_reports=reported).failure(exit_code=137, command="make") for reported in (True, False))
    assert (known.code, guessed.code) == ("build-failed", "limit-hit")
    assert "one of its own programs" in known.sentence


@needs_groups
def test_what_a_killed_worker_left_behind_is_found_and_ended(tmp_path: Path) -> None:
    group = GROUPS.make("left-behind", CEILINGS)
    assert group is not None
    program = psutil.Popen(["/bin/sleep", "60"])
    group.add(program.pid)
    assert GROUPS.strays()["left-behind"][0].members == {program.pid}
    assert GROUPS.end("left-behind")
    assert (program.wait(5), "left-behind" in GROUPS.strays()) == (-9, False)


def test_commands_run_without_groups_too(tmp_path: Path) -> None:
    completed, lines = run(tmp_path, "echo x; exit 4", groups=choose("no"))
    assert (completed.exit_code, lines, choose("no").version) == (4, ["x"], Version.NONE)


def test_version_two_writes_and_reads_these_files(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(("weight", "shares"), [(33, "1024"), (100, "1024"), (200, "2048")])
def test_in_version_one_no_build_weighs_less_than_one_other_program(tmp_path: Path, weight: int, shares: str) -> None:
    Legacy({"cpu": tmp_path}).limit(Ceilings(cpu_weight=weight))
    assert (tmp_path / "cpu.shares").read_text() == shares


def test_the_service_moves_with_the_programs_that_started_it_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text(f"{os.getppid()}\n")
    _settle(tmp_path)
    assert (tmp_path / LEAF / "cgroup.procs").read_text() == str(os.getppid())
    (tmp_path / "cgroup.procs").write_text(f"{os.getppid()}\n{1 << 30}\n")
    with pytest.raises(_Unusable, match="contains other programs too"):
        _settle(tmp_path)


def test_without_groups_none_is_made_or_found() -> None:
    assert (bool(Groups()), Groups().make("x", CEILINGS), Groups().strays()) == (False, None, {})
