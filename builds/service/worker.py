"""The worker: an RQ worker that runs one build at a time.

It does not rely on what RQ does when a worker or its work-horse dies: it ends the processes that are left behind itself.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import django_rq
from django.conf import settings
from django.core.management import CommandError
from django.db import DatabaseError, InterfaceError, connections
from redis import RedisError
from rq import Queue, Worker
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from builds import tasks  # noqa: F401 - loaded before a fork: work-horses run this release while the next is installed
from builds.engine.myst import toolchain
from builds.engine.process.tree import adopt_orphans, end_orphans, kill_descendants
from builds.engine.tools import TOOLS
from builds.errors import ProcessesLeft
from builds.lib import fork_server, log_context, release
from builds.lib.fork_server import ForkServer
from builds.models import Tally, clock
from builds.models import Worker as WorkerRow
from builds.pipeline import isolation
from builds.pipeline.supervision import Supervision
from builds.queue import store, workers
from builds.queue.jobs import BuildJob, BuildQueue
from builds.record import kept_exports, metrics
from builds.service import turns
from builds.service.fork import die_with_parent
from builds.service.start import prepare
from jobsite import telemetry

logger = logging.getLogger(__name__)

# Asks a worker to stop its build at once. The build is queued again.
BREAK_OFF = signal.SIGUSR1
# The work-horse gives the build's processes 10 s to end. It then kills them, and records how the build ended.
TERM_GRACE_SECONDS = 20.0
# How long SIGKILL may take to end a work-horse. In an uninterruptible sleep, such as on a disk that does not answer, it may take for ever.
KILL_SECONDS = 10.0
# The shortest time between two signs of life. RQ calls heartbeat() every few seconds, but also after each of many short jobs.
MIN_SIGN_SECONDS = 2.0
# How long a sign of life may wait for a locked database. On SQLite a writer may be overtaken by others, so one second is too short where
# many workers write, and the queue store still takes a worker that is silent for so long for alive.
SIGN_SECONDS = 4
# How often to look whether exports can be kept again.
EXPORTS_PAUSE_SECONDS = 5.0


def run(*, name: str = "", burst: bool = False, max_jobs: int | None = None, max_idle_time: int | None = None) -> None:
    """Take builds from the queue until asked to stop.

    ``burst``: only until the queue is empty. ``max_jobs``: only so many builds. ``max_idle_time``: only until the queue has been empty
    for this many seconds.

    Raises:
        CommandError: the queue store can't be reached.
    """
    prepare()
    toolchain.compile_tools()
    log_context.bind(worker=workers.name_of(os.getpid()))
    name = name or f"{settings.WORKER_NAME}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    try:
        worker = django_rq.get_worker(settings.QUEUE_NAME, name=name)
    except RedisError as error:
        raise CommandError(f"The queue store can't be reached: {error}. Start it, or correct REDIS_URL.") from error
    connections.close_all()  # a fork must not inherit an open connection
    worker.work(burst=burst, max_jobs=max_jobs, max_idle_time=max_idle_time, with_scheduler=False, logging_level="WARNING")


class JobsiteWorker(Worker):
    """Runs each build in a forked work-horse that dies with the worker.

    RQ's intervals are shortened, so that RQ drops an abandoned job within seconds. The database decides what happens to its build.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The parent looks at its build once per monitoring interval.
        kwargs.update(job_monitoring_interval=1, maintenance_interval=5, worker_ttl=25)
        kwargs.update(job_class=BuildJob, queue_class=BuildQueue, serializer=JSONSerializer)
        super().__init__(*args, **kwargs)
        self._signed_at = float("-inf")
        self._supervision: Supervision | None = None
        self._breaks_off = False
        self._killed_at: float | None = None
        # What happened to work-horses and is not in the database yet.
        self._uncounted: list[Tally] = []
        # Process id and wait status of the last work-horse, if it has ended.
        self._horse_end: tuple[int | None, int] | None = None
        # Work-horses that SIGKILL did not end. It is pending: they can only sleep, and run no code any more.
        self._stuck: set[int] = set()
        self._fork_server: ForkServer | None = None
        release.digest()  # once, for all work-horses
        self._row = WorkerRow(
            name=workers.name_of(os.getpid()),
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=clock.now(),
            **isolation.worker_columns(),
        )

    @property
    def dequeue_timeout(self) -> int:
        """How long to wait for a job, in seconds: an idle worker gives signs of life as often as a busy one."""
        return 5

    def work(self, *args: Any, **kwargs: Any) -> bool:
        signal.signal(BREAK_OFF, self._break_off)
        try:
            return super().work(*args, **kwargs)
        finally:
            if os.getpid() == self._row.pid:
                self._write_row(workers.report_end)

    def procline(self, message: str) -> None:
        """The process keeps its name, by which it is found; RQ would name it after the queue and the job."""

    def check_for_suspension(self, burst: bool) -> None:
        """Before each job: wait while the queue is suspended, and while no exports can be kept, because a build would fail at its end."""
        super().check_for_suspension(burst)
        reported = ""
        while not self._stop_requested and (problem := kept_exports.problem()):
            if problem != reported:
                logger.error("this worker takes no builds, because no exports can be kept. %s", problem)
            reported = problem
            self.heartbeat()
            time.sleep(EXPORTS_PAUSE_SECONDS)
        if reported:
            logger.warning("exports can be kept again: this worker takes builds")

    def heartbeat(self, *args: Any, **kwargs: Any) -> None:
        """RQ's heartbeat, and a sign of life in the database.

        It is written by this thread, between two forks, so that no work-horse inherits a database connection.
        """
        super().heartbeat(*args, **kwargs)
        if os.getpid() == self._row.pid and time.monotonic() - self._signed_at > MIN_SIGN_SECONDS:
            self._signed_at = time.monotonic()
            self._row.ending = self._stop_requested
            self._write_row(self._report_alive)

    def run_maintenance_tasks(self) -> None:
        """RQ's tasks, before it waits for a job. If another release was installed, the worker ends here.

        Once it had taken a job, that job would be lost, and RQ finds such a job after a minute.
        """
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call]  # RQ does not annotate it
        if release.has_changed():
            logger.warning("another release was installed: this worker ends, and a worker of that release takes its place")
            self.request_stop(signal.SIGTERM, None)

    def _write_row(self, write: Callable[[WorkerRow], None]) -> None:
        try:
            workers.shorten_lock_wait(SIGN_SECONDS)
            write(self._row)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("the worker's sign of life could not be written: %s", error)
        finally:
            connections.close_all()

    def _report_alive(self, row: WorkerRow) -> None:
        workers.report_alive(row)
        self._write_counts(row)

    def _write_counts(self, _row: WorkerRow) -> None:
        if not self._uncounted:
            return
        metrics.add(*self._uncounted)
        self._uncounted.clear()

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        return 15

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run the build that is next in turn, which may not be the one that this job was enqueued for. None if none may start."""
        chosen = self._take_turn(job)
        if chosen is not None:
            toolchain.pixi_version()  # remembered before the fork, so that work-horses need not ask
            self._fork_server = _keep_fork_server()
            super().execute_job(chosen, queue)

    def _take_turn(self, job: Job) -> Job | None:
        try:
            workers.shorten_lock_wait()
            build_id = turns.take(job.id)
            if build_id is None or build_id == job.id:
                return job if build_id else None
            chosen = BuildJob.fetch(build_id, connection=self.connection)
            chosen.redis_server_version = job.redis_server_version
            return chosen
        except NoSuchJobError:  # its build was cancelled this moment
            return None
        except (DatabaseError, InterfaceError, RedisError) as error:
            logger.warning("could not find out which build is next, so the oldest job is taken: %s", error)
            return job
        finally:
            connections.close_all()

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """In the fork: make sure that this process dies with the worker, also if the worker died since the fork."""
        die_with_parent(self._row.pid)
        log_context.bind(role="work-horse", build=job.id)
        super().main_work_horse(job, queue)

    def perform_job(self, *args: Any, **kwargs: Any) -> bool:
        """In the work-horse, which ends with ``os._exit``: what its threads do must be done before."""
        try:
            return super().perform_job(*args, **kwargs)
        finally:
            store.finish_enqueueing()
            telemetry.flush()

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Ask the work-horse to end its build's processes, then kill it.

        RQ's own method would kill the worker's process group if the work-horse has not made its own yet.
        """
        pid = self.horse_pid
        if not pid:
            return
        if threading.current_thread() is threading.main_thread():
            # The alarm that ends a wait for the work-horse must not end this.
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
        self._signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + TERM_GRACE_SECONDS
        while time.monotonic() < deadline and self._is_running(pid) and not self._must_kill():
            time.sleep(0.2)
        if sig != signal.SIGKILL:
            self._signal(pid, sig)
            return
        self._kill(pid)
        while self._is_running(pid) and not self._is_stuck(pid):
            time.sleep(0.1)

    def _kill(self, pid: int) -> None:
        self._killed_at = self._killed_at or time.monotonic()
        self._signal(pid, signal.SIGKILL)

    def _is_stuck(self, pid: int) -> bool:
        """Whether the work-horse was killed a while ago and still exists. The worker goes on without it."""
        if self._killed_at is None or time.monotonic() < self._killed_at + KILL_SECONDS:
            return False
        if pid not in self._stuck:
            logger.error("a work-horse does not end after SIGKILL: the worker goes on without it", extra={"pid": pid})
            self._stuck.add(pid)
        return True

    def wait_for_horse(self) -> tuple[int | None, int | None, Any]:
        """Wait for the work-horse to end. Once it was killed, do not wait for ever: report the status of a process that SIGKILL ended."""
        pid = self.horse_pid
        while self._killed_at is not None and self._is_running(pid):
            if self._is_stuck(pid):
                return pid, int(signal.SIGKILL), None
            time.sleep(0.1)
        ended = super().wait_for_horse()
        if ended[1] is not None:
            self._horse_end = (ended[0], ended[1])
        return ended

    def request_stop(self, number: int, frame: FrameType | None) -> None:
        """Take no more builds. The running build gets STOP_GRACE seconds to finish."""
        if self.get_state() == WorkerStatus.BUSY:
            timer = threading.Timer(settings.STOP_GRACE, os.kill, (os.getpid(), BREAK_OFF))
            timer.daemon = True
            timer.start()
        super().request_stop(number, frame)  # type: ignore[no-untyped-call]  # RQ does not annotate it

    def _break_off(self, number: int, frame: FrameType | None) -> None:
        """Stop at once. A second SIGTERM would do the same, but RQ ignores it within a second of the first."""
        signal.signal(BREAK_OFF, signal.SIG_IGN)  # the supervisor also sends it
        self._breaks_off = True
        self._shutdown_requested_date = datetime.now(UTC) - timedelta(minutes=1)
        self.request_force_stop(number, frame)

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Any) -> None:
        """Wait for the work-horse, then end the processes that it left behind, and its build if it could not do so.

        The processes become children of this process. They are not found by the build's marker: after the queue store has lost its
        data, the same build can be queued twice, and then another worker runs it.
        """
        adopt_orphans()
        self._uncounted.append(metrics.counted(metrics.HORSES_SPAWNED))  # written with the next sign of life, or at its end
        self._killed_at = self._horse_end = None
        self._stuck = {pid for pid in self._stuck if self._is_running(pid)}  # the others are orphans, and are reaped as such
        self._supervision = supervision = Supervision(job.id, worker=self._row.name)
        try:
            super().monitor_work_horse(job, queue, execution)
        finally:
            try:
                self._finish(job, supervision)
            finally:
                connections.close_all()

    def _finish(self, job: Job, supervision: Supervision) -> None:
        """End what the work-horse left behind, and write how it ended. As a rule one connection to the database is enough for both."""
        if self._horse_end:
            ended_pid, status = self._horse_end
            supervision.log_exit(ended_pid, os.waitstatus_to_exitcode(status))
        pid = self.horse_pid
        if (not pid or pid in self._stuck or not self._is_running(pid)) and self._end_orphans(job):
            supervision.write_end(worker_stops=self._breaks_off or self._stop_requested)
        self._supervision = None
        if self._horse_end:
            self._uncounted.append(metrics.counted(metrics.HORSES_EXITED, _name_exit(self._horse_end[1])))
            self._write_row(self._write_counts)

    def maintain_heartbeats(self, job: Job, execution: Any) -> None:
        """Supervise the build. A queue store that is not available must not end a build that does not need it."""
        if self.horse_pid and self._must_kill():
            logger.warning("a build does not end: killing its work-horse", extra={"build": job.id})
            self._kill(self.horse_pid)
        try:
            super().maintain_heartbeats(job, execution)
        except RedisError as error:
            logger.warning("could not write the heartbeat to the queue store: %s", error, extra={"build": job.id})

    def _must_kill(self) -> bool:
        return self._supervision is not None and self._supervision.must_kill()

    def _end_orphans(self, job: Job) -> bool:
        """Whether none is left, except stuck work-horses."""
        try:
            for pid in self._stuck:
                kill_descendants(pid)
            server = {self._fork_server.pid} if self._fork_server else set()
            if count := end_orphans(own=self._stuck | server):
                logger.warning("ended processes that a build left behind", extra={"build": job.id, "processes": count})
        except ProcessesLeft as error:
            logger.error("%s", error, extra={"build": job.id})
            return False
        return True

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


def _keep_fork_server() -> ForkServer | None:
    """The fork server for the next work-horse. Without one, each program is started as a new process."""
    try:
        return fork_server.keep_running(TOOLS / "fork_server.py") if sys.platform == "linux" else None
    except OSError as error:
        logger.warning("the fork server could not be started: %s", error)
        return None


def _name_exit(status: int) -> str:
    """The exit code in a status of wait(2), or the name of the signal that ended the process."""
    code = os.waitstatus_to_exitcode(status)
    try:
        return signal.Signals(-code).name if code < 0 else str(code)
    except ValueError:  # most real-time signals have no name
        return f"signal {-code}"
