"""A worker whose work-horse hangs in its fetch stage. Run as ``python -m tests.service.hung_worker KIND``.

It writes the work-horse's process id to the file $HORSE_FILE when it is about to hang. A work-horse gets $GRACE seconds to end its build.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import django

django.setup()

from builds.engine.context import Context  # noqa: E402 - Django must be set up first
from builds.errors import CommandFailed  # noqa: E402
from builds.pipeline import run as pipeline_run  # noqa: E402
from builds.pipeline import supervision  # noqa: E402
from builds.service import worker  # noqa: E402


def hang_in_python() -> None:
    while True:
        pass


def hang_in_c() -> None:
    """Holds Python's lock, so that no other thread of the process runs."""
    re.match(r"(a|aa)+$", "a" * 200 + "b")


def hang_in_the_kernel() -> None:
    """Ignores every signal that can be ignored."""
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    os.read(os.pipe()[0], 1)


def hang_stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def wait_for_a_command() -> None:
    """Hangs with a command of the build, which has its own session and the build's marker."""
    environment = {"PATH": os.defpath, "JOBSITE_BUILD": Path(os.environ["HORSE_FILE"]).name}
    subprocess.Popen(["sleep", "1000"], start_new_session=True, env=environment)
    hang_in_c()


def hang_in_the_disk() -> None:
    """Stands for an uninterruptible sleep: this worker's SIGKILL does not reach its work-horse."""
    wait_for_a_command()


KINDS = {
    "python": hang_in_python,
    "c": hang_in_c,
    "kernel": hang_in_the_kernel,
    "stopped": hang_stopped,
    "command": wait_for_a_command,
    "disk": hang_in_the_disk,
}


def write_pid() -> None:
    Path(os.environ["HORSE_FILE"]).write_text(str(os.getpid()))


def fetch(context: Context, _has_result: object) -> NoReturn:
    context.log.line("Now it hangs.")
    context.log.flush()  # type: ignore[attr-defined]  # the stages' log has no flush; this one is the LogWriter
    if sys.argv[1] == "end":
        raise CommandFailed
    write_pid()
    KINDS[sys.argv[1]]()
    raise AssertionError("it did not hang")


def hang_after_the_end(_folder: Path) -> None:
    """In place of the removal of the workspace, which a disk can hold up."""
    write_pid()
    hang_in_c()


def kill_all_but_work_horses(kill: Callable[[int, int], None]) -> Callable[[int, int], None]:
    def without(pid: int, number: int) -> None:
        if number != signal.SIGKILL or pid != int(Path(os.environ["HORSE_FILE"]).read_text()):
            kill(pid, number)

    return without


if __name__ == "__main__":
    if sys.argv[1] == "disk":
        setattr(os, "kill", kill_all_but_work_horses(os.kill))  # noqa: B010 - mypy refuses to assign to a function
        worker.KILL_SECONDS = 2.0
    if sys.argv[1] == "end":
        setattr(pipeline_run, "remove_folder", hang_after_the_end)  # noqa: B010 - the same
        supervision.CLEAN_UP_SECONDS = 1.0
    setattr(pipeline_run, "fetch_unless", fetch)  # noqa: B010 - mypy knows no attribute of this name
    supervision.GRACE_SECONDS = float(os.environ["GRACE"])
    worker.run()
