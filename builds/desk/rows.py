"""What the list shows of each submission, read for a whole page at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from builds.desk.filters import FAULTS, stuck, undelivered
from builds.manuscript_url import InvalidManuscriptUrl, ManuscriptUrl
from builds.models import UNFINISHED, Build, Stage, StageName, State, Submission

STAGES = list(StageName)
# Of builds only what a row shows: causes and advice may be long.
BUILD_FIELDS = (
    *("submission", "number", "state", "mode", "created_at", "not_before", "started_at", "finished_at", "ref", "commit"),
    *("cancel_requested_at", "cancel_requested_by", "fault", "cause", "cause_code", "automatic"),
)


@dataclass(frozen=True)
class Row:
    """A submission with its newest build, and what that is doing; with the one ``before`` it, if any."""

    submission: Submission
    build: Build
    attempts: int
    stage: Stage | None
    is_stuck: bool
    untold: int
    before: Build | None = None

    @property
    def words(self) -> str:
        """The state in words: with its stage, or what it waits for."""
        if self.build.cancel_requested_at and self.build.state in UNFINISHED:
            return "being cancelled"
        if self.build.state == State.RUNNING and self.stage:
            return f"running: {self.stage.name}"
        return self.submission.state

    @property
    def progress(self) -> float | None:
        """How many of the stages are through, with the part of the present one where it is known; None when nothing runs."""
        if self.build.state != State.RUNNING:
            return None
        if self.stage is None:
            return 0
        done, total = self.stage.progress_done, self.stage.progress_total
        part = min(done / total, 1) if done is not None and total else 0
        return STAGES.index(StageName(self.stage.name)) + (part if self.stage.state == Stage.State.RUNNING else 1)

    @property
    def waits_until(self) -> datetime | None:
        at = self.build.not_before
        return at if self.build.state == State.QUEUED and at and at > timezone.now() else None

    @property
    def seconds(self) -> float | None:
        """How long the newest build took; None where it has not ended, or never ran."""
        if self.build.started_at and self.build.finished_at:
            return (self.build.finished_at - self.build.started_at).total_seconds()
        return None

    @property
    def ref(self) -> str:
        return self.build.ref or ref_of(self.submission.url)

    @property
    def failed(self) -> Build | None:
        return failed_of(self.build, self.before)

    @property
    def fault(self) -> str:
        return FAULTS.get(self.failed.fault, "") if self.failed else ""  # type: ignore[call-overload]  # a text that equals its member


def failed_of(newest: Build, before: Build | None) -> Build | None:
    """The build whose cause a reader is told: the newest, if it failed; while Jobsite tries again by itself, the one before."""
    build = before if newest.automatic and newest.state in UNFINISHED else newest
    return build if build and build.state == State.FAILED else None


def ref_of(url: str) -> str:
    """The ref of an address while the archive host has not said where it ends: its first part."""
    try:
        return ManuscriptUrl.parse(url).tail[0]
    except InvalidManuscriptUrl:
        return ""


def rows(ids: Sequence[int]) -> list[Row]:
    """The rows of the submissions ``ids``, in that order."""
    submissions = Submission.objects.in_bulk(ids)
    newest: dict[int, Build] = {}
    before: dict[int, Build] = {}
    for build in Build.objects.filter(submission__in=ids).only(*BUILD_FIELDS).order_by("number"):
        if build.submission_id in newest:
            before[build.submission_id] = newest[build.submission_id]
        newest[build.submission_id] = build
    running = [build.pk for build in newest.values() if build.state == State.RUNNING]
    stages = {stage.build_id: stage for stage in Stage.objects.filter(build__in=running).order_by("started_at", "id")}
    late = set(stuck().filter(submission__in=ids).values_list("submission", flat=True))
    untold = Counter(undelivered().filter(submission__in=ids).values_list("submission", flat=True))
    return [
        Row(submissions[pk], newest[pk], newest[pk].number, stages.get(newest[pk].pk), pk in late, untold[pk], before.get(pk))
        for pk in ids
        if pk in submissions and pk in newest
    ]
