"""Two attempts of a submission side by side: their PDFs, and what changed in the text of the article."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from builds.desk.access import desk_page
from builds.desk.exports.views import ShownFile, choose_pdf, get_kept
from builds.desk.reading import articles
from builds.engine.manuscript import limited
from builds.models import Build, State, Submission

MAX_ATTEMPTS = 30
SECONDS = 20
TOO_DIFFERENT = "The texts of the two articles can't be compared within the limits of time and memory."


@dataclass(frozen=True)
class Side:
    """An attempt with the files that are still kept."""

    build: Build
    pdf: ShownFile | None
    bundle: ShownFile | None


@dataclass(frozen=True)
class Difference:
    """What changed in the text, or why that is not known."""

    changes: Sequence[dict[str, Any]] = field(default_factory=list)
    left_out: int = 0
    problem: str = ""
    is_passing: bool = False


@require_safe
@desk_page()
def compare_attempts(request: HttpRequest, pk: int) -> HttpResponse:
    """Compare the attempts ``old`` and ``new``; without them the two newest that have files."""
    submission = get_object_or_404(Submission, pk=pk)
    sides = _sides(submission)
    old, new = _chosen(sides, request.GET.get("old", ""), 1), _chosen(sides, request.GET.get("new", ""), 0)
    difference = _compare(old, new) if old and new and old != new else None
    context = {"submission": submission, "sides": sides, "old": old, "new": new, "pair": (old, new), "difference": difference}
    response = render(request, "desk/compare.html", context, status=503 if difference and difference.is_passing else 200)
    if difference and difference.is_passing:
        response["Retry-After"] = str(articles.RETRY_AFTER_SECONDS)
    response._csp_update = {"frame-src": ["'self'"]}  # type: ignore[attr-defined]  # read by django-csp
    return response


def _sides(submission: Submission) -> list[Side]:
    """The newest attempts that delivered a PDF or a bundle which is still kept."""
    built = submission.builds.filter(state=State.SUCCEEDED).order_by("-number").prefetch_related("artifacts")[:MAX_ATTEMPTS]
    sides = (_side(build) for build in built)
    return [side for side in sides if side.pdf or side.bundle]


def _side(build: Build) -> Side:
    files = [ShownFile.of(artifact, build) for artifact in build.artifacts.all()]
    return Side(build, choose_pdf(files), next((file for file in files if file.is_kept and file.artifact.role == "meca"), None))


def _chosen(sides: Sequence[Side], number: str, default: int) -> Side | None:
    named = (side for side in sides if str(side.build.number) == number)
    return next(named, sides[default] if default < len(sides) else None)


def _compare(old: Side, new: Side) -> Difference:
    texts = []
    for side in (old, new):
        reading = _read(side)
        if reading.html is None:
            return Difference(problem=f"Attempt {side.build.number}: {reading.problem}", is_passing=reading.is_passing)
        texts.append(reading.html)
    answer = limited.run("compare_articles.py", json.dumps({"old": texts[0], "new": texts[1]}).encode(), seconds=SECONDS)
    return Difference(**json.loads(answer)) if answer else Difference(problem=TOO_DIFFERENT)


def _read(side: Side) -> articles.Reading:
    if side.bundle is None:
        return articles.Reading(
            problem=f"Its bundle is no longer kept. Jobsite keeps files for {settings.EXPORTS_KEPT_DAYS} days."
        )
    artifact = side.bundle.artifact
    return articles.read(*get_kept(side.build.submission_id, side.build.number, artifact.position))
