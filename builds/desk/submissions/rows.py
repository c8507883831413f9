"""The rows of the list, read for a whole page at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from builds.desk.formatting import describe_state
from builds.desk.submissions.filters import FAULTS
from builds.engine.findings import Group, Severity
from builds.engine.manuscript.url import InvalidManuscriptUrl, ManuscriptUrl
from builds.models import UNFINISHED, Build, Finding, Handling, Stage, StageName, State, Submission, clock
from builds.staff.attention import stuck, undelivered

STAGES = list(StageName)
# Only the fields that a row shows. The others may be long.
BUILD_FIELDS = (
    *("submission", "number", "state", "mode", "created_at", "not_before", "started_at", "finished_at", "ref", "commit"),
    *("cancel_requested_at", "cancel_requested_by", "fault", "cause", "cause_code", "automatic", "problems", "processor_seconds"),
)


@dataclass
class Problems:
    """The problems of a success, as far as they are kept: the text of the first, and the codes, each once."""

    text: str
    codes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """A submission with its newest build and, if there is one, the build ``before`` it."""

    submission: Submission
    build: Build
    attempts: int
    stage: Stage | None
    is_stuck: bool
    unconfirmed: int
    before: Build | None = None
    found: Problems | None = None
    handling: Handling | None = None

    @property
    def look(self) -> str:
        return describe_state(self.submission.state, self.submission.problems)[0]

    @property
    def words(self) -> str:
        """The state in words, with the running stage."""
        if self.build.cancel_requested_at and self.build.state in UNFINISHED:
            return "being cancelled"
        if self.build.state == State.RUNNING and self.stage:
            return f"running: {self.stage.name}"
        return describe_state(self.submission.state, self.submission.problems)[1]

    @property
    def progress(self) -> float | None:
        """The number of completed stages plus the known fraction of the running one. None unless running."""
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
        return at if self.build.state == State.QUEUED and at and at > clock.now() else None

    @property
    def seconds(self) -> float | None:
        """How long the newest build took. None if it has not ended or never ran."""
        if self.build.started_at and self.build.finished_at:
            return (self.build.finished_at - self.build.started_at).total_seconds()
        return None

    @property
    def ref(self) -> str:
        return self.build.ref or guess_ref(self.submission.url)

    @property
    def put_away(self) -> str:
        """Why nobody has to look at it now; empty if it is on the desk."""
        if self.handling and self.handling.words:
            return self.handling.words
        return "a later submission succeeded" if self.submission.put_away else ""

    @property
    def failed(self) -> Build | None:
        return find_failed(self.build, self.before)

    @property
    def fault(self) -> str:
        return FAULTS.get(self.failed.fault, "") if self.failed else ""


def find_failed(newest: Build, before: Build | None) -> Build | None:
    """The build whose cause is shown: the newest if it failed, or the one before during an automatic retry."""
    build = before if newest.automatic and newest.state in UNFINISHED else newest
    return build if build and build.state == State.FAILED else None


def guess_ref(url: str) -> str:
    """The first part of the URL after the repository, as long as the archive host has not said where the ref ends."""
    try:
        return ManuscriptUrl.parse(url).tail[0]
    except InvalidManuscriptUrl:
        return ""


def read_rows(ids: Sequence[int]) -> list[Row]:
    """The rows of the submissions ``ids``, in that order."""
    submissions = Submission.objects.in_bulk(ids)
    newest: dict[int, Build] = {}
    before: dict[int, Build] = {}
    for build in Build.objects.filter(submission__in=ids).only(*BUILD_FIELDS).order_by("number"):
        if build.submission_id in newest:
            before[build.submission_id] = newest[build.submission_id]
        newest[build.submission_id] = build
    found = _read_problems([build.pk for build in newest.values() if build.state == State.SUCCEEDED and build.problems])
    running = [build.pk for build in newest.values() if build.state == State.RUNNING]
    stages = {stage.build_id: stage for stage in Stage.objects.filter(build__in=running).order_by("started_at", "id")}
    handled = Handling.objects.filter(pk__in=ids).select_related("handler").in_bulk()
    late = set(stuck().filter(submission__in=ids).values_list("submission", flat=True))
    unconfirmed = Counter(undelivered().filter(submission__in=ids).values_list("submission", flat=True))
    return [
        Row(
            *(submissions[pk], newest[pk], newest[pk].number, stages.get(newest[pk].pk), pk in late, unconfirmed[pk]),
            before=before.get(pk),
            found=found.get(newest[pk].pk),
            handling=handled.get(pk),
        )
        for pk in ids
        if pk in submissions and pk in newest
    ]


def _read_problems(builds: Sequence[UUID]) -> dict[UUID, Problems]:
    found: dict[UUID, Problems] = {}
    if not builds:
        return found
    rows = Finding.objects.filter(build__in=builds, severity=Severity.BROKEN, group=Group.BUILD).order_by("build", "position")
    for build, code, text in rows.values_list("build", "code", "text").iterator():
        problems = found.setdefault(build, Problems(text))
        if code not in problems.codes:
            problems.codes.append(code)
    return found
