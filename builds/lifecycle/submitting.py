"""Incoming requests: a submission, a resubmission, or a retry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from builds.engine.manuscript import front_matter
from builds.lifecycle.cancelling import supersede_others
from builds.lifecycle.counting import count_submitted
from builds.lifecycle.handling import IS_HANDLED, follow_earlier
from builds.lifecycle.queueing import queue, queue_first
from builds.lifecycle.rows import API, DESCI_SERVER, ActionRefused, lock, lock_node, record_event
from builds.models import FINAL, UNFINISHED, Build, EventKind, FrontMatter, Mode, Rank, State, Submission, clock
from builds.record import kept_exports, steps
from builds.record.inserts import insert, insert_unless_there
from builds.record.steps import Step
from builds.record.waiting import one_writer

# Whether the node has another submission that is unfinished.
HAS_OTHERS = "EXISTS (SELECT 1 FROM builds_submission WHERE node_uuid = %s AND state IN (%s, %s) AND job_id <> %s)"


class JobConflict(Exception):
    """The jobId was already used with another node uuid or manuscript url."""


@dataclass(frozen=True)
class Request:
    """What desci-server posts."""

    job_id: str
    node_uuid: str
    url: str
    repository: str
    document: dict[str, Any]


def submit(request: Request) -> Submission:
    """Accept a request of desci-server, in one short transaction. CONTRACT §1 says what a repeated jobId does.

    Raises:
        JobConflict: the jobId was already used with another uuid or url; nothing is changed.
    """
    with one_writer(), transaction.atomic():
        return _submit(request)


def _submit(request: Request) -> Submission:
    lock_node(request.node_uuid)
    if submission := _insert_new(request):
        return submission
    submission = Submission.objects.select_for_update(no_key=True).get(job_id=request.job_id)
    if (submission.node_uuid, submission.url) != (request.node_uuid, request.url):
        raise JobConflict
    steps.log(Step.SUBMISSION_ACCEPTED, submission, again=True)
    _submit_again(submission, request)
    return submission


def _insert_new(request: Request) -> Submission | None:
    """The rows of a new submission. None, and nothing is written, if its jobId is known."""
    now = clock.now()
    submission = Submission(
        job_id=request.job_id,
        node_uuid=request.node_uuid,
        url=request.url,
        repository=request.repository,
        created_at=now,
        updated_at=now,
        **_described(request),
    )
    node = request.node_uuid
    asked = (f"{HAS_OTHERS}, {IS_HANDLED}", [node, *UNFINISHED, request.job_id, node])
    inserted = insert_unless_there(submission, "job_id", *asked)
    if inserted is None:
        return None
    steps.log(Step.SUBMISSION_ACCEPTED, submission, again=False)
    has_others, is_handled = inserted
    if has_others:
        supersede_others(submission)
    insert(FrontMatter(submission=submission, document=request.document))
    queue_first(submission, actor=DESCI_SERVER)
    if is_handled:
        follow_earlier(submission)
    count_submitted()
    return submission


def _described(request: Request) -> dict[str, str]:
    document = request.document
    named = {"title": front_matter.title(document), "authors": front_matter.authors(document)}
    return {**named, "subject": front_matter.subject(document)}


def _submit_again(submission: Submission, request: Request) -> None:
    newest = submission.newest_build()
    Submission.objects.filter(pk=submission.pk).update(unwanted_at=None)
    submission.unwanted_at = None
    if newest.state in FINAL:
        supersede_others(submission)
    if newest.state == State.SUCCEEDED:
        queue(submission, actor=DESCI_SERVER, kind=EventKind.SUBMITTED_AGAIN, **_deliver_again(submission, newest))
    elif newest.state in FINAL:
        FrontMatter.objects.filter(submission=submission).update(document=request.document)
        Submission.objects.filter(pk=submission.pk).update(**_described(request))
        queue(submission, actor=DESCI_SERVER, kind=EventKind.SUBMITTED_AGAIN)
    elif newest.cancel_requested_at:
        if not Build.objects.filter(pk=newest.pk, state__in=UNFINISHED).update(resubmitted_at=clock.now()):
            return _submit_again(submission, request)  # it has ended in the meantime
        record_event(newest, EventKind.SUBMITTED_AGAIN, DESCI_SERVER, "While its build is being cancelled; a new build follows.")
    return None


def _deliver_again(submission: Submission, newest: Build) -> dict[str, Any]:
    """Deliver the kept exports. If they are gone, build the same commit again."""
    source = kept_exports.newest_build(submission)
    if source:
        return {"mode": Mode.DELIVER, "source": source}
    return {"mode": Mode.SAME_COMMIT, "source": newest}


@transaction.atomic
def retry(submission: Submission, mode: Mode, *, actor: str, reason: str = "") -> Build:
    """Queue a new build because a person asked for it.

    Raises:
        ActionRefused: the submission is unfinished, or what ``mode`` reuses does not exist.
    """
    lock_node(submission.node_uuid)
    lock(submission.pk)
    if submission.builds.unfinished().exists():
        raise ActionRefused("This submission is already queued or running. Cancel it first, or wait until it ends.")
    Submission.objects.filter(pk=submission.pk).update(unwanted_at=None)
    submission.unwanted_at = None
    supersede_others(submission)
    source = retry_source(submission, mode)
    # Authors may be behind the API, so its retries take their turns.
    rank = Rank.IN_TURN if actor == API else Rank.BY_HAND
    return queue(submission, actor=actor, kind=EventKind.retried(mode), mode=mode, source=source, reason=reason, rank=rank)


def retry_source(submission: Submission, mode: Mode) -> Build | None:
    """The build whose commit or exports a retry in this mode reuses; None if it reuses none.

    Raises:
        ActionRefused: there is no such build.
    """
    source = None
    if mode == Mode.DELIVER:
        source = kept_exports.newest_build(submission)
        if source is None:
            raise ActionRefused("This submission has no kept exports to deliver. Retry it with a build instead.")
    if mode == Mode.SAME_COMMIT:
        source = submission.builds.exclude(commit="").order_by("-number").first()
        if source is None:
            raise ActionRefused("No build of this submission has found its commit yet. Retry it with the latest commit instead.")
    return source
