"""Rows for tests, made through the verbs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from builds import lifecycle
from builds.models import Build, Submission
from builds.record import search


def submit(job_id: str = "job-1", *, repository: str = "a/b", exports: Any = (), node_uuid: str = "") -> Submission:
    """A queued submission of the branch main of ``repository``, with its search words, as the reconciler leaves it."""
    submission = lifecycle.submit(
        lifecycle.Request(
            job_id=job_id,
            node_uuid=node_uuid or f"node-{job_id}.",
            url=f"https://github.com/{repository}/blob/main/myst.yml",
            repository=repository,
            document={"title": f"Title of {job_id}", "exports": list(exports)},
        )
    )
    search.index_missing()
    return submission


def claim(submission: Submission) -> Build:
    """Start the newest build."""
    build = lifecycle.claim(str(submission.newest_build().pk), worker="worker")
    assert build is not None
    return build


def lapse(build: Build) -> None:
    """Make the lease expire."""
    Build.objects.filter(pk=build.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
