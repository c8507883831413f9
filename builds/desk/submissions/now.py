"""What happens with a submission now: why it waits, what desci-server last answered, and the lines of the log around a failure."""

from __future__ import annotations

from dataclasses import dataclass

from builds.lib.text import plain
from builds.models import Build, State, StatusUpdate, StatusUpdateTry, Worker
from builds.record import logs

LINES_AROUND = 2


@dataclass(frozen=True)
class Undelivered:
    """Status updates that desci-server has not accepted. ``last_try`` is the newest try of the oldest of them."""

    count: int
    oldest: StatusUpdate
    last_try: StatusUpdateTry | None


def find_undelivered(pending: list[StatusUpdate]) -> Undelivered | None:
    """``pending``: status updates, newest first, with their ``newest_tries``. None if each was accepted or is sent for the first time."""
    refused = [update for update in pending if update.failed_tries]
    if not refused:
        return None
    tries: list[StatusUpdateTry] = refused[-1].newest_tries  # type: ignore[attr-defined]  # Prefetch
    return Undelivered(len(refused), refused[-1], next(iter(tries), None))


def find_silent_worker(build: Build) -> Worker | None:
    """The worker of a running build, if nothing has been heard from it for a while."""
    worker = Worker.objects.filter(name=build.worker).first() if build.state == State.RUNNING else None
    return worker if worker and worker.is_silent else None


@dataclass(frozen=True)
class Line:
    number: int
    text: str
    is_cause: bool


def read_around(build: Build) -> list[Line]:
    """The line of the log that explains a failure, with two lines before it and two after it; empty if no line does."""
    at = build.cause_log_line
    if not at:
        return []
    lines = logs.read(build, max(at - LINES_AROUND, 1), at + LINES_AROUND)
    return [Line(line.number, plain(line.text), line.number == at) for line in lines if line.number <= build.log_lines]
