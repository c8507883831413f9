"""The page of one submission: its manuscript, state, cause of failure, attempts, status updates and history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.db.models import Count, Prefetch
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from builds import lifecycle
from builds.desk.access import WRITE, desk_page
from builds.desk.exports.views import ShownFile, choose_pdf
from builds.desk.formatting import describe_state
from builds.desk.submissions import changes, findings, handling, now
from builds.desk.submissions.rows import Row, find_failed, guess_ref
from builds.engine.findings import Severity
from builds.engine.findings.catalogue.exports import OWN_TEMPLATE
from builds.engine.manuscript.url import file_link
from builds.errors import Fault
from builds.models import (
    UNFINISHED,
    Artifact,
    Build,
    FailureGroup,
    Finding,
    Mode,
    Stage,
    StageName,
    State,
    StatusUpdate,
    StatusUpdateTry,
    Submission,
    clock,
)
from builds.record import history
from builds.staff import actions, waits

MAX_ATTEMPTS = 30
MAX_UPDATES = 50
MIN_FOLDED = 3  # as many settled status updates are folded into one line
MAX_TRIES = 20
MAX_EVENTS = 200
# Each part is a template and an element of the page. The script replaces the element when it has changed.
PARTS = ("state", "exports", "cause", "findings", "article", "timeline", "attempts", "updates", "handling", "history")

FIXED_BY = {
    "manuscript": "The authors, in the manuscript.",
    "template": "The authors, or the maintainers of the template.",
    "service": "The operators of Jobsite. The authors do not have to do anything.",
    "outside": "Nobody here: another service failed. The authors do not have to do anything.",
    "unknown": "Whoever finds the reason in the log: no line of it explains the failure, or a tool crashed.",
}


@dataclass(frozen=True)
class Step:
    """A stage of the newest attempt in the timeline. ``left`` and ``width`` are percentages of the attempt's duration."""

    name: str
    state: str
    stage: Stage | None = None
    left: float = 0
    width: float = 0


@dataclass(frozen=True)
class Attempt:
    build: Build
    stages: list[Stage]
    files: list[ShownFile]
    codes: Sequence[str] = ()
    """The codes of its problems."""

    @property
    def pdf(self) -> ShownFile | None:
        return choose_pdf(self.files)

    @property
    def bundle(self) -> ShownFile | None:
        """The MECA bundle, whose article can be read as a page. None if it is not kept."""
        return next((file for file in self.files if file.is_kept and file.artifact.role == "meca"), None)

    @property
    def mode(self) -> str:
        return Mode(self.build.mode).label

    @property
    def seconds(self) -> float | None:
        if not self.build.started_at:
            return None
        return ((self.build.finished_at or clock.now()) - self.build.started_at).total_seconds()

    @property
    def words(self) -> str:
        if self.build.cancel_requested_at and self.build.state in UNFINISHED:
            return "being cancelled"
        return describe_state(self.build.state, self.build.problems)[1]

    @property
    def look(self) -> str:
        return describe_state(self.build.state, self.build.problems)[0]


@require_safe
@desk_page()
def submission_page(request: HttpRequest, pk: int) -> HttpResponse:
    return render(request, "desk/submission.html", make_context(request, _get_submission(pk)))


@require_safe
@desk_page()
def submission_live(request: HttpRequest, pk: int) -> JsonResponse:
    """The current HTML of the parts of the page that change."""
    shown = make_context(request, _get_submission(pk))
    parts = {name: render_to_string(f"desk/_{name}.html", shown, request) for name in PARTS}
    return JsonResponse({"parts": parts, "words": shown["row"].words, "goes_on": shown["goes_on"]})


@require_safe
@desk_page()
def submission_history(request: HttpRequest, pk: int) -> StreamingHttpResponse:
    """Everything that the record has about the submission, as JSON."""
    submission = get_object_or_404(Submission, pk=pk)
    return StreamingHttpResponse(
        history.write(submission),
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="submission-{pk}.json"'},
    )


def _get_submission(pk: int) -> Submission:
    return get_object_or_404(Submission.objects.select_related("article", "handling__handler"), pk=pk)


def make_context(request: HttpRequest, submission: Submission) -> dict[str, Any]:
    attempts = _read_attempts(submission)
    newest = attempts[0]
    updates = _read_updates(submission)
    settled = [update for update in updates if update.state != StatusUpdate.State.PENDING]
    pending = [update for update in updates if update.state == StatusUpdate.State.PENDING]
    next_try = min((update.next_try_at for update in pending), default=None)
    running = next((stage for stage in reversed(newest.stages) if stage.state == Stage.State.RUNNING), None)
    stage = running or (newest.stages[-1] if newest.stages else None)
    failure = _find_failure(attempts)
    events = list(submission.events.select_related("build").order_by("-id")[:MAX_EVENTS])
    row = Row(submission, newest.build, newest.build.number, stage, False, len(pending))
    return {
        "submission": submission,
        "row": row,
        "newest": newest,
        "steps": list_steps(newest),
        "failure": failure,
        "article": getattr(submission, "article", None),
        **_find_readable(attempts),
        "findings": findings.read(failure["build"] if failure else newest.build),
        "attempts": attempts,
        "more_attempts": newest.build.number - len(attempts),
        "updates": pending if len(settled) >= MIN_FOLDED else updates,
        "folded_updates": settled if len(settled) >= MIN_FOLDED else [],
        "undelivered": now.find_undelivered(pending),
        "waits": waits.explain_one(newest.build),
        "silent_worker": now.find_silent_worker(newest.build),
        "next_try": next_try if next_try and next_try > clock.now() else None,
        "events": events,
        **handling.make_context(request, newest.build),
        "actions": _list_actions(request, newest.build, pending, failure),
        "letter": newest.build.state in (State.SUCCEEDED, State.FAILED) and request.user.has_perm(WRITE),
        "letter_first": bool(failure and failure["build"].fault in (Fault.MANUSCRIPT, Fault.TEMPLATE)),
        "goes_on": newest.build.state in UNFINISHED or bool(pending),
        "node_link": make_node_link(submission.node_uuid),
        "ref": _find_branch([attempt.build for attempt in attempts]) or guess_ref(submission.url),
    }


def _find_readable(attempts: list[Attempt]) -> dict[str, Any]:
    """What can be read of the newest delivered attempt, and whether there are two to compare."""
    made = [attempt for attempt in attempts if attempt.build.state == State.SUCCEEDED and attempt.files]
    delivered = made[0] if made else None
    return {
        "delivered": delivered,
        "pdf": delivered.pdf if delivered else None,
        "bundle": delivered.bundle if delivered else None,
        "reading_first": delivered is attempts[0] and bool(delivered.pdf or delivered.bundle),
        "can_compare": sum(bool(attempt.pdf or attempt.bundle) for attempt in made) > 1,
    }


def _find_branch(builds: list[Build]) -> str:
    """The newest ref that was built. An attempt that rebuilds a commit has the commit as its ref, so it does not count."""
    return next((build.ref for build in builds if build.ref and build.ref != build.commit), "")


def make_node_link(node_uuid: str) -> str:
    """The page of a node. Its address uses the uuid without the trailing dot that desci-server stores."""
    return f"{settings.NODES_URL}/node/{quote(node_uuid.rstrip('.='), safe='')}"


def _read_attempts(submission: Submission) -> list[Attempt]:
    builds = submission.builds.order_by("-number").select_related("source", "reused__submission").defer("warnings")[:MAX_ATTEMPTS]
    read = list(builds.prefetch_related("stages", Prefetch("artifacts", Artifact.objects.order_by("position"))))
    noted = findings.read_noted(read)
    return [_make_attempt(build, submission, noted[build.pk]) for build in read]


def _make_attempt(build: Build, submission: Submission, noted: Sequence[Finding]) -> Attempt:
    build.submission = submission
    at_exports = [finding for finding in noted if finding.code == OWN_TEMPLATE.code]
    files = [ShownFile.of(artifact, build, at_exports) for artifact in build.artifacts.all()]
    codes = dict.fromkeys(finding.code for finding in noted if finding.severity == Severity.BROKEN)
    return Attempt(build, list(build.stages.all()), files, list(codes))


def _read_updates(submission: Submission) -> list[StatusUpdate]:
    newest_tries = Prefetch("attempts", StatusUpdateTry.objects.order_by("-id")[:MAX_TRIES], to_attr="newest_tries")
    updates = submission.status_updates.select_related("build").order_by("-id")
    return list(updates.prefetch_related(newest_tries).annotate(recorded=Count("attempts"))[:MAX_UPDATES])


def _list_actions(
    request: HttpRequest, newest: Build, pending: list[StatusUpdate], failure: dict[str, Any] | None
) -> list[actions.Action]:
    """The actions that the user has the permission for and that are possible now. The one that fits the cause of the failure is first."""
    possible = {
        "retry": not actions.retry_refusal(newest),
        "cancel": not actions.cancel_refusal(newest),
        "deliver": not actions.deliver_refusal(newest),
        "next": not actions.BUILD_NEXT.refusal(newest),
        "push": any(update.failed_tries for update in pending),
    }
    offered = [action for action in actions.ACTIONS if possible[action.name] and request.user.has_perm(action.permission)]
    only_undelivered = failure is not None and failure["stage"] == StageName.DELIVER
    return sorted(offered, key=lambda action: not (action is actions.DELIVER and only_undelivered))


def _find_failure(attempts: list[Attempt]) -> dict[str, Any] | None:
    """Why the newest attempt failed, or, during an automatic retry, why the one before failed. None if neither applies."""
    newest = attempts[0].build
    build = find_failed(newest, attempts[1].build if len(attempts) > 1 else None)
    if build is None:
        return None
    failed = next(attempt for attempt in attempts if attempt.build == build)
    return {
        "build": build,
        "retry": newest if build != newest else None,
        "waiting": lifecycle.waiting_for(build, build.cause_code) if build != newest else None,
        "fixed_by": FIXED_BY.get(build.fault, ""),
        "stage": failed.stages[-1].name if failed.stages else "",
        "since": changes.since_success(build, failed.stages, [file.artifact for file in failed.files]),
        "lines": now.read_around(build),
        "alike": FailureGroup.objects.filter(pk=build.fingerprint).first() if build.fingerprint else None,
        "place": findings.describe_place(build.cause_file, build.cause_line),
        "link": make_cause_link(build),
    }


def make_cause_link(build: Build) -> str:
    """A link to the cause's file on GitHub, at the commit that was built. Empty if either is unknown."""
    path = PurePosixPath(build.cause_file)
    if not build.commit or not build.cause_file or path.is_absolute() or ".." in path.parts:
        return ""
    folder = PurePosixPath(build.path).parent
    # Causes that come from a tool's output name the file from the repository's root, others from the project file's folder.
    whole = path if path.is_relative_to(folder) else folder / path
    return file_link(build.submission.repository, build.commit, str(whole), build.cause_line)


# --- the timeline


def list_steps(attempt: Attempt) -> list[Step]:
    """The stages so far. While the attempt is unfinished, also those still to come."""
    done = {stage.name: stage for stage in attempt.stages}
    begin, whole = _measure_span(attempt)
    known = [_make_step(stage, begin, whole) for stage in attempt.stages]
    if attempt.build.state not in UNFINISHED:
        return known
    only_delivers = attempt.build.mode == Mode.DELIVER or attempt.build.reused_id
    expected = [StageName.DELIVER] if only_delivers else list(StageName)
    return [*known, *(Step(name.value, "waiting") for name in expected if name not in done)]


def _measure_span(attempt: Attempt) -> tuple[datetime | None, float]:
    if not attempt.stages:
        return None, 0
    begin = attempt.stages[0].started_at
    end = max(stage.finished_at or clock.now() for stage in attempt.stages)
    return begin, max((end - begin).total_seconds(), 0.001)


def _make_step(stage: Stage, begin: datetime | None, whole: float) -> Step:
    left = (stage.started_at - begin).total_seconds() / whole * 100 if begin else 0
    width = max(stage.seconds / whole * 100, 0.6)
    return Step(stage.name, stage.state, stage, round(min(left, 99.4), 2), round(min(width, 100), 2))
