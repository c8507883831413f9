"""The filters of the admin's lists. None reads a whole table: each has an index, or looks among the newest rows only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from builds.admin_base import RECENT, ValuesFilter, recent
from builds.errors import Fault
from builds.models import Build, Event, Mode, Stage, State
from builds.outbox_models import StatusUpdate

Narrow = Callable[[Any], QuerySet[Any]]


class WordsFilter(admin.SimpleListFilter):
    """Offers what is ``offered``: the address's word, the words shown, and what they narrow a list to."""

    offered: tuple[tuple[str, str, Narrow], ...] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, words) for name, words, _ in self.offered]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        narrow = next((narrow for name, _, narrow in self.offered if name == self.value()), None)
        return narrow(queryset) if narrow else queryset


class FaultFilter(admin.SimpleListFilter):
    """Whose fault it was that a build failed."""

    title = parameter_name = "fault"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(fault.value, fault.value) for fault in Fault]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        # Only failed builds have one; said again, because that is what the index begins with.
        return queryset.filter(fault=self.value(), state=State.FAILED) if self.value() else queryset


class CauseFilter(ValuesFilter):
    title, parameter_name = "cause", "cause_code"
    model, newest_first, state = Build, "-created_at", State.FAILED


class KindFilter(ValuesFilter):
    title, parameter_name = f"kind, of the newest {RECENT:,}", "kind"
    model = Event

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return super().queryset(request, queryset).filter(recent(Event)) if self.value() else queryset


def _rarely(field: str, value: str, *, usual: str) -> Narrow:
    """The rows with ``value``. All but the ``usual`` one have an index, whose condition is said word for word."""
    if value == usual:
        return lambda rows: rows.filter(**{field: value})
    return lambda rows: rows.filter(~Q(**{field: usual}), **{field: value})


class ModeFilter(WordsFilter):
    title = parameter_name = "mode"
    offered = tuple((mode.value, str(mode.label).lower(), _rarely("mode", mode, usual=Mode.LATEST)) for mode in Mode)


class AutomaticFilter(WordsFilter):
    title = parameter_name = "automatic"
    offered = (("1", "queued by Jobsite itself", lambda rows: rows.filter(automatic=True)),)


class StageStateFilter(WordsFilter):
    title = parameter_name = "state"
    offered = tuple((s.value, str(s.label).lower(), _rarely("state", s, usual=Stage.State.SUCCEEDED)) for s in Stage.State)


class UnwantedFilter(WordsFilter):
    title, parameter_name = "desci-server", "unwanted"
    offered = (("1", "has no such job any more", lambda rows: rows.filter(unwanted_at__isnull=False)),)


class PendingFilter(WordsFilter):
    """What became of a status update. What was received is nearly all, and is found without a filter."""

    title, parameter_name = "desci-server", "pending"
    offered = (
        ("1", "has not got it yet", lambda rows: rows.pending()),
        ("refused", "was told, and did not take it", lambda rows: rows.pending().filter(tries__gt=0)),
        ("held", "must get an earlier one first", lambda rows: rows.behind()),
        ("unwanted", "has no such job any more", lambda rows: rows.filter(state=StatusUpdate.State.UNWANTED)),
        ("skipped", "need not get it: a later one says more", lambda rows: rows.filter(state=StatusUpdate.State.SKIPPED)),
    )
