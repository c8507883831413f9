"""Counts the failures that are alike, and remembers when a release was first seen, so that a group can say what it began after."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F

from builds.errors import Cause
from builds.lib import release
from builds.lib.fingerprint import fingerprint, normalise
from builds.models import Build, FailureGroup, Release, Submission, clock

# A group that begins within this time after an upgrade says so.
SOON = timedelta(days=3)


@dataclass(frozen=True)
class Kind:
    """What is alike in the failures of a group."""

    code: str
    stage: str
    line: str

    @classmethod
    def of(cls, cause: Cause, stage: str) -> Kind:
        return cls(cause.code[:60], stage, normalise(cause.sentence))

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.code, self.stage, self.line)


def count(build: Build, kind: Kind, fault: str) -> None:
    """Count a build that has just failed, in the caller's transaction. It locks the row of the group, so it should come last."""
    now = clock.now()
    rows = FailureGroup.objects.filter(pk=kind.fingerprint)
    counted = {"attempts": F("attempts") + 1, "last_at": now, "fault": fault}
    if not rows.update(**counted):
        _begin(kind, fault, now)
        rows.update(**counted)
    if not _has_failed_alike(build.submission.node_uuid, kind.fingerprint, but=build):
        rows.update(manuscripts=F("manuscripts") + 1)


def _begin(kind: Kind, fault: str, now: datetime) -> None:
    """Insert the row of the group, unless another process is doing so."""
    group = FailureGroup(
        fingerprint=kind.fingerprint,
        code=kind.code,
        stage=kind.stage,
        line=kind.line,
        fault=fault,
        first_at=now,
        last_at=now,
        upgraded_at=find_upgrade(now),
    )
    FailureGroup.objects.bulk_create([group], ignore_conflicts=True)


def _has_failed_alike(node_uuid: str, fingerprint: str, *, but: Build | None = None) -> bool:
    builds = Build.objects.filter(submission__node_uuid=node_uuid, fingerprint=fingerprint)
    return builds.exclude(pk=but.pk).exists() if but else builds.exists()


def forget(submission: Submission) -> None:
    """Delete the submission, and take its attempts out of the groups that they are counted in. A group without any is deleted."""
    found = submission.builds.exclude(fingerprint="").values_list("fingerprint", flat=True)
    failures, node_uuid = Counter(found), submission.node_uuid
    submission.delete()
    # In one order, so that two of these never wait for each other.
    for pk, attempts in sorted(failures.items()):
        rows = FailureGroup.objects.filter(pk=pk)
        if rows.filter(attempts__lte=attempts).delete()[0]:
            continue
        rows.update(attempts=F("attempts") - attempts)
        if not _has_failed_alike(node_uuid, pk):
            rows.filter(manuscripts__gt=0).update(manuscripts=F("manuscripts") - 1)


def note_release() -> None:
    """Remember when the release of this process was first seen."""
    Release.objects.get_or_create(digest=release.digest(), defaults={"first_seen_at": clock.now()})


def find_upgrade(at: datetime) -> datetime | None:
    """The last upgrade before ``at``, if it was soon before. The first release that was ever seen is not an upgrade."""
    seen = Release.objects.filter(first_seen_at__lte=at).order_by("-first_seen_at").values_list("first_seen_at", flat=True)[:2]
    return seen[0] if len(seen) == 2 and at - seen[0] <= SOON else None
