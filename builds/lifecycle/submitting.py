"""What is asked for: by desci-server, for the first time or again, and by who retries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from builds import front_matter, storage
from builds.lifecycle.cancelling import supersede_others
from builds.lifecycle.queueing import queue
from builds.lifecycle.rows import DESCI_SERVER, ActRefused, event
from builds.models import FINAL, UNFINISHED, Build, FrontMatter, Mode, State, Submission


class JobConflict(Exception):
    """The jobId is known with another node uuid or manuscript url."""


@dataclass(frozen=True)
class Request:
    """What desci-server posts."""

    job_id: str
    node_uuid: str
    url: str
    repository: str
    document: dict[str, Any]


@transaction.atomic
def submit(request: Request) -> Submission:
    """Accept what desci-server asks for, in one short transaction. The same jobId again does what CONTRACT §1 says.

    Raises:
        JobConflict: the jobId is known with another uuid or url; nothing is changed.
    """
    submission, is_new = Submission.objects.select_for_update().get_or_create(
        job_id=request.job_id,
        defaults={
            "node_uuid": request.node_uuid,
            "url": request.url,
            "repository": request.repository,
            **_described(request),
        },
    )
    if is_new:
        supersede_others(submission)
        FrontMatter.objects.create(submission=submission, document=request.document)
        queue(submission, actor=DESCI_SERVER, kind="submitted")
    elif (submission.node_uuid, submission.url) != (request.node_uuid, request.url):
        raise JobConflict
    else:
        _submit_again(submission, request)
    return submission


def _described(request: Request) -> dict[str, str]:
    return {"title": front_matter.title(request.document), "authors": front_matter.authors(request.document)}


def _submit_again(submission: Submission, request: Request) -> None:
    newest = submission.newest_build()
    Submission.objects.filter(pk=submission.pk).update(unwanted_at=None)
    submission.unwanted_at = None
    if newest.state in FINAL:
        supersede_others(submission)
    if newest.state == State.SUCCEEDED:
        queue(submission, actor=DESCI_SERVER, kind="submitted again", **_deliver_again(submission, newest))
    elif newest.state in FINAL:
        FrontMatter.objects.filter(submission=submission).update(document=request.document)
        Submission.objects.filter(pk=submission.pk).update(**_described(request))
        queue(submission, actor=DESCI_SERVER, kind="submitted again")
    elif newest.cancel_requested_at:
        if not Build.objects.filter(pk=newest.pk, state__in=UNFINISHED).update(resubmitted_at=timezone.now()):
            return _submit_again(submission, request)  # it has ended meanwhile
        event(newest, "submitted again", DESCI_SERVER, "While its build is being cancelled; a new one follows.")
    return None


def _deliver_again(submission: Submission, newest: Build) -> dict[str, Any]:
    """Deliver what is kept; where it is gone, build the same commit again."""
    source = storage.kept_exports(submission)
    if source:
        return {"mode": Mode.DELIVER, "source": source}
    return {"mode": Mode.SAME_COMMIT, "source": newest}


@transaction.atomic
def retry(submission: Submission, mode: Mode, *, actor: str, reason: str = "") -> Build:
    """Queue a new build by hand.

    Raises:
        ActRefused: the submission is unfinished, or what ``mode`` reuses isn't there.
    """
    Submission.objects.select_for_update().get(pk=submission.pk)
    if submission.builds.unfinished().exists():
        raise ActRefused("This submission is queued or running already; cancel it first, or wait for its end.")
    Submission.objects.filter(pk=submission.pk).update(unwanted_at=None)
    submission.unwanted_at = None
    supersede_others(submission)
    source = retry_source(submission, mode)
    return queue(submission, actor=actor, kind=f"retried ({mode})", mode=mode, source=source, reason=reason)


def retry_source(submission: Submission, mode: Mode) -> Build | None:
    """The build that a retry in this mode reuses; None where it reuses none.

    Raises:
        ActRefused: it isn't there.
    """
    source = None
    if mode == Mode.DELIVER:
        source = storage.kept_exports(submission)
        if source is None:
            raise ActRefused("There are no kept exports of this submission to deliver; retry it with a build instead.")
    if mode == Mode.SAME_COMMIT:
        source = submission.builds.exclude(commit="").order_by("-number").first()
        if source is None:
            raise ActRefused("No build of this submission has found its commit yet; retry it with the latest one instead.")
    return source
