"""Failures that are alike: how many of a group are open, how many came lately, and which actions fit their cause."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.db.models import Count, Q

from builds.errors import Fault, ReleaseReplaced, WorkerStopped
from builds.models import Build, FailureGroup, State, Submission, clock
from builds.staff.actions import DELIVER, RETRY, Action

LATELY = timedelta(hours=1)
# A group grows if at least so many manuscripts failed like it in the last hour. An alarm about it is over when none did.
GROWS_FROM = 5
OURS_OR_OUTSIDE = (Fault.SERVICE, Fault.OUTSIDE)
# What operators cause when they stop workers and install a release. Such builds are queued again at once.
EXPECTED = (WorkerStopped.code, ReleaseReplaced.code)
# Groups that are looked at, those that grew last. More would be one cause that the normalisation does not see.
MAX_GROWING = 20


def count_open(fingerprints: Iterable[str]) -> dict[str, int]:
    """How many submissions of each group fail like this now and are not put away. Matches the index submission_open_alike."""
    found = Submission.objects.filter(~Q(fingerprint=""), fingerprint__in=list(fingerprints), state=State.FAILED, put_away=False)
    return dict(found.order_by().values_list("fingerprint").annotate(Count("pk")))


def count_lately(groups: Iterable[FailureGroup]) -> dict[str, int]:
    """How many manuscripts of each group had such a failure in the last hour. Groups without any are left out."""
    since = clock.now() - LATELY
    recent = [group.pk for group in groups if group.last_at >= since]
    if not recent:
        return {}
    found = Build.objects.filter(~Q(fingerprint=""), fingerprint__in=recent, finished_at__gte=since)
    return dict(found.order_by().values_list("fingerprint").annotate(Count("submission__node_uuid", distinct=True)))


def can_grow(group: FailureGroup) -> bool:
    """Whether operators are to know when the group grows."""
    return group.fault in OURS_OR_OUTSIDE and group.code not in EXPECTED


def find_recent() -> list[tuple[FailureGroup, int]]:
    """The groups that can grow and have had enough manuscripts, each with how many of them failed like it in the last hour."""
    groups = FailureGroup.objects.filter(
        fault__in=OURS_OR_OUTSIDE, last_at__gte=clock.now() - LATELY, manuscripts__gte=GROWS_FROM
    ).exclude(code__in=EXPECTED)
    found = list(groups.order_by("-last_at")[:MAX_GROWING])
    lately = count_lately(found)
    return [(group, lately[group.pk]) for group in found if group.pk in lately]


def fitting_actions(fault: str, *, is_made: bool) -> Sequence[Action]:
    """What may help all failures of a kind at once, the best first. Where the author has to change something, nothing does.

    ``is_made``: the exports had been made, and only their delivery failed.
    """
    if fault in (Fault.MANUSCRIPT, Fault.TEMPLATE):
        return ()
    return (DELIVER, RETRY) if is_made else (RETRY,)
