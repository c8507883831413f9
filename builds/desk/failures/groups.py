"""Groups of failures as pages show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import Q, QuerySet
from django.urls import reverse

from builds.desk.access import StaffRequest
from builds.desk.submissions.filters import FAULTS, NEEDS_ME
from builds.lib.units import counted
from builds.models import FailureGroup, StageName
from builds.staff.actions import MAX_AT_ONCE, Action
from builds.staff.failures import GROWS_FROM, can_grow, count_lately, count_open, fitting_actions

PAGE_SIZE = 50


@dataclass(frozen=True)
class Offer:
    """An action on the open submissions of a group, and the page that confirms it."""

    label: str
    address: str


@dataclass(frozen=True)
class Shown:
    """A group with the number of its open submissions, and of the manuscripts that failed like it in the last hour."""

    group: FailureGroup
    open: int
    lately: int
    offers: Sequence[Offer]

    @property
    def grows(self) -> bool:
        return can_grow(self.group) and self.lately >= GROWS_FROM

    @property
    def fault(self) -> str:
        return FAULTS.get(self.group.fault, self.group.fault)

    @property
    def open_words(self) -> str:
        return f"{counted(self.open, 'submission')} to look at"

    @property
    def list_address(self) -> str:
        return f"{reverse('desk:submissions')}?{find_open(self.group)}"


def find_open(group: FailureGroup) -> str:
    """The query string of the list's filters for the open submissions of a group."""
    return urlencode({"view": NEEDS_ME, "group": group.pk})


def show(groups: Sequence[FailureGroup], request: StaffRequest) -> list[Shown]:
    """The groups with their numbers, and the actions that the user has the permission for."""
    still_open, lately = count_open(group.pk for group in groups), count_lately(groups)
    return [
        Shown(group, open_now, lately.get(group.pk, 0), _list_offers(group, open_now, request))
        for group in groups
        for open_now in [still_open.get(group.pk, 0)]
    ]


def _list_offers(group: FailureGroup, open_now: int, request: StaffRequest) -> list[Offer]:
    actions = fitting_actions(group.fault, is_made=group.stage == StageName.DELIVER)
    fitting = [action for action in actions if request.user.has_perm(action.permission)]
    return [_offer(action, group, open_now) for action in fitting] if open_now else []


def _offer(action: Action, group: FailureGroup, open_now: int) -> Offer:
    which = f"the newest {MAX_AT_ONCE}" if open_now > MAX_AT_ONCE else f"all {open_now}" if open_now > 1 else "it"
    verb, _, again = action.label.partition(" ")
    query = urlencode({"act": action.name, "all": "1", "query": find_open(group)})
    return Offer(f"{verb} {which} {again}".strip(), f"{reverse('desk:act')}?{query}")


def read_page(fault: str, before: str) -> tuple[list[FailureGroup], str]:
    """One page of groups, most recently grown first, after the group ``before``; and the key of its last group if there are more."""
    groups = FailureGroup.objects.order_by("-last_at", "fingerprint")
    groups = groups.filter(fault=fault) if fault else groups
    found = list(_after(groups, before)[: PAGE_SIZE + 1])
    return found[:PAGE_SIZE], found[PAGE_SIZE - 1].pk if len(found) > PAGE_SIZE else ""


def _after(groups: QuerySet[FailureGroup], before: str) -> QuerySet[FailureGroup]:
    at = FailureGroup.objects.filter(pk=before).values_list("last_at", flat=True).first() if before else None
    return groups.filter(Q(last_at__lt=at) | Q(last_at=at, fingerprint__gt=before), last_at__lte=at) if at else groups
