"""Real programs, well and badly behaved."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from builds import process, process_tree
from builds.ceilings import LINE_BYTES, OutputAllowance
from builds.errors import BuildStopped, ToolMissing
from builds.stages import Stop


def run(tmp_path: Path, script: str, **changes: Any) -> tuple[process.Completed, list[tuple[str, str]]]:
    lines: list[tuple[str, str]] = []
    options: dict[str, Any] = {
        "cwd": tmp_path,
        "env": {"PATH": os.environ["PATH"]},
        "on_line": lambda stream, text: lines.append((stream, text)),
        "deadline_seconds": 30,
        "stop": Stop(),
        "marker": str(tmp_path),
        "grace_seconds": 0.5,
    }
    completed = process.run(["/bin/sh", "-c", script], **{**options, **changes})
    return completed, lines


def alive(marker: str) -> list[int]:
    return process_tree.strays().get(marker, [])


def test_both_streams_arrive_line_by_line_with_the_exit_code(tmp_path: Path) -> None:
    completed, lines = run(tmp_path, "echo one; echo two >&2; printf three; exit 3")
    assert sorted(lines) == [("stderr", "two"), ("stdout", "one"), ("stdout", "three")]
    assert (completed.exit_code, completed.signal, completed.timed_out, completed.left_behind) == (3, None, False, 0)
    assert completed.peak_memory_bytes > 100_000


def test_lines_arrive_while_it_runs(tmp_path: Path) -> None:
    seen = threading.Event()
    done = tmp_path / "done"

    def answer(stream: str, text: str) -> None:
        if text == "first":
            done.touch()
            seen.set()

    completed, _lines = run(tmp_path, f"echo first; while [ ! -e {done} ]; do sleep 0.05; done; echo last", on_line=answer)
    assert (seen.is_set(), completed.exit_code) == (True, 0)


def test_it_gets_nothing_of_our_environment_and_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERNAL_SERVICE_SECRET", "top-secret")
    _completed, lines = run(tmp_path, "env; cat; echo end")
    assert "top-secret" not in str(lines)
    assert lines[-1] == ("stdout", "end")


def test_a_deadline_ends_it_with_all_that_it_started(tmp_path: Path) -> None:
    completed, lines = run(tmp_path, "trap '' TERM; sleep 60 & echo started; while :; do sleep 0.1; done", deadline_seconds=0.7)
    assert (completed.timed_out, lines[0]) == (True, ("stdout", "started"))
    assert alive(str(tmp_path)) == []


def test_what_it_leaves_behind_ends_with_it_however_it_hides(tmp_path: Path) -> None:
    hidden = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        os.environ.clear()\n"
        "        os.execve('/bin/sleep', ['sleep', '61'], {})\n"
        "    os._exit(0)\n"
    )
    (tmp_path / "hide.py").write_text(hidden)
    completed, _lines = run(tmp_path, f"{sys.executable} hide.py; sleep 62 & setsid sleep 63 & sleep 0.3; echo end")
    assert (completed.exit_code, completed.left_behind) == (0, 3)
    commands = [found.info["cmdline"] for found in psutil.process_iter(["cmdline"])]
    assert [command for command in commands if command in (["sleep", "61"], ["sleep", "62"], ["sleep", "63"])] == []


def test_a_stop_ends_it_and_is_raised(tmp_path: Path) -> None:
    stop = Stop()
    threading.Timer(0.3, stop.set, ["Cancelled."]).start()
    with pytest.raises(BuildStopped, match=r"Cancelled\."):
        run(tmp_path, "sleep 60 & sleep 60", stop=stop)
    assert alive(str(tmp_path)) == []


def test_two_hundred_that_ignore_the_end_are_ended(tmp_path: Path) -> None:
    """In sessions of their own, orphaned, deaf to TERM, half of them without a mark, and some that start others meanwhile."""
    stubborn = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for number in range(200):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        if number % 2:
            os.execve("/bin/sh", ["sh", "-c", "trap '' TERM; sleep 64; sleep 64"], {})
        while number == 0:
            if os.fork() == 0:
                os.setsid()
                time.sleep(64)
            time.sleep(0.02)
        time.sleep(64)
print("started", flush=True)
time.sleep(64)
"""
    (tmp_path / "stubborn.py").write_text(stubborn)
    before = {found.pid for found in psutil.process_iter()}
    stop = Stop()

    def end(stream: str, text: str) -> None:
        stop.set("Cancelled.")

    with pytest.raises(BuildStopped):
        run(tmp_path, f"exec {sys.executable} stubborn.py", stop=stop, on_line=end, grace_seconds=0.5)
    assert alive(str(tmp_path)) == []
    left = [found for found in psutil.process_iter(["cmdline"]) if found.pid not in before]
    assert [
        found for found in left if "64" in (found.info["cmdline"] or ()) or "stubborn.py" in (found.info["cmdline"] or ())
    ] == []


def test_endless_output_hits_the_limit(tmp_path: Path) -> None:
    completed, lines = run(tmp_path, "yes", output=OutputAllowance(1_000_000))
    assert completed.output_limit_hit
    assert len(lines) <= 1_000_000 / (len("y\n") + LINE_BYTES) + 64 * 1024  # and what was read at once


def test_one_that_writes_too_fast_is_made_to_wait_and_loses_nothing(tmp_path: Path) -> None:
    output = OutputAllowance(10_000_000, 50_000)
    completed, lines = run(tmp_path, "head -c 700000 /dev/zero | tr '\\0' x", output=output)
    assert (completed.exit_code, completed.output_limit_hit, output.was_slowed) == (0, False, True)
    assert sum(text.count("x") for _stream, text in lines) == 700_000


def test_all_commands_of_a_build_share_its_allowance(tmp_path: Path) -> None:
    output = OutputAllowance(1_000_000)
    ended = [run(tmp_path, "head -c 600000 /dev/zero | tr '\\0' x", output=output)[0].output_limit_hit for _ in range(2)]
    assert ended == [False, True]


def test_a_background_writer_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    completed, _lines = run(tmp_path, "yes & exit 0", deadline_seconds=20)
    assert (completed.exit_code, completed.timed_out) == (0, False)


def test_a_killed_program_is_told_by_its_signal(tmp_path: Path) -> None:
    completed, _lines = run(tmp_path, "kill -9 $$")
    assert (completed.exit_code, completed.signal) == (None, 9)


def test_an_error_in_the_reader_leaves_nothing_running(tmp_path: Path) -> None:
    def refuse(stream: str, text: str) -> None:
        raise BuildStopped("The build has ended in the database.")

    with pytest.raises(BuildStopped):
        run(tmp_path, "echo x; sleep 60", on_line=refuse)
    assert alive(str(tmp_path)) == []


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="no-such-program"):
        process.run(
            ["no-such-program"],
            cwd=tmp_path,
            env={},
            on_line=lambda stream, text: None,
            deadline_seconds=1,
            stop=Stop(),
            marker="x",
        )


def test_a_tree_without_us_as_parent_is_found_by_its_marker(tmp_path: Path) -> None:
    marker = f"stray of {tmp_path}"
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {process_tree.MARKER: marker})
    for _ in range(50):
        if alive(marker):
            break
        time.sleep(0.02)
    assert process_tree.strays()[marker] == [pid]
    assert process_tree.end_tree(marker, grace_seconds=1) == 1
    assert alive(marker) == []
