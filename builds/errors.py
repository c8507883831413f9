"""What can go wrong with a build, and whose fault it is.

Every error that ends a build is a :class:`BuildError`. Its class says whose fault it is and carries a stable code; the instance
carries one sentence for an author and, where known, the file and line. Anything else that escapes a stage is a defect of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Whose fault a failure is; decides who is asked to mend it and whether we retry by ourselves."""

    MANUSCRIPT = "manuscript"
    TEMPLATE = "template"
    SERVICE = "service"
    OUTSIDE = "outside"


@dataclass(frozen=True)
class Cause:
    """Why a build failed, as it is stored and shown. ``log_line`` is the number of a line of the build's log."""

    fault: Fault
    code: str
    sentence: str
    advice: str = ""
    file: str = ""
    line: int | None = None
    log_line: int | None = None


class BuildError(Exception):
    """The build failed for a reason of Jobsite's own; the operators have been told."""

    fault: Fault = Fault.SERVICE
    code: str = "internal-error"
    advice: str = "Nothing has to be changed in the manuscript. Retry the submission; if it fails again, tell the operators."

    def __init__(
        self,
        sentence: str = "",
        *,
        advice: str = "",
        file: str = "",
        line: int | None = None,
        log_line: int | None = None,
    ) -> None:
        self.sentence = _ended(sentence or (self.__doc__ or "").strip().splitlines()[0])
        self.advice = advice or self.advice
        self.file = file
        self.line = line
        self.log_line = log_line
        super().__init__(self.sentence)

    @property
    def cause(self) -> Cause:
        return Cause(self.fault, self.code, self.sentence, self.advice, self.file, self.line, self.log_line)


def _ended(sentence: str) -> str:
    """With a full stop: what follows it, the advice, is another sentence."""
    return sentence if sentence.endswith((".", "!", "?", "…")) else f"{sentence}."


class BuildStopped(Exception):
    """The build must stop at once and write nothing more: it was cancelled, or its lease was lost.

    Not a failure: a stage lets it pass.
    """


class ArchiveNotFound(BuildError):
    """The repository, branch or file was not found, or it is private."""

    fault = Fault.MANUSCRIPT
    code = "archive-not-found"
    advice = "Check the address in a browser where you are not signed in, and that the repository is public."


class ArchiveHostDown(BuildError):
    """The host of the repository could not be reached."""

    fault = Fault.OUTSIDE
    code = "archive-host-down"
    advice = "Nothing has to be changed in the manuscript. Retry the submission when the host answers again."


class ArchiveHostRefused(BuildError):
    """The host of the repository refuses to give it to us."""

    fault = Fault.OUTSIDE
    code = "archive-host-refused"
    advice = "Nothing has to be changed in the manuscript. The operators have to look at what the host answers."


class ArchiveTooLarge(BuildError):
    """The repository is larger than this service takes."""

    fault = Fault.MANUSCRIPT
    code = "archive-too-large"
    advice = "Remove large files from the repository (data belongs in a data archive), then submit again."


class ArchiveBroken(BuildError):
    """The archive of the repository arrived damaged."""

    fault = Fault.OUTSIDE
    code = "archive-broken"
    advice = "Nothing has to be changed in the manuscript. Retry the submission."


class ArchiveUnsafe(BuildError):
    """The repository holds an entry that can't be unpacked safely."""

    fault = Fault.MANUSCRIPT
    code = "archive-unsafe"
    advice = "Remove or rename that entry in the repository, then submit again."


class ProjectFileMissing(BuildError):
    """The MyST project file that the address names is not in the repository."""

    fault = Fault.MANUSCRIPT
    code = "project-file-missing"
    advice = "Submit the address of the manuscript's myst.yml as it stands in the repository."


class ProjectFileInvalid(BuildError):
    """The MyST project file can't be read."""

    fault = Fault.MANUSCRIPT
    code = "project-file-invalid"
    advice = "Correct the project file, check it with `myst build`, then submit again."


class ExportsMissing(BuildError):
    """The project file declares no exports, and this service requires them."""

    fault = Fault.MANUSCRIPT
    code = "exports-not-declared"
    advice = "Declare at least a `meca` export with an `output` in the project file, then submit again."


class ExportOutside(BuildError):
    """An export's output leads out of the repository."""

    fault = Fault.MANUSCRIPT
    code = "export-outside"
    advice = "Give the export an output path inside the repository, such as exports/manuscript.pdf."


class ExportUnwritable(BuildError):
    """An export can't be written where its output says."""

    fault = Fault.MANUSCRIPT
    code = "export-unwritable"
    advice = "Give the export another output path, such as exports/manuscript.pdf, then submit again."


class CommandFailed(BuildError):
    """Failed to build the repo files."""

    fault = Fault.MANUSCRIPT
    code = "build-failed"
    advice = "Run the same command on your machine, mend what it reports, then submit again."


class CommandTimedOut(BuildError):
    """Failed to build the repo files: the build took longer than it may."""

    fault = Fault.MANUSCRIPT
    code = "build-timeout"
    advice = "Make the build shorter (commit results instead of computing them), then submit again."


class FetchTimedOut(BuildError):
    """The repository could not be fetched in the time that this may take."""

    fault = Fault.OUTSIDE
    code = "fetch-timeout"
    advice = "Nothing has to be changed in the manuscript, unless its repository is very large. Retry the submission later."


class StageTimedOut(BuildError):
    """A stage of the service's own work took longer than it may."""

    code = "stage-timeout"


class DeliveryTimedOut(BuildError):
    """The files could not be delivered in the time that this may take."""

    fault = Fault.OUTSIDE
    code = "delivery-timeout"
    advice = "Nothing has to be changed in the manuscript. The files are kept; they are delivered again."


class LimitHit(BuildError):
    """Failed to build the repo files: the build hit a limit of this service."""

    fault = Fault.MANUSCRIPT
    code = "limit-hit"
    advice = "Make the build smaller, or ask the journal's staff to raise the limit."


class PackagesUnreachable(BuildError):
    """Failed to build the repo files: packages that the build needs could not be fetched."""

    fault = Fault.OUTSIDE
    code = "packages-unreachable"
    advice = "Nothing has to be changed in the manuscript. Retry the submission when the packages' host answers again."


class ToolMissing(BuildError):
    """A program that the build needs is not installed on this service."""

    code = "tool-missing"


class SandboxUnavailable(BuildError):
    """Builds can't be shut in on this machine, so none is run."""

    code = "sandbox-unavailable"
    advice = "Nothing has to be changed in the manuscript. The operators have to make a sandbox possible; its own words say how."


class SandboxLost(BuildError):
    """What shuts the build in was killed before anything of the build had begun."""

    code = "sandbox-lost"
    advice = "Nothing has to be changed in the manuscript. Retry the submission; the operators have to look at what kills it."


class ExportNotMade(BuildError):
    """Failed to build the repo files: a declared export was not made."""

    fault = Fault.MANUSCRIPT
    code = "export-not-made"
    advice = "Build the manuscript on your machine with `myst build --all`, mend what it reports, then submit again."


class ExportBroken(BuildError):
    """Failed to build the repo files: a declared export was made but is damaged."""

    fault = Fault.MANUSCRIPT
    code = "export-broken"
    advice = "Open that file on your machine after `myst build --all`, mend what is wrong with it, then submit again."


class TemplateFailed(BuildError):
    """Failed to build the repo files: the export's template could not be had or used."""

    fault = Fault.TEMPLATE
    code = "template-failed"
    advice = "Use a template that can be fetched, or put the template into the repository."


class DesciServerDown(BuildError):
    """desci-server could not be reached or did not answer."""

    fault = Fault.OUTSIDE
    code = "desci-server-down"
    advice = "Nothing has to be changed in the manuscript. The files are kept; deliver again when desci-server answers."


class DesciServerRefused(BuildError):
    """desci-server refused the files."""

    fault = Fault.OUTSIDE
    code = "desci-server-refused"
    advice = "Nothing has to be changed in the manuscript. The files are kept; the operators of both services have to look."


class DesciServerJobFailed(BuildError):
    """desci-server has the import down as failed, and took no files."""

    fault = Fault.OUTSIDE
    code = "desci-server-job-failed"
    advice = "Nothing has to be changed in the manuscript. The files are kept; they are delivered again."


class SecretRefused(BuildError):
    """desci-server does not accept our secret: the two services are configured with different ones."""

    code = "secret-refused"
    advice = "An operator has to set the same INTERNAL_SERVICE_SECRET in both services; the files are kept."


class NobodyWaits(Exception):
    """desci-server has no such job any more: the user cancelled or superseded the import."""


class WorkerLost(BuildError):
    """The worker that ran the build was lost."""

    code = "worker-lost"


class DiskFull(BuildError):
    """The service ran out of disk space."""

    code = "disk-full"


class MemoryFull(BuildError):
    """The service ran out of memory."""

    code = "memory-full"


class ProcessesFull(BuildError):
    """The service's user has all the processes that it may, most of them not of this build."""

    code = "processes-full"
