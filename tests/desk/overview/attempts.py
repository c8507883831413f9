"""Submissions with one attempt each, at a chosen time, for the tests of the overview."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from builds import lifecycle
from builds.engine.findings import Finding
from builds.errors import Cause, Fault
from builds.models import Build, Stage, Submission
from tests.support.found import write_findings
from tests.support.rows import claim, submit

BROKEN = Cause(Fault.MANUSCRIPT, "build-failed", "It broke.")
LOST = Cause(Fault.SERVICE, "worker-lost", "It was lost.")


def ended(job_id: str, cause: Cause | None = None, *findings: Finding, days_ago: int = 0, field: str = "") -> Build:
    """A build that has failed by ``cause``, or succeeded without one. It waited for 8 s, and its only stage took 90 s."""
    submission = submit(job_id)
    build = claim(submission)
    write_findings(build, *findings)
    lifecycle.leave_stage(lifecycle.enter_stage(build, "build"), Stage.State.SUCCEEDED)
    lifecycle.fail(build, cause) if cause else lifecycle.succeed(build)
    then = timezone.now() - timedelta(days=days_ago)
    Submission.objects.filter(pk=submission.pk).update(created_at=then, subject=field)
    Build.objects.filter(pk=build.pk).update(created_at=then, started_at=then + timedelta(seconds=8), finished_at=then)
    Stage.objects.filter(build=build).update(started_at=then, finished_at=then + timedelta(seconds=90))
    return build
