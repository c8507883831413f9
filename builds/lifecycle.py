"""Every change of state, as verbs.

Each verb is one transaction: it moves a row only if the row still is where the verb may start from, and writes the event and what
desci-server must hear beside it. A verb that comes too late raises :class:`StaleBuild` and changes nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Q
from django.utils import timezone

from builds import front_matter, queue, search, storage
from builds.errors import Cause, Fault
from builds.models import (
    FINAL,
    UNFINISHED,
    Build,
    Event,
    FrontMatter,
    Mode,
    OutboxHold,
    Stage,
    State,
    StatusUpdate,
    Submission,
)
from builds.queue_models import QueueControl

DESCI_SERVER = "desci-server"
JOBSITE = "jobsite"

TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    **{state: frozenset() for state in FINAL},
}

# Word for word what the service before this one said (CONTRACT §3).
COMPLETED_MESSAGE = "Files exported successfully"

WORKER_LOST = Cause(
    Fault.SERVICE,
    "worker-lost",
    "The worker that ran the build was lost.",
    "Nothing has to be changed in the manuscript. Jobsite tries once more by itself.",
)


WORKER_STOPPED = Cause(
    Fault.SERVICE,
    "worker-stopped",
    "The worker that ran the build was stopped by the operators.",
    "Nothing has to be changed in the manuscript. Jobsite has queued the build again.",
)


class StaleBuild(Exception):
    """The build is not where this change may start from: it has ended, or somebody else was first."""


class JobConflict(Exception):
    """The jobId is known with another node uuid or manuscript url."""


class ActRefused(Exception):
    """The act isn't possible in this state; the message says why."""


@dataclass(frozen=True)
class Request:
    """What desci-server posts."""

    job_id: str
    node_uuid: str
    url: str
    repository: str
    document: dict[str, Any]


# --- submitting


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
        _supersede_others(submission)
        FrontMatter.objects.create(submission=submission, document=request.document)
        _queue(submission, actor=DESCI_SERVER, kind="submitted")
    elif (submission.node_uuid, submission.url) != (request.node_uuid, request.url):
        raise JobConflict
    else:
        _submit_again(submission, request)
    return submission


def _described(request: Request) -> dict[str, str]:
    return {"title": front_matter.title(request.document), "authors": front_matter.authors(request.document)}


def _supersede_others(submission: Submission) -> None:
    """desci-server has already deleted its older tasks for this node."""
    older = Build.objects.unfinished().filter(submission__node_uuid=submission.node_uuid).exclude(submission=submission)
    for build in older.select_related("submission"):
        with suppress(StaleBuild):  # it has ended meanwhile
            request_cancel(build, actor=DESCI_SERVER, reason=f"Superseded by the newer submission {submission.job_id}.")


def _submit_again(submission: Submission, request: Request) -> None:
    newest = submission.newest_build()
    Submission.objects.filter(pk=submission.pk).update(unwanted_at=None)
    submission.unwanted_at = None
    if newest.state in FINAL:
        _supersede_others(submission)
    if newest.state == State.SUCCEEDED:
        _queue(submission, actor=DESCI_SERVER, kind="submitted again", **_deliver_again(submission, newest))
    elif newest.state in FINAL:
        FrontMatter.objects.filter(submission=submission).update(document=request.document)
        Submission.objects.filter(pk=submission.pk).update(**_described(request))
        _queue(submission, actor=DESCI_SERVER, kind="submitted again")
    elif newest.cancel_requested_at:
        if not Build.objects.filter(pk=newest.pk, state__in=UNFINISHED).update(resubmitted_at=timezone.now()):
            return _submit_again(submission, request)  # it has ended meanwhile
        _event(newest, "submitted again", DESCI_SERVER, "While its build is being cancelled; a new one follows.")
    return None


def _deliver_again(submission: Submission, newest: Build) -> dict[str, Any]:
    """Deliver what is kept; where it is gone, build the same commit again."""
    source = storage.kept_exports(submission)
    if source:
        return {"mode": Mode.DELIVER, "source": source}
    return {"mode": Mode.SAME_COMMIT, "source": newest}


# --- queueing


def _queue(
    submission: Submission,
    *,
    actor: str,
    kind: str,
    mode: Mode = Mode.LATEST,
    source: Build | None = None,
    reason: str = "",
    automatic: bool = False,
    not_before: datetime | None = None,
) -> Build:
    last = submission.builds.order_by("-number").values_list("number", flat=True).first() or 0
    build = Build.objects.create(
        submission=submission,
        number=last + 1,
        mode=mode,
        source=source,
        requested_by=actor,
        automatic=automatic,
        not_before=not_before,
    )
    _show(submission, State.QUEUED)
    search.index(submission.pk)
    _event(build, kind, actor, reason)
    _tell(build, StatusUpdate.Status.IN_PROGRESS, _queued_message(build))
    if not_before is None or not_before <= timezone.now():
        transaction.on_commit(lambda: queue.enqueue_soon(str(build.pk)), robust=True)
    return build


def _queued_message(build: Build) -> str:
    if build.number == 1:
        return "Queued."
    return f"Queued again (attempt {build.number})."


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
    _supersede_others(submission)
    source = _retry_source(submission, mode)
    return _queue(submission, actor=actor, kind=f"retried ({mode})", mode=mode, source=source, reason=reason)


def _retry_source(submission: Submission, mode: Mode) -> Build | None:
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


# --- running


@transaction.atomic
def claim(build_id: str, *, worker: str) -> Build | None:
    """Take a queued build for ``worker``, by a lease. None where it is not to be started: only one claim ever succeeds.

    Nothing is started while the queue is paused: the build waits, and is told to RQ again when the queue is resumed.
    """
    now = timezone.now()
    paused = Exists(QueueControl.objects.filter(paused_at__isnull=False))
    may_start = (Q(not_before=None) | Q(not_before__lte=now)) & ~paused
    taken = Build.objects.filter(may_start, pk=build_id, state=State.QUEUED, cancel_requested_at=None).update(
        state=State.RUNNING, worker=worker, started_at=now, lease_expires_at=now + _lease()
    )
    if not taken:
        return None
    build = Build.objects.select_related("submission", "source").get(pk=build_id)
    _show(build.submission, State.RUNNING)
    _event(build, "started", worker, "")
    return build


def _lease() -> timedelta:
    return timedelta(seconds=settings.LEASE_SECONDS)


def renew(build: Build) -> str:
    """Renew the lease. Empty if the build goes on, otherwise why it must stop.

    A build of which the database says that it runs no more can't be renewed: its worker was taken for lost.
    """
    renewed = Build.objects.filter(pk=build.pk, state=State.RUNNING).update(lease_expires_at=timezone.now() + _lease())
    return cancel_asked(build) if renewed else "The lease of this build was lost."


def cancel_asked(build: Build) -> str:
    """Why somebody wants the build to end; empty where nobody does."""
    cancelled = Build.objects.filter(pk=build.pk, cancel_requested_at__isnull=False).values_list("cancel_reason", flat=True)
    return next((reason or "Cancelled." for reason in cancelled), "")


@transaction.atomic
def enter_stage(build: Build, name: str) -> Stage:
    """Open a stage, before its work starts.

    Raises:
        StaleBuild: the build does not run any more, or must be cancelled.
    """
    current = Build.objects.select_for_update().filter(pk=build.pk, state=State.RUNNING, cancel_requested_at=None).first()
    if current is None:
        raise StaleBuild
    stage = Stage.objects.create(build=build, name=name, first_log_line=current.log_lines + 1)
    _tell(build, StatusUpdate.Status.IN_PROGRESS, f"Attempt {build.number}: {name} has started.")
    return stage


def leave_stage(stage: Stage, state: Stage.State) -> None:
    Stage.objects.filter(pk=stage.pk, state=Stage.State.RUNNING, build__state=State.RUNNING).update(
        state=state, finished_at=timezone.now()
    )


def pin(build: Build, *, commit: str, ref: str, path: str) -> None:
    """Keep which commit is built.

    Raises:
        StaleBuild: the build does not run any more.
    """
    if not Build.objects.filter(pk=build.pk, state=State.RUNNING).update(commit=commit, ref=ref[:500], path=path[:2000]):
        raise StaleBuild
    build.commit, build.ref, build.path = commit, ref, path
    search.index(build.submission_id)


@transaction.atomic
def ask_whether_wanted(build: Build) -> None:
    """Tell desci-server that the build goes on: it answers that it has no such job where nobody waits any more."""
    if build.submission.status_updates.pending().exists():
        return  # what it has not taken yet asks the same
    stage = build.stages.filter(state=Stage.State.RUNNING).first()
    if stage and Build.objects.filter(pk=build.pk, state=State.RUNNING).exists():
        _tell(build, StatusUpdate.Status.IN_PROGRESS, f"Attempt {build.number}: {stage} goes on.")


# --- ending


@transaction.atomic
def succeed(build: Build) -> None:
    """Everything declared was made, checked and received."""
    _end(build, State.SUCCEEDED)
    _event(build, "succeeded", build.worker, "")
    if settings.REPORT_COMPLETED:
        _tell(build, StatusUpdate.Status.COMPLETED, COMPLETED_MESSAGE, link=False)


@transaction.atomic
def fail(
    build: Build, cause: Cause, *, stage: str = "", retry_at: datetime | None = None, retry_mode: Mode = Mode.LATEST
) -> None:
    """End a build as failed. With ``retry_at`` a new one is queued for then, and desci-server hears of no failure yet."""
    _end(
        build,
        State.FAILED,
        fault=cause.fault,
        cause_code=cause.code,
        cause=cause.sentence,
        advice=cause.advice,
        cause_file=cause.file[:2000],
        cause_line=cause.line,
        cause_log_line=cause.log_line,
    )
    _event(build, "failed", build.worker or JOBSITE, f"{stage}: {cause.sentence}" if stage else cause.sentence)
    if retry_at:
        _retry_by_itself(build, cause, retry_at, retry_mode)
    else:
        search.index(build.submission_id)
        _tell(build, StatusUpdate.Status.FAILED, f"{cause.sentence} {cause.advice}".strip())


def _retry_by_itself(build: Build, cause: Cause, retry_at: datetime, mode: Mode) -> None:
    has_own = {Mode.DELIVER: build.artifacts.exists(), Mode.SAME_COMMIT: bool(build.commit)}.get(mode)
    source = None if has_own is None else build if has_own else build.source
    _queue(
        build.submission,
        actor=JOBSITE,
        kind="retried by itself",
        mode=mode,
        source=source,
        reason=cause.sentence,
        automatic=True,
        not_before=retry_at,
    )


@transaction.atomic
def lose(build: Build) -> None:
    """The worker did not renew its lease in time: fail the build, and queue a new one, once.

    Raises:
        StaleBuild: the build has ended, or its lease holds again.
    """
    lapsed = Build.objects.select_for_update(of=("self",)).filter(
        pk=build.pk, state=State.RUNNING, lease_expires_at__lt=timezone.now()
    )
    lost = lapsed.select_related("submission", "source").first()
    if lost is None:
        raise StaleBuild
    if lost.cancel_requested_at:
        finish_cancel(lost)
    else:
        give_up(lost)


@transaction.atomic
def give_up(build: Build) -> None:
    """The worker has died and nothing of the build runs any more: fail it, and queue a new one; a second loss in a row is final."""
    before = build.submission.builds.filter(number=build.number - 1).first()
    lost_before = before is not None and build.automatic and before.cause_code == WORKER_LOST.code
    fail(build, WORKER_LOST, retry_at=None if lost_before else timezone.now(), retry_mode=_mode_after_loss(build))


@transaction.atomic
def hand_over(build: Build) -> None:
    """The worker is being stopped by its operators and nothing of the build runs any more: queue it anew. Not counted as a loss."""
    fail(build, WORKER_STOPPED, retry_at=timezone.now(), retry_mode=_mode_after_loss(build))


def _mode_after_loss(build: Build) -> Mode:
    if build.mode == Mode.DELIVER or storage.has_kept_exports(build):
        return Mode.DELIVER
    return Mode.SAME_COMMIT if build.commit else Mode(build.mode)


def _end(build: Build, state: State, **fields: Any) -> None:
    now = timezone.now()
    moved = Build.objects.filter(pk=build.pk, state__in=_sources(state)).update(
        state=state, finished_at=now, lease_expires_at=None, **fields
    )
    if not moved:
        raise StaleBuild
    ended_as = Stage.State.CANCELLED if state == State.CANCELLED else Stage.State.FAILED
    build.stages.filter(state=Stage.State.RUNNING).update(state=ended_as, finished_at=now)
    _show(build.submission, state, fields.get("fault", ""))


def _sources(state: State) -> list[State]:
    return [source for source, targets in TRANSITIONS.items() if state in targets]


# --- cancelling


@transaction.atomic
def request_cancel(build: Build, *, actor: str, reason: str) -> None:
    """Ask for an end. A queued build is cancelled at once; a running one when its worker has proved that nothing of it runs.

    Raises:
        StaleBuild: the build has ended already.
    """
    asked = Build.objects.filter(pk=build.pk, state__in=[State.QUEUED, State.RUNNING], cancel_requested_at=None).update(
        cancel_requested_at=timezone.now(), cancel_requested_by=actor, cancel_reason=reason
    )
    build.refresh_from_db()
    if build.state in FINAL:
        raise StaleBuild
    if asked:
        _event(build, "cancel requested", actor, reason)
    if build.state == State.QUEUED:
        finish_cancel(build)


@transaction.atomic
def finish_cancel(build: Build) -> None:
    """Nothing of the build runs any more: it is cancelled."""
    _end(build, State.CANCELLED)
    build.refresh_from_db()  # now that nobody else can change the row: who asked, and whether desci-server has asked anew
    _event(build, "cancelled", build.cancel_requested_by, build.cancel_reason)
    if build.submission.unwanted_at is None or build.resubmitted_at:
        message = f"Cancelled by {build.cancel_requested_by}: {build.cancel_reason}"
        _tell(build, StatusUpdate.Status.FAILED, message)
    if build.resubmitted_at:
        _queue(build.submission, actor=DESCI_SERVER, kind="submitted again")


@transaction.atomic
def nobody_waits(submission: Submission, *, answer: str) -> None:
    """desci-server has no such job any more: stop its build, and say nothing more of it."""
    now = timezone.now()
    Submission.objects.filter(pk=submission.pk).update(unwanted_at=now)
    pending = submission.status_updates.filter(state=StatusUpdate.State.PENDING)
    pending.update(state=StatusUpdate.State.UNWANTED, settled_at=now)
    for build in submission.builds.unfinished().filter(cancel_requested_at=None):
        build.submission.unwanted_at = now
        request_cancel(build, actor=DESCI_SERVER, reason=f"desci-server does not want the result any more ({answer}).")


@transaction.atomic
def push(update: StatusUpdate, *, actor: str, reason: str = "") -> None:
    """Have a status update that desci-server has not taken yet tried again at once, as far as its turn has come.

    Raises:
        ActRefused: it is settled; there is nothing to send.
    """
    now = timezone.now()
    pending = StatusUpdate.objects.pending().filter(submission=update.submission_id, id__lte=update.pk)
    if not pending.filter(pk=update.pk).exists():
        raise ActRefused("This status update is settled: desci-server has it, or nobody waits for it any more.")
    pending.update(next_try_at=now)
    OutboxHold.objects.update(next_try_at=now)
    _event(update.build, "status update pushed", actor, reason)


# --- what every verb writes


def _show(submission: Submission, state: State, fault: str = "") -> None:
    Submission.objects.filter(pk=submission.pk).update(state=state, fault=fault, updated_at=timezone.now())


def _event(build: Build, kind: str, actor: str, reason: str) -> None:
    Event.objects.create(submission=build.submission, build=build, kind=kind, actor=actor[:200], reason=reason)


def _tell(build: Build, status: StatusUpdate.Status, message: str, *, link: bool = True) -> None:
    """Queue a status update, with the link to our page; sent by the outbox."""
    text = f"{message} {build.submission.link}" if link else message
    StatusUpdate.objects.create(submission=build.submission, build=build, status=status, message=text)
