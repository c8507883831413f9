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

from builds.engine.process.command import Completed
from builds.engine.process.output import LINE_BYTES, OutputAllowance
from builds.engine.process.tree import MARKER, end_tree, strays
from builds.errors import BuildStopped, ToolMissing
from builds.lib.stop import Stop
from tests.support.commands import run_in


def run(tmp_path: Path, script: str, **options: Any) -> tuple[Completed, list[tuple[str, str]]]:
    return run_in(tmp_path, ["/bin/sh", "-c", script], **options)


def alive(marker: str) -> list[int]:
    return strays().get(marker, [])


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


# Uses half a second of the processor, however fast that is and whatever else runs on it.
BURN = f"{sys.executable} -Ic 'import time\nwhile time.process_time() < 0.5: pass'"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "seconds"),
    [(BURN, 0.5), (f"{BURN} & {BURN}; wait", 1.0), (f"(setsid {BURN}; echo done) & wait", 0.5)],
    ids=["one", "two at once", "in another session"],
)
def test_the_processor_time_is_that_of_the_whole_tree(tmp_path: Path, script: str, seconds: float) -> None:
    used: list[float] = []
    completed, _lines = run(tmp_path, script, on_used=used.append)
    assert (used, completed.exit_code) == ([completed.processor_seconds], 0)
    assert seconds <= completed.processor_seconds < 2 * seconds + 1


def test_a_process_whose_parent_has_ended_counts_too(tmp_path: Path) -> None:
    done = tmp_path / "done"
    completed, _lines = run(tmp_path, f"({BURN}; touch {done}) & while [ ! -e {done} ]; do sleep 0.1; done; kill -9 $!; exit 0")
    assert completed.processor_seconds >= 0.5


@pytest.mark.slow
def test_a_command_that_is_stopped_has_used_the_processor(tmp_path: Path) -> None:
    used: list[float] = []
    stop = Stop()
    with pytest.raises(BuildStopped):
        run(tmp_path, f"{BURN}; echo burnt; sleep 60", stop=stop, on_line=lambda *_: stop.set("Cancelled."), on_used=used.append)
    assert used[0] >= 0.5


def test_it_gets_no_input_and_nothing_of_the_service_s_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERNAL_SERVICE_SECRET", "top-secret")
    _completed, lines = run(tmp_path, "env; cat; echo end")
    assert "top-secret" not in str(lines)
    assert lines[-1] == ("stdout", "end")


@pytest.mark.slow
def test_at_the_deadline_it_ends_with_everything_it_started(tmp_path: Path) -> None:
    completed, lines = run(tmp_path, "trap '' TERM; sleep 60 & echo started; while :; do sleep 0.1; done", deadline_seconds=0.7)
    assert (completed.timed_out, lines[0]) == (True, ("stdout", "started"))
    assert alive(str(tmp_path)) == []


def test_hidden_processes_that_it_leaves_behind_are_ended(tmp_path: Path) -> None:
    # Other test processes start programs that sleep, too.
    first, second, third = (f"{seconds}.{os.getpid()}" for seconds in (61, 62, 63))
    hidden = (
        "import os\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        os.environ.clear()\n"
        f"        os.execve('/bin/sleep', ['sleep', '{first}'], {{}})\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
    )
    (tmp_path / "hide.py").write_text(hidden)
    completed, _lines = run(tmp_path, f"{sys.executable} hide.py; sleep {second} & setsid sleep {third} & sleep 0.3; echo end")
    assert (completed.exit_code, completed.left_behind) == (0, 3)
    commands = [found.info["cmdline"] or [] for found in psutil.process_iter(["cmdline"])]
    assert [command for command in commands if {first, second, third} & set(command)] == []


def test_a_hidden_process_whose_first_thread_has_ended_is_ended(tmp_path: Path) -> None:
    """Such a process looks like a zombie while its other threads run."""
    code = """
import ctypes, os, pathlib, threading, time
threading.Thread(target=time.sleep, args=(300,)).start()
pathlib.Path("pid").write_text(str(os.getpid()))
ctypes.CDLL(None).pthread_exit(None)
"""
    wait = "until [ -s pid ] && grep -q '^State:.Z' /proc/$(cat pid)/status; do sleep 0.05; done"
    completed, _lines = run(tmp_path, f"(setsid {sys.executable} -I -c '{code}' &); {wait}")
    pid = int((tmp_path / "pid").read_text())
    assert completed.left_behind == 1
    assert not Path(f"/proc/{pid}/task").exists() or not [
        thread for thread in Path(f"/proc/{pid}/task").iterdir() if int(thread.name) != pid
    ]


def test_a_stop_ends_it_and_raises_build_stopped(tmp_path: Path) -> None:
    stop = Stop()
    threading.Timer(0.3, stop.set, ["Cancelled."]).start()
    with pytest.raises(BuildStopped, match=r"Cancelled\."):
        run(tmp_path, "sleep 60 & sleep 60", stop=stop)
    assert alive(str(tmp_path)) == []


@pytest.mark.slow
def test_two_hundred_processes_that_ignore_sigterm_are_killed(tmp_path: Path) -> None:
    """They are orphans in their own sessions and ignore SIGTERM. Half of them lack the marker, and one keeps starting others."""
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


@pytest.mark.slow
def test_a_command_that_writes_too_fast_is_throttled_and_loses_nothing(tmp_path: Path) -> None:
    output = OutputAllowance(10_000_000, 50_000)
    completed, lines = run(tmp_path, "head -c 700000 /dev/zero | tr '\\0' x", output=output)
    assert (completed.exit_code, completed.output_limit_hit, output.was_slowed) == (0, False, True)
    assert sum(text.count("x") for _stream, text in lines) == 700_000


def test_all_commands_of_a_build_share_its_output_allowance(tmp_path: Path) -> None:
    output = OutputAllowance(1_000_000)
    ended = [run(tmp_path, "head -c 600000 /dev/zero | tr '\\0' x", output=output)[0].output_limit_hit for _ in range(2)]
    assert ended == [False, True]


def test_a_background_process_that_writes_does_not_delay_its_end(tmp_path: Path) -> None:
    completed, _lines = run(tmp_path, "yes & exit 0", deadline_seconds=20)
    assert (completed.exit_code, completed.timed_out) == (0, False)


def test_a_killed_program_is_reported_with_its_signal(tmp_path: Path) -> None:
    completed, _lines = run(tmp_path, "kill -9 $$")
    assert (completed.exit_code, completed.signal) == (None, 9)


def test_an_error_in_the_line_handler_leaves_nothing_running(tmp_path: Path) -> None:
    def refuse(stream: str, text: str) -> None:
        raise BuildStopped("The build has ended in the database.")

    with pytest.raises(BuildStopped):
        run(tmp_path, "echo x; sleep 60", on_line=refuse)
    assert alive(str(tmp_path)) == []


def test_a_missing_program_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="no-such-program"):
        run_in(tmp_path, ["no-such-program"], env={}, deadline_seconds=1, marker="x")


def test_a_process_that_is_not_our_child_is_found_by_its_marker(tmp_path: Path) -> None:
    marker = f"stray of {tmp_path}"
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {MARKER: marker})
    for _ in range(50):
        if alive(marker):
            break
        time.sleep(0.02)
    assert strays()[marker] == [pid]
    assert end_tree(marker, grace_seconds=1) == 1
    assert alive(marker) == []
