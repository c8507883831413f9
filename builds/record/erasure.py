"""Erases a person's data on request: a submission with all that belongs to it, or the account of a member of the staff."""

from __future__ import annotations

from functools import partial

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib.auth.models import User
from django.db import transaction

from builds.models import Build, Event, EventKind, Handling, QueueChange, QueueControl, StatusUpdate, Submission
from builds.record import failure_groups, kept_exports, workspaces

# In the history, instead of the name of an erased account. No account may have such a name: it has a space.
ERASED = "an erased account"
# Every column that names who did something.
NAMED = (
    (Build, "requested_by"),
    (Build, "cancel_requested_by"),
    (Event, "actor"),
    (Handling, "set_by"),
    (QueueChange, "actor"),
    (QueueControl, "paused_by"),
)


class NotErasable(Exception):
    """It can't be erased now; the message says why, and what to do."""


@transaction.atomic
def erase_submission(submission: Submission) -> None:
    """Delete the submission, its attempts with their logs and files, and its history. Only a backup has it after that.

    Raises:
        NotErasable: it is being built, or desci-server does not have its status yet.
    """
    Submission.objects.select_for_update().get(pk=submission.pk)
    if Build.objects.unfinished().filter(submission=submission).exists():
        raise NotErasable(f"{submission.job_id} is queued or running. Cancel it first.")
    if StatusUpdate.objects.pending().filter(submission=submission).exists():
        raise NotErasable(f"desci-server has not yet received the status of {submission.job_id}. Wait until it has.")
    folders = [str(build.pk) for build in submission.builds.all()]
    failure_groups.forget(submission)
    for folder in folders:
        transaction.on_commit(partial(kept_exports.remove, folder))
    if archives := workspaces.kept_archives():
        transaction.on_commit(partial(archives.forget, submission.repository))


@transaction.atomic
def erase_account(user: User) -> None:
    """Delete the account, its sign-ins and sessions. The history keeps what it did, without its name.

    Raises:
        NotErasable: it is the only superuser.
    """
    if user.is_superuser and not User.objects.filter(is_superuser=True).exclude(pk=user.pk).exists():
        raise NotErasable(f"{user.username} is the only superuser. Make another one first: manage.py createsuperuser.")
    for model, column in NAMED:
        model._default_manager.filter(**{column: user.username}).update(**{column: ERASED})
    Event.objects.filter(kind=EventKind.GIVEN, reason=user.username).update(reason=ERASED)
    for sign_ins in (AccessAttempt, AccessFailureLog, AccessLog):
        sign_ins.objects.filter(username=user.username).delete()
    user.delete()
