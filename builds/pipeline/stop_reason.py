"""Why Jobsite itself stops a build. What becomes of the build depends on the reason."""

from __future__ import annotations

from enum import StrEnum


class StopReason(StrEnum):
    """The value is the sentence in the build's log. Compare members with ``is``: a person may cancel a build with the same words."""

    WORKER_STOPPED = "The worker was told to stop; the build is queued again."
    WORKER_DIED = "The worker has died."
    DISK_FULL = "The disk of the service is full."
