"""Failures of another service: the repository's host, the hosts that a build fetches from, and desci-server."""

from __future__ import annotations

from builds.errors.cause import BuildError, Fault


class ArchiveHostDown(BuildError):
    """The repository's host could not be reached."""

    fault = Fault.OUTSIDE
    code = "archive-host-down"
    advice = "The manuscript needs no change. Retry the submission when the host answers again."


class ArchiveHostLimit(ArchiveHostDown):
    """The repository's host is limiting requests."""

    code = "archive-host-limit"
    advice = "The manuscript needs no change. Jobsite fetches the repository when the host allows it again."


class ArchiveHostRefused(BuildError):
    """The repository's host refused the download."""

    fault = Fault.OUTSIDE
    code = "archive-host-refused"
    advice = "The manuscript needs no change. The operators have to read the host's answer in the log."


class ArchiveBroken(BuildError):
    """The archive of the repository arrived damaged."""

    fault = Fault.OUTSIDE
    code = "archive-broken"
    advice = "The manuscript needs no change. Retry the submission."


class FetchTimedOut(BuildError):
    """Fetching the repository timed out."""

    fault = Fault.OUTSIDE
    code = "fetch-timeout"
    advice = "The manuscript needs no change, unless its repository is very large. Retry the submission later."


class DeliveryTimedOut(BuildError):
    """Delivering the files timed out."""

    fault = Fault.OUTSIDE
    code = "delivery-timeout"
    advice = "The manuscript needs no change. The files are kept and will be delivered again."


class PackagesUnreachable(BuildError):
    """Failed to build the repo files: packages that the build needs could not be fetched."""

    fault = Fault.OUTSIDE
    code = "packages-unreachable"
    advice = "The manuscript needs no change. Retry the submission when the packages' host answers again."


class HostRefused(BuildError):
    """Failed to build the repo files: the service's proxy refused a request of the build."""

    fault = Fault.OUTSIDE
    code = "host-not-allowed"
    advice = "Put what the build fetches into the repository, or ask the operators to allow the host."


class HostFailed(BuildError):
    """Failed to build the repo files: another host refused a request of the build, or failed."""

    fault = Fault.OUTSIDE
    code = "host-failed"
    advice = "Put what the build fetches into the repository, or submit again when that host answers."


class DesciServerDown(BuildError):
    """desci-server could not be reached or did not answer."""

    fault = Fault.OUTSIDE
    code = "desci-server-down"
    advice = "The manuscript needs no change. The files are kept; deliver again when desci-server answers."


class DesciServerRefused(BuildError):
    """desci-server refused the files."""

    fault = Fault.OUTSIDE
    code = "desci-server-refused"
    advice = "The manuscript needs no change. The files are kept. The operators of both services have to find the reason."


class DesciServerJobFailed(BuildError):
    """desci-server has marked this import as failed and rejected the files."""

    fault = Fault.OUTSIDE
    code = "desci-server-job-failed"
    advice = "The manuscript needs no change. The files are kept and will be delivered again."
