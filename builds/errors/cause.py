"""What every reason for a failed build has: a fault, a stable code, one sentence for the author and, if known, the file and line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Whose fault a failure is. It decides who has to fix it."""

    MANUSCRIPT = "manuscript"
    TEMPLATE = "template"
    SERVICE = "service"
    OUTSIDE = "outside"
    UNKNOWN = "unknown"  # no line of the log explains the failure, or a tool crashed


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
    # Seconds that the other service asked to wait. It decides about a retry and is not stored.
    retry_after: float | None = None


class BuildError(Exception):
    """The build failed because of an internal error in Jobsite; the details are in the operators' log."""

    fault: Fault = Fault.SERVICE
    code: str = "internal-error"
    advice: str = "The manuscript needs no change. Retry the submission; if it fails again, contact the operators."

    def __init__(
        self,
        sentence: str = "",
        *,
        advice: str = "",
        file: str = "",
        line: int | None = None,
        log_line: int | None = None,
        retry_after: float | None = None,
        code: str = "",
        fault: Fault | None = None,
    ) -> None:
        self.code = code or self.code
        self.fault = fault or self.fault
        self.sentence = _closed(sentence or (self.__doc__ or "").strip().splitlines()[0])
        self.advice = advice or self.advice
        self.file = file
        self.line = line
        self.log_line = log_line
        self.retry_after = retry_after
        super().__init__(self.sentence)

    @property
    def cause(self) -> Cause:
        place = (self.file, self.line, self.log_line)
        return Cause(self.fault, self.code, self.sentence, self.advice, *place, retry_after=self.retry_after)


def _closed(sentence: str) -> str:
    """``sentence`` with a full stop, because the advice follows it."""
    return sentence if sentence.endswith((".", "!", "?", "…")) else f"{sentence}."


class BuildStopped(Exception):
    """The build must stop at once and write nothing more: it was cancelled or lost its lease.

    It is not a failure, so stages do not catch it.
    """


class NobodyWaits(Exception):
    """desci-server no longer has this job: the user cancelled or superseded the import."""
