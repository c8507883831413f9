"""One submission: the manuscript, what happens to it now, why it failed, its attempts, what desci-server was told, and its history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.db.models import Count, Prefetch
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_safe

from builds import acts
from builds.desk.access import desk_page
from builds.desk.exports import Shown, shown
from builds.desk.filters import FAULTS
from builds.desk.rows import Row, failed_of, ref_of
from builds.manuscript_url import file_link
from builds.models import UNFINISHED, Artifact, Build, Mode, Stage, StageName, Submission
from builds.outbox_models import StatusUpdate, StatusUpdateTry

MOST_ATTEMPTS = 30
MOST_UPDATES = 50
MOST_TRIES = 20
MOST_EVENTS = 200

# Who is asked to mend what.
MENDED_BY = {
    "manuscript": "The authors, in the manuscript.",
    "template": "The authors, or whoever keeps the template that they chose.",
    "service": "The operators of Jobsite. The authors have nothing to do.",
    "outside": "Nobody here: another service did not answer as it should. The authors have nothing to do.",
}


@dataclass(frozen=True)
class Step:
    """A stage of the newest attempt as the timeline shows it. ``left`` and ``width`` are per cent of the time that it took in all."""

    name: str
    state: str
    stage: Stage | None = None
    left: float = 0
    width: float = 0


@dataclass(frozen=True)
class Attempt:
    build: Build
    stages: list[Stage]
    exports: list[Shown]

    @property
    def mode(self) -> str:
        return Mode(self.build.mode).label

    @property
    def seconds(self) -> float | None:
        if not self.build.started_at:
            return None
        return ((self.build.finished_at or timezone.now()) - self.build.started_at).total_seconds()

    @property
    def words(self) -> str:
        return "being cancelled" if self.build.cancel_requested_at and self.build.state in UNFINISHED else self.build.state


@require_safe
@desk_page()
def submission_page(request: HttpRequest, pk: int) -> HttpResponse:
    submission = get_object_or_404(Submission, pk=pk)
    return render(request, "desk/submission.html", context(request, submission))


@require_safe
@desk_page()
def live(request: HttpRequest, pk: int) -> JsonResponse:
    """The parts of the page that change, as they are now."""
    shown = context(request, get_object_or_404(Submission, pk=pk))
    parts = {name: render_to_string(f"desk/_{name}.html", shown, request) for name in PARTS}
    return JsonResponse({"parts": parts, "words": shown["row"].words, "goes_on": shown["goes_on"]})


# Each is a template, and an element of the page that is replaced when it has changed.
PARTS = ("state", "timeline", "cause", "attempts", "updates", "history")


def context(request: HttpRequest, submission: Submission) -> dict[str, Any]:
    attempts = _attempts(submission)
    newest = attempts[0]
    updates = _updates(submission)
    pending = [update for update in updates if update.state == StatusUpdate.State.PENDING]
    next_try = min((update.next_try_at for update in pending), default=None)
    running = next((stage for stage in reversed(newest.stages) if stage.state == Stage.State.RUNNING), None)
    stage = running or (newest.stages[-1] if newest.stages else None)
    row = Row(submission, newest.build, newest.build.number, stage, False, len(pending))
    return {
        "submission": submission,
        "row": row,
        "newest": newest,
        "steps": steps(newest),
        "failure": _failure(attempts),
        "attempts": attempts,
        "more_attempts": newest.build.number - len(attempts),
        "updates": updates,
        "untold": [update for update in pending if update.tries],
        "next_try": next_try if next_try and next_try > timezone.now() else None,
        "events": list(submission.events.select_related("build").order_by("-id")[:MOST_EVENTS]),
        "acts": _acts(request, newest.build, pending),
        "goes_on": newest.build.state in UNFINISHED or bool(pending),
        "node_link": node_link(submission.node_uuid),
        "ref": _branch([attempt.build for attempt in attempts]) or ref_of(submission.url),
    }


def _branch(builds: list[Build]) -> str:
    """The newest ref that was built: who builds a commit again has only that."""
    return next((build.ref for build in builds if build.ref and build.ref != build.commit), "")


def node_link(node_uuid: str) -> str:
    """The page of a node: its address has the uuid without the dot that desci-server stores it with."""
    return f"{settings.NODES_URL}/node/{quote(node_uuid.rstrip('.='), safe='')}"


def _attempts(submission: Submission) -> list[Attempt]:
    builds = submission.builds.order_by("-number").select_related("source").defer("warnings")[:MOST_ATTEMPTS]
    attempts = []
    for build in builds.prefetch_related("stages", Prefetch("artifacts", Artifact.objects.order_by("position"))):
        build.submission = submission
        attempts.append(Attempt(build, list(build.stages.all()), [shown(artifact, build) for artifact in build.artifacts.all()]))
    return attempts


def _updates(submission: Submission) -> list[StatusUpdate]:
    newest_tries = Prefetch("attempts", StatusUpdateTry.objects.order_by("-id")[:MOST_TRIES], to_attr="newest_tries")
    updates = submission.status_updates.select_related("build").order_by("-id")
    return list(updates.prefetch_related(newest_tries).annotate(recorded=Count("attempts"))[:MOST_UPDATES])


def _acts(request: HttpRequest, newest: Build, pending: list[StatusUpdate]) -> list[acts.Act]:
    """What may be done by who looks, and makes sense now."""
    possible = {
        "retry": not acts.not_to_be_retried(newest),
        "cancel": not acts.not_to_be_cancelled(newest),
        "deliver": not acts.not_to_be_delivered(newest),
        "push": any(update.tries for update in pending),
    }
    return [act for act in acts.ACTS if possible[act.name] and request.user.has_perm(act.permission)]


def _failure(attempts: list[Attempt]) -> dict[str, Any] | None:
    """Why the newest build failed; while Jobsite tries again by itself, why the one before did. None where neither is so."""
    newest = attempts[0].build
    build = failed_of(newest, attempts[1].build if len(attempts) > 1 else None)
    if build is None:
        return None
    return {
        "build": build,
        "tried_again": newest if build != newest else None,
        "fault": FAULTS.get(build.fault, build.fault),  # type: ignore[call-overload]  # a text that equals its member
        "mended_by": MENDED_BY.get(build.fault, ""),
        "place": f"{build.cause_file}, line {build.cause_line}" if build.cause_line else build.cause_file,
        "link": cause_link(build),
    }


def cause_link(build: Build) -> str:
    """The file of a cause on GitHub, as it is in the commit that was built; empty where that is not known."""
    path = PurePosixPath(build.cause_file)
    if not build.commit or not build.cause_file or path.is_absolute() or ".." in path.parts:
        return ""
    folder = PurePosixPath(build.path).parent
    return file_link(build.submission.repository, build.commit, str(folder / path), build.cause_line)


# --- the timeline


def steps(attempt: Attempt) -> list[Step]:
    """The stages that were, and while the build goes on, those that are to come."""
    done = {stage.name: stage for stage in attempt.stages}
    begin, whole = _span(attempt)
    known = [_step(stage, begin, whole) for stage in attempt.stages]
    if attempt.build.state not in UNFINISHED:
        return known
    expected = [StageName.DELIVER] if attempt.build.mode == Mode.DELIVER else list(StageName)
    return [*known, *(Step(name.value, "waiting") for name in expected if name not in done)]


def _span(attempt: Attempt) -> tuple[datetime | None, float]:
    if not attempt.stages:
        return None, 0
    begin = attempt.stages[0].started_at
    end = max(stage.finished_at or timezone.now() for stage in attempt.stages)
    return begin, max((end - begin).total_seconds(), 0.001)


def _step(stage: Stage, begin: datetime | None, whole: float) -> Step:
    left = (stage.started_at - begin).total_seconds() / whole * 100 if begin else 0
    width = max(stage.seconds / whole * 100, 0.6)
    return Step(stage.name, stage.state, stage, round(min(left, 99.4), 2), round(min(width, 100), 2))
