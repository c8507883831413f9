"""Failures that are alike: how many of a group are open, how many came lately, and which actions fit their cause."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.db.models import Count, Q

from builds.errors import Fault
from builds.models import Build, FailureGroup, StageName, Submission, clock
from builds.staff.actions import DELIVER, RETRY, Action

LATELY = timedelta(hours=1)


def count_open(fingerprints: Iterable[str]) -> dict[str, int]:
    """How many submissions of each group fail like this now and are not put away. The words of the index submission_open_alike."""
    found = Submission.objects.filter(~Q(fingerprint=""), fingerprint__in=list(fingerprints), put_away=False)
    return dict(found.order_by().values_list("fingerprint").annotate(Count("pk")))


def count_lately(groups: Iterable[FailureGroup]) -> dict[str, int]:
    """How many manuscripts of each group had such a failure in the last hour. Groups without any are left out."""
    since = clock.now() - LATELY
    recent = [group.pk for group in groups if group.last_at >= since]
    if not recent:
        return {}
    found = Build.objects.filter(~Q(fingerprint=""), fingerprint__in=recent, finished_at__gte=since)
    return dict(found.order_by().values_list("fingerprint").annotate(Count("submission__node_uuid", distinct=True)))


def fitting_actions(group: FailureGroup) -> Sequence[Action]:
    """What may help all of a group at once, the best first. Where the author has to change something, nothing does."""
    if group.fault in (Fault.MANUSCRIPT, Fault.TEMPLATE):
        return ()
    return (DELIVER, RETRY) if group.stage == StageName.DELIVER else (RETRY,)
