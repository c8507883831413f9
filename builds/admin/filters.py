"""The filters of the admin's lists. No filter reads a whole table: each uses an index or only the newest rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from builds.admin.base import RECENT, ValuesFilter, recent
from builds.errors import Fault
from builds.models import Build, Event, Finding, Mode, Stage, State, StatusUpdate

Narrow = Callable[[Any], QuerySet[Any]]


class WordsFilter(admin.SimpleListFilter):
    """Offers the choices in ``offered``: the value in the address, the label, and a function that filters the rows."""

    offered: tuple[tuple[str, str, Narrow], ...] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, words) for name, words, _ in self.offered]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        narrow = next((narrow for name, _, narrow in self.offered if name == self.value()), None)
        return narrow(queryset) if narrow else queryset


class FaultFilter(admin.SimpleListFilter):
    """Whose fault a failed build was."""

    title = parameter_name = "fault"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(fault.value, fault.value) for fault in Fault]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        # Only failed builds have a fault. The state is part of the query because the index begins with it.
        return queryset.filter(fault=self.value(), state=State.FAILED) if self.value() else queryset


class CauseFilter(ValuesFilter):
    title, parameter_name = "cause", "cause_code"
    model, newest_first, state = Build, "-created_at", State.FAILED


class FindingFilter(ValuesFilter):
    """Submissions with an attempt that has a finding with a code."""

    title, parameter_name = "finding", "code"
    model = Finding

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        found = Finding.objects.filter(code=self.value()).order_by().values_list("submission", flat=True)
        return queryset.filter(pk__in=found) if self.value() else queryset


class KindFilter(ValuesFilter):
    title, parameter_name = f"kind (newest {RECENT:,})", "kind"
    model = Event

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return super().queryset(request, queryset).filter(recent(Event)) if self.value() else queryset


def _rarely(field: str, value: str, *, usual: str) -> Narrow:
    """Filters rows by ``value``. All values but the ``usual`` one have a partial index, so the query repeats its condition."""
    if value == usual:
        return lambda rows: rows.filter(**{field: value})
    return lambda rows: rows.filter(~Q(**{field: usual}), **{field: value})


class ModeFilter(WordsFilter):
    title = parameter_name = "mode"
    offered = tuple((mode.value, str(mode.label).lower(), _rarely("mode", mode, usual=Mode.LATEST)) for mode in Mode)


class AutomaticFilter(WordsFilter):
    title = parameter_name = "automatic"
    offered = (("1", "retried automatically", lambda rows: rows.filter(automatic=True)),)


class StageStateFilter(WordsFilter):
    title = parameter_name = "state"
    offered = tuple((s.value, str(s.label).lower(), _rarely("state", s, usual=Stage.State.SUCCEEDED)) for s in Stage.State)


class UnwantedFilter(WordsFilter):
    title, parameter_name = "desci-server", "unwanted"
    offered = (("1", "no longer has the job", lambda rows: rows.filter(unwanted_at__isnull=False)),)


class ProblemsFilter(WordsFilter):
    title = parameter_name = "problems"
    offered = (("1", "succeeded, with problems", lambda rows: rows.filter(problems__gt=0)),)


class PendingFilter(WordsFilter):
    """Status updates that desci-server has not received. Nearly all others are received."""

    title, parameter_name = "desci-server", "pending"
    offered = (
        ("1", "has not received it yet", lambda rows: rows.pending()),
        ("refused", "did not accept it", lambda rows: rows.not_accepted()),
        ("held", "has to receive an earlier one first", lambda rows: rows.behind()),
        ("unwanted", "no longer has the job", lambda rows: rows.filter(state=StatusUpdate.State.UNWANTED)),
        ("skipped", "does not need it: a later one replaced it", lambda rows: rows.filter(state=StatusUpdate.State.SKIPPED)),
    )
