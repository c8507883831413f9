"""Which work needs a person: failures, attempts without progress, and status updates that desci-server does not accept."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet

from builds.models import Build, Handling, HandlingState, State, StatusUpdate, Submission, clock

# An unfinished attempt counts as stuck after this time.
MAX_WAIT = timedelta(minutes=30)
MAX_CANCELLING = timedelta(minutes=2)
EACH = 3  # how many pending updates a submission usually has at most
MAX_OVERRUN = timedelta(minutes=10)  # beyond BUILD_TIMEOUT


def stuck() -> QuerySet[Build]:
    """Unfinished attempts that have made no progress for too long."""
    now = clock.now()
    too_long = timedelta(seconds=settings.BUILD_TIMEOUT) + MAX_OVERRUN
    waits = Q(state=State.QUEUED, created_at__lt=now - MAX_WAIT) & (Q(not_before=None) | Q(not_before__lt=now - MAX_WAIT))
    runs = Q(state=State.RUNNING, started_at__lt=now - too_long)
    return Build.objects.unfinished().filter(waits | runs | Q(cancel_requested_at__lt=now - MAX_CANCELLING))


def undelivered() -> QuerySet[StatusUpdate]:
    """Pending status updates that were sent but not accepted by desci-server."""
    return StatusUpdate.objects.not_accepted()


def unsettled() -> QuerySet[Submission]:
    """Failures that are not put away."""
    return Submission.objects.filter(state=State.FAILED, put_away=False)


def handled_by(user: User) -> QuerySet[Handling]:
    """What ``user`` handles and has not dealt with."""
    return Handling.objects.filter(handler=user).exclude(state=HandlingState.DONE)


def count_needing(most: int) -> int:
    """How many submissions need a person. It stops counting at ``most``."""
    late = [rows.filter(submission__put_away=False).values_list("submission") for rows in (stuck(), undelivered())]
    found = {pk for ids in (unsettled().values_list("pk"), *late) for (pk,) in ids.order_by()[: most * EACH]}
    return min(len(found), most)
