"""The steps of a submission's life, each one log line with a fixed name. ``docs/operations.md`` lists them.

Every change of state goes through here, so this is also the place to count or measure it.
"""

from __future__ import annotations

import logging
from datetime import datetime
from enum import StrEnum
from functools import partial

from django.db import connection, transaction

from builds.lib.text import one_line
from builds.models import Build, Submission, clock

logger = logging.getLogger(__name__)

MAX_REASON = 500
# The columns of a build and its submission that a step's line needs.
IDENTITY = ("number", "worker", "submission__job_id", "submission__node_uuid")


class Step(StrEnum):
    """The values are what operators search for, so they never change."""

    SUBMISSION_ACCEPTED = "submission_accepted"
    SUBMISSION_UNWANTED = "submission_unwanted"
    BUILD_RETRIED = "build_retried"
    BUILD_QUEUED = "build_queued"
    BUILD_MOVED_TO_FRONT = "build_moved_to_front"
    WORKHORSE_STARTED = "workhorse_started"
    BUILD_CLAIMED = "build_claimed"
    STAGE_STARTED = "stage_started"
    STAGE_PROGRESS = "stage_progress"
    STAGE_ENDED = "stage_ended"
    RESULT_REUSED = "result_reused"
    EXPORTS_DELIVERED = "exports_delivered"
    CANCEL_REQUESTED = "cancel_requested"
    BUILD_LOST = "build_lost"
    BUILD_ENDED = "build_ended"
    WORKHORSE_EXITED = "workhorse_exited"
    STATUS_UPDATE_RECEIVED = "status_update_received"
    STATUS_UPDATE_REFUSED = "status_update_refused"
    STATUS_UPDATE_PUSHED = "status_update_pushed"
    OUTBOX_HELD = "outbox_held"
    OUTBOX_RELEASED = "outbox_released"
    QUEUE_PAUSED = "queue_paused"
    QUEUE_DRAINING = "queue_draining"
    QUEUE_RESUMED = "queue_resumed"


def log(
    step: Step, of: Build | Submission | None = None, *, level: int = logging.INFO, message: str = "", **fields: object
) -> None:
    """Log a step, after the commit if the caller is in a transaction: a step that is rolled back is not logged.

    ``of`` gives the line its ``jobId``, ``uuid`` and, if it is a build, its id, attempt and worker. Empty fields are left out.
    ``duration`` and other times are in seconds. ``message`` is a sentence for operators, if the name needs one.
    """
    write = partial(_write, step, level, message, {**_identity(of), **fields})
    # Outside a transaction on_commit() would open a connection, and a worker must have none when it forks.
    if connection.in_atomic_block:
        transaction.on_commit(write, robust=True)
    else:
        write()


def _write(step: Step, level: int, message: str, fields: dict[str, object]) -> None:
    logger.log(level, "%s", message or step.value, extra={"event": step.value, **fields})


def _identity(of: Build | Submission | None) -> dict[str, object]:
    if of is None:
        return {}
    if isinstance(of, Submission):
        return {"jobId": of.job_id, "uuid": of.node_uuid}
    return {**_identity(of.submission), "build": str(of.pk), "attempt": of.number, "worker": of.worker}


def reason(text: str) -> str:
    """A reason in one line of limited length: people and desci-server write it."""
    return one_line(text, MAX_REASON)


def seconds_since(start: datetime | None) -> float | None:
    """Seconds from ``start`` until now, never negative; None if there was no start."""
    return None if start is None else round(max((clock.now() - start).total_seconds(), 0.0), 3)
