"""Failures of Jobsite itself, its machine or its configuration. Their fault is that of :class:`BuildError`."""

from __future__ import annotations

from builds.errors.cause import BuildError


class StageTimedOut(BuildError):
    """A stage of the service exceeded its time limit."""

    code = "stage-timeout"


class ToolMissing(BuildError):
    """A program that the build needs is not installed on this service."""

    code = "tool-missing"


class SandboxUnavailable(BuildError):
    """This machine can't sandbox builds, so it runs none."""

    code = "sandbox-unavailable"
    advice = "The manuscript needs no change. An operator has to enable a sandbox on the machine; the message above says how."


class SandboxLost(BuildError):
    """The sandbox was killed before the build started."""

    code = "sandbox-lost"
    advice = "The manuscript needs no change. Retry the submission. The operators have to find out what killed the sandbox."


class SecretRefused(BuildError):
    """desci-server rejected Jobsite's secret: the two services are configured with different secrets."""

    code = "secret-refused"
    advice = "An operator has to set the same INTERNAL_SERVICE_SECRET in both services. The files are kept."


class WorkerLost(BuildError):
    """The worker that ran the build was lost."""

    code = "worker-lost"
    advice = (
        "The manuscript needs no change. Jobsite retries the build once automatically. If that fails too, retry the submission."
    )


class DatabaseAway(BuildError):
    """The database was unavailable for longer than the build could wait."""

    code = "database-away"
    advice = "The manuscript needs no change. Jobsite repeats the build automatically, up to 20 times in a row."


class WorkerStopped(BuildError):
    """The operators stopped the worker that ran the build."""

    code = "worker-stopped"
    advice = "The manuscript needs no change. Jobsite has queued the build again."


class ReleaseReplaced(BuildError):
    """A new release of Jobsite was installed while the build ran, and the build could not go on."""

    code = "release-replaced"
    advice = "The manuscript needs no change. Jobsite has queued the build again."


class SystemFault(BuildError):
    """Jobsite met an error of the operating system."""

    code = "system-error"


class DiskFull(BuildError):
    """The service ran out of disk space."""

    code = "disk-full"


class ExportsUnavailable(BuildError):
    """The storage of kept exports could not be used."""

    code = "exports-unavailable"


class MemoryFull(BuildError):
    """The service ran out of memory."""

    code = "memory-full"


class ProcessesFull(BuildError):
    """The service has reached its process limit, mostly because of other builds."""

    code = "processes-full"


class ProcessesLeft(BuildError):
    """Processes of the build could not be ended."""

    code = "processes-left"
