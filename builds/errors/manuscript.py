"""Failures that the author can correct: in the repository, the project file, the manuscript, its exports or their template.

A command that failed is among them, also if no line of the log explains why.
"""

from __future__ import annotations

from builds.errors.cause import BuildError, Fault


class ArchiveNotFound(BuildError):
    """The repository, branch or file was not found, or it is private."""

    fault = Fault.MANUSCRIPT
    code = "archive-not-found"
    advice = "Check the address in a browser where you are not signed in, and that the repository is public."


class ArchiveTooLarge(BuildError):
    """The repository is larger than this service accepts."""

    fault = Fault.MANUSCRIPT
    code = "archive-too-large"
    advice = "Remove large files from the repository (data belongs in a data archive), then submit again."


class ArchiveUnsafe(BuildError):
    """The repository contains an entry that can't be unpacked safely."""

    fault = Fault.MANUSCRIPT
    code = "archive-unsafe"
    advice = "Remove or rename that entry in the repository, then submit again."


class ProjectFileMissing(BuildError):
    """The MyST project file in the submitted address is not in the repository."""

    fault = Fault.MANUSCRIPT
    code = "project-file-missing"
    advice = "Submit the address of the manuscript's myst.yml in the repository."


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
    """An export's output path is outside the repository."""

    fault = Fault.MANUSCRIPT
    code = "export-outside"
    advice = "Give the export an output path inside the repository, such as exports/manuscript.pdf."


class ExportUnwritable(BuildError):
    """An export can't be written to its output path."""

    fault = Fault.MANUSCRIPT
    code = "export-unwritable"
    advice = "Give the export another output path, such as exports/manuscript.pdf, then submit again."


class CommandFailed(BuildError):
    """Failed to build the repo files."""

    fault = Fault.MANUSCRIPT
    code = "build-failed"
    advice = "Run the same command on your machine, fix what it reports, then submit again."


class ManuscriptUnreadable(CommandFailed):
    """Failed to build the repo files: a file of the manuscript can't be read."""

    code = "manuscript-unreadable"


class Unexplained(CommandFailed):
    """Failed to build the repo files: no line of the log explains why."""

    fault = Fault.UNKNOWN
    code = "unexplained"


class CommandComplained(CommandFailed):
    """Failed to build the repo files: the author's own command failed after a complaint."""

    code = "command-complained"


class CommandGaveNoReason(CommandFailed):
    """Failed to build the repo files: the author's own command failed and printed no error."""

    code = "command-gave-no-reason"
    advice = (
        "Run the command on a fresh clone. Let it stop at the first step that fails and say which one that is (in a shell script: "
        "`set -ex`), then submit again."
    )


class CommandSilent(CommandGaveNoReason):
    """Failed to build the repo files: the author's own command failed and printed nothing at all."""

    code = "command-silent"


class CommandEnded(CommandFailed):
    """Failed to build the repo files: the author's own command was ended by a signal."""

    code = "command-ended"
    advice = (
        "Look for a time limit in the command (such as `timeout`), and for a script that ends its own processes. Correct it, then "
        "submit again."
    )


class CommandTimedOut(BuildError):
    """Failed to build the repo files: the build exceeded its time limit."""

    fault = Fault.MANUSCRIPT
    code = "build-timeout"
    advice = "Make the build faster (commit results instead of computing them), then submit again."


class LimitHit(BuildError):
    """Failed to build the repo files: the build hit a limit of this service."""

    fault = Fault.MANUSCRIPT
    code = "limit-hit"
    advice = "Make the build smaller, or ask the journal's staff to raise the limit."


class ExportNotMade(BuildError):
    """Failed to build the repo files: a declared export was not made."""

    fault = Fault.MANUSCRIPT
    code = "export-not-made"
    advice = "Build the manuscript on your machine with `myst build --all`, fix what it reports, then submit again."


class ExportBroken(BuildError):
    """Failed to build the repo files: a declared export was made but is damaged."""

    fault = Fault.MANUSCRIPT
    code = "export-broken"
    advice = "Run `myst build --all` on your machine, open that file, fix what is wrong with it, then submit again."


class TemplateFailed(BuildError):
    """Failed to build the repo files: the export's template could not be fetched or used."""

    fault = Fault.TEMPLATE
    code = "template-failed"
    advice = "Use a template that can be downloaded, or put the template into the repository."
