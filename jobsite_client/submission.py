"""A submission as the service describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FINAL = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class Cause:
    """Why an attempt failed. ``fault`` says whose problem it is, ``code`` is a stable name."""

    fault: str
    code: str
    sentence: str
    advice: str


@dataclass(frozen=True)
class Attempt:
    number: int
    state: str

    @property
    def is_final(self) -> bool:
        return self.state in FINAL


@dataclass(frozen=True)
class Submission:
    """``state`` is that of the newest attempt. ``data`` is everything that the service said (docs/api.md)."""

    job_id: str
    uuid: str
    url: str
    state: str
    stage: str
    problems: int
    link: str
    cause: Cause | None
    attempts: tuple[Attempt, ...]
    data: Mapping[str, Any]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Submission:
        cause = data.get("cause")
        return cls(
            job_id=str(data["jobId"]),
            uuid=str(data["uuid"]),
            url=str(data["url"]),
            state=str(data["state"]),
            stage=str(data.get("stage") or ""),
            problems=int(data.get("problems") or 0),
            link=str(data.get("link") or ""),
            cause=Cause(cause["fault"], cause["code"], cause["sentence"], cause["advice"]) if cause else None,
            attempts=tuple(Attempt(int(one["number"]), str(one["state"])) for one in data.get("attempts") or ()),
            data=data,
        )

    @property
    def is_final(self) -> bool:
        """Whether the newest attempt has ended. While an automatic retry waits, the state is ``queued``."""
        return self.state in FINAL

    @property
    def newest_attempt(self) -> int:
        return max((attempt.number for attempt in self.attempts), default=1)
