"""The RQ worker. What RQ does when a work-horse or a worker dies isn't relied on; what it leaves behind is ended here."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone
from redis import RedisError
from rq import Queue, Worker
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from builds import isolation, workers
from builds.process_tree import ProcessesLeft, end_orphans, take_in_orphans
from builds.queue import BuildJob
from builds.queue_models import Worker as WorkerRow

logger = logging.getLogger(__name__)

# Tells a worker to break its build off; the build is queued anew.
BREAK_OFF = signal.SIGUSR1
PR_SET_PDEATHSIG = 1
# The build's processes get 10 s to end by themselves; then they are killed, and the end is written.
TERM_GRACE_SECONDS = 20.0
# How often a worker writes its sign of life: as often as RQ comes by, which is every few seconds, but not for each job of many.
SIGN_SECONDS = 2.0


class JobsiteWorker(Worker):
    """One build at a time, in a forked work-horse that dies with the worker.

    RQ's times are shortened: an abandoned job is forgotten in seconds (the database decides what becomes of its build).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(job_monitoring_interval=5, maintenance_interval=10, worker_ttl=25)
        kwargs.update(job_class=BuildJob, serializer=JSONSerializer)
        super().__init__(*args, **kwargs)
        self._signed_at = float("-inf")
        self._row = WorkerRow(
            name=f"{settings.WORKER_NAME}:{os.getpid()}",
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=timezone.now(),
            **isolation.of_worker(),
        )

    @property
    def dequeue_timeout(self) -> int:
        """An idle worker gives a sign of life as often as one that builds."""
        return 5

    def work(self, *args: Any, **kwargs: Any) -> bool:
        try:
            return super().work(*args, **kwargs)
        finally:
            if os.getpid() == self._row.pid:
                self._tell(workers.sign_off)

    def heartbeat(self, *args: Any, **kwargs: Any) -> None:
        """RQ's, and a sign of life in the database, from this one thread and between two forks: no work-horse inherits a connection."""
        super().heartbeat(*args, **kwargs)
        if os.getpid() == self._row.pid and time.monotonic() - self._signed_at > SIGN_SECONDS:
            self._signed_at = time.monotonic()
            self._row.ending = self._stop_requested
            self._tell(workers.sign)

    def _tell(self, write: Callable[[WorkerRow], None]) -> None:
        try:
            workers.hurry()
            write(self._row)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("the worker's sign of life could not be written: %s", error)
        finally:
            connections.close_all()

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
        if sig == signal.SIGKILL:
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    def request_stop(self, number: int, frame: FrameType | None) -> None:
        """Take nothing new and go on to the end of the build, for STOP_GRACE seconds; then break it off."""
        if self.get_state() == WorkerStatus.BUSY:
            timer = threading.Timer(settings.STOP_GRACE, os.kill, (os.getpid(), BREAK_OFF))
            timer.daemon = True
            timer.start()
        super().request_stop(number, frame)  # type: ignore[no-untyped-call]

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]
        signal.signal(BREAK_OFF, self._break_off)

    def _break_off(self, number: int, frame: FrameType | None) -> None:
        """End at once. A second SIGTERM would do the same, but RQ does not hear it within a second of the first."""
        signal.signal(BREAK_OFF, signal.SIG_IGN)  # the supervisor urges too
        self._shutdown_requested_date = datetime.now(UTC) - timedelta(minutes=1)
        self.request_force_stop(number, frame)

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Any) -> None:
        """Wait for the work-horse; whatever it has left behind ends with it, however it ended.

        What it leaves becomes a child of this process. The build's marker is not asked for: after the queue store has lost its data
        the same build may have been queued twice, and then it runs well with another worker.
        """
        take_in_orphans()
        try:
            super().monitor_work_horse(job, queue, execution)
        finally:
            if not (self.horse_pid and self._is_running(self.horse_pid)):
                self._end_what_is_left(job)

    def maintain_heartbeats(self, job: Job, execution: Any) -> None:
        """A queue store that is away must not end a build that goes on well without it."""
        try:
            super().maintain_heartbeats(job, execution)
        except RedisError as error:
            logger.warning("the queue store can't be told of job %s: %s", job.id, error)

    @staticmethod
    def _end_what_is_left(job: Job) -> None:
        try:
            if count := end_orphans():
                logger.warning("ended %d processes that build %s had left behind", count, job.id)
        except ProcessesLeft as error:
            logger.error("build %s: %s", job.id, error)

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
