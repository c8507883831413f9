"""The RQ worker. What RQ does when a work-horse or a worker dies isn't relied on; what it leaves behind is ended here."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from typing import Any

from rq import Queue, Worker
from rq.job import Job

from builds.process import end_tree

PR_SET_PDEATHSIG = 1
TERM_GRACE_SECONDS = 12.0


class JobsiteWorker(Worker):
    """One build at a time, in a forked work-horse that dies with the worker.

    RQ's times are shortened: an abandoned job is forgotten in seconds (the database decides what becomes of its build).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(job_monitoring_interval=5, maintenance_interval=10, worker_ttl=25)
        super().__init__(*args, **kwargs)

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        return 15

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """In the fork: die with the worker, from now on also if it has died between the fork and here."""
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != self.pid:
                os._exit(1)
        super().main_work_horse(job, queue)

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Ask the work-horse to end its build's processes, then end it, and what is left of them.

        The stock method would kill the worker's own group where the work-horse has not made its own yet.
        """
        pid = self.horse_pid
        if not pid:
            return
        self._signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + TERM_GRACE_SECONDS
        while time.monotonic() < deadline and self._is_running(pid):
            time.sleep(0.1)
        self._signal(pid, sig)

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Any) -> None:
        """Wait for the work-horse; whatever it has left behind ends with it, however it ended."""
        try:
            super().monitor_work_horse(job, queue, execution)
        finally:
            end_tree(job.id, grace_seconds=0)

    @staticmethod
    def _signal(pid: int, number: signal.Signals) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return

    @staticmethod
    def _is_running(pid: int) -> bool:
        try:
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False
