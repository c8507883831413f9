"""Submissions and builds in each state, made through the verbs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from builds import lifecycle
from builds.errors import CommandFailed
from builds.lifecycle import Request
from builds.models import Build, State, Submission

CAUSE = CommandFailed("Failed to build the repo files: it broke.").cause


def request(job_id: str = "job-1", **changes: Any) -> Request:
    values: dict[str, Any] = {
        "job_id": job_id,
        "node_uuid": "node-1.",
        "url": "https://github.com/a/b/blob/main/myst.yml",
        "repository": "a/b",
        "document": {"title": "On builds", "authors": [{"name": "Ada", "orcid": "0000-0001"}], "exports": ["meca"]},
    }
    return Request(**{**values, **changes})


def submit(job_id: str = "job-1", **changes: Any) -> Submission:
    return lifecycle.submit(request(job_id, **changes))


def claimed(submission: Submission) -> Build:
    build = lifecycle.claim(str(submission.newest_build().pk), worker="w")
    assert build is not None
    return build


def ended(submission: Submission, state: State) -> Build:
    build = claimed(submission)
    if state == State.SUCCEEDED:
        lifecycle.succeed(build)
    elif state == State.FAILED:
        lifecycle.fail(build, CAUSE)
    else:
        lifecycle.request_cancel(build, actor="ed", reason="Not needed.")
        lifecycle.finish_cancel(build)
    return build


def messages(submission: Submission) -> list[str]:
    return [f"{update.status} {update.message}" for update in submission.status_updates.all()]


def events(submission: Submission) -> list[tuple[str, str]]:
    return list(submission.events.values_list("kind", "actor"))


def lapse(build: Build) -> None:
    Build.objects.filter(pk=build.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
