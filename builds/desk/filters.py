"""Which submissions a list shows, as its address says. Newest first by id, page by page, without ever counting them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce
from django.http import QueryDict
from django.utils import timezone

from builds import search
from builds.errors import Fault
from builds.models import Build, State, Submission
from builds.outbox_models import StatusUpdate

NEEDS_ME = "needs-me"
FAULTS = {
    Fault.MANUSCRIPT: "the manuscript",
    Fault.TEMPLATE: "its template",
    Fault.SERVICE: "Jobsite",
    Fault.OUTSIDE: "something outside",
}

# When something that goes on should have got further.
WAITS_LONG = timedelta(minutes=30)
STOPS_LONG = timedelta(minutes=2)
RUNS_LONG = timedelta(minutes=10)  # longer than the time limit of a build
MOST_LATE = 1000
# How a submission came to more than one attempt.
RETRIED = {"itself": "by Jobsite itself", "asked": "because somebody asked"}
ORCID = re.compile(r"(?:(?:https?://)?(?:www\.)?orcid\.org/)?(\d{4})[-\s]?(\d{4})[-\s]?(\d{4})[-\s]?(\d{3}[\dXx])/?")
# Ids follow the time of submission but for those that were made at the same moment.
SLACK = 1000


def _day(which: str) -> forms.DateField:
    return forms.DateField(
        required=False,
        error_messages={"invalid": f"The {which} day must be a date, written as 2026-03-31, which is in the calendar."},
    )


def _choice(words: str, choices: Iterable[tuple[str, Any]]) -> forms.ChoiceField:
    """One of ``choices``, or any."""
    return forms.ChoiceField(
        required=False,
        choices=[("", "any"), *choices],
        error_messages={"invalid_choice": f"There is no such {words}. Choose one of those in the list."},
    )


class FilterForm(forms.Form):
    """The filters of a list; what can't be understood is said, and left out."""

    view = forms.CharField(required=False, widget=forms.HiddenInput)
    q = forms.CharField(required=False, max_length=200)
    state = _choice("state", State.choices)
    fault = _choice("group of causes", ((fault.value, words) for fault, words in FAULTS.items()))
    cause = forms.CharField(required=False, max_length=40)
    retried = _choice("kind of retry", RETRIED.items())
    orcid = forms.CharField(required=False, max_length=60)
    start = _day("first")
    end = _day("last")
    repository = forms.CharField(required=False, max_length=300)
    node = forms.CharField(required=False, max_length=200)

    def clean_q(self) -> str:
        text: str = self.cleaned_data["q"]
        return text.replace("\0", " ").strip()

    def clean_orcid(self) -> str:
        text = self.cleaned_data["orcid"].strip()
        if text and not (found := ORCID.fullmatch(text)):
            raise forms.ValidationError("An ORCID is written as 0000-0002-1825-0097.")
        return "-".join(found.groups()).upper() if text and found else ""

    def clean_repository(self) -> str:
        return search.without_addresses(self.cleaned_data["repository"]).strip("/ ")

    def clean_node(self) -> str:
        return search.without_addresses(self.cleaned_data["node"]).strip()

    def clean(self) -> None:
        first, last = self.cleaned_data.get("start"), self.cleaned_data.get("end")
        if first and last and last < first:
            self.add_error("end", f"The last day must not be before the first, {first:%Y-%m-%d}.")


@dataclass(frozen=True)
class Page:
    """One page of a list. ``newer`` and ``older`` are the ids that its neighbours begin from; None where there are none."""

    ids: list[int]
    newer: int | None
    older: int | None


class Filters:
    """What an address asks for."""

    def __init__(self, asked: QueryDict) -> None:
        self.form = FilterForm(asked)
        self.form.is_valid()
        self.values: dict[str, Any] = self.form.cleaned_data

    @property
    def is_any(self) -> bool:
        return any(value for name, value in self.values.items() if name != "view")

    @property
    def view(self) -> str:
        return NEEDS_ME if self.values.get("view") == NEEDS_ME else ""

    def page(self, *, before: int | None = None, after: int | None = None, size: int) -> Page:
        """The newest ``size`` that are older than ``before``, or the oldest that are newer than ``after``."""
        ids = self._ids(before=before, after=after, most=size + 1)
        more, ids = len(ids) > size, ids[:size]
        if after is not None:
            ids.reverse()
            return Page(ids, newer=ids[0] if more and ids else None, older=ids[-1] if ids else None)
        return Page(ids, newer=ids[0] if before is not None and ids else None, older=ids[-1] if more else None)

    def _ids(self, *, before: int | None, after: int | None, most: int) -> list[int]:
        """Of each part the first ``most``: each is read from an index in the order of ids, however many there are."""
        found: set[int] = set()
        # A repository is looked for by its words first: no index knows it whatever the size of its letters.
        words = " ".join(self.values.get(name) or "" for name in ("q", "orcid", "repository"))
        for part in self._parts():
            found.update(search.ids(part, words, search.Window(most, before, after)))
        return sorted(found, reverse=after is None)[:most]

    def _parts(self) -> list[QuerySet[Submission]]:
        """Querysets that together hold what is asked for."""
        chosen = self._chosen()
        if not self.view:
            return [chosen]
        return [
            chosen.filter(state=State.FAILED),
            chosen.filter(pk__in=list(stuck().order_by().values_list("submission", flat=True)[:MOST_LATE])),
            chosen.filter(pk__in=list(undelivered().order_by().values_list("submission", flat=True)[:MOST_LATE])),
        ]

    def _chosen(self) -> QuerySet[Submission]:
        values = self.values
        chosen = Submission.objects.all()
        for name in ("state", "fault"):
            if values.get(name):
                chosen = chosen.filter(**{name: values[name]})
        if repository := values.get("repository"):
            chosen = chosen.filter(repository__iexact=repository)
        if node := str(values.get("node") or "").rstrip("."):
            chosen = chosen.filter(node_uuid__in=[node, f"{node}."])  # desci-server writes it with a dot, people without
        if cause := values.get("cause"):
            chosen = chosen.filter(pk__in=_failed_by(str(cause)))
        if retried := values.get("retried"):
            chosen = chosen.filter(pk__in=_tried_again(by_itself=retried == "itself"))
        return _between(chosen, values.get("start"), values.get("end"))


def _between(chosen: QuerySet[Submission], start: Any, end: Any) -> QuerySet[Submission]:
    """Those of the days from ``start`` to ``end``. By ids, which the list is in the order of; the times only mend the ends."""
    if start:
        at = datetime.combine(start, time.min, UTC)
        first = Submission.objects.filter(created_at__gte=at).order_by("created_at").values_list("pk", flat=True).first()
        chosen = chosen.alias(asked=_unindexed("created_at")).filter(pk__gte=(first or 0) - SLACK, asked__gte=at)
        chosen = chosen if first else chosen.none()
    if end:
        at = datetime.combine(end, time.min, UTC) + timedelta(days=1)
        last = Submission.objects.filter(created_at__lt=at).order_by("-created_at").values_list("pk", flat=True).first()
        chosen = chosen.alias(asked_for=_unindexed("created_at")).filter(pk__lte=(last or 0) + SLACK, asked_for__lt=at)
    return chosen


def _failed_by(cause: str) -> QuerySet[Build, int]:
    """The submissions of which a build failed by ``cause``, whatever became of a later one; as the overview counts them."""
    return Build.objects.filter(state=State.FAILED, cause_code=cause).order_by().values_list("submission", flat=True)


def _tried_again(*, by_itself: bool) -> QuerySet[Build, int]:
    """The submissions that have a build after the first, queued by Jobsite itself or by anybody else."""
    return Build.objects.filter(number__gt=1, automatic=by_itself).order_by().values_list("submission", flat=True)


def _unindexed(field: str) -> Coalesce:
    """The field so that no index on it is used: a planner that takes one would have to sort all that it finds."""
    return Coalesce(field, field)


def stuck() -> QuerySet[Build]:
    """Unfinished builds that should have got further by now."""
    now = timezone.now()
    too_long = timedelta(seconds=settings.BUILD_TIMEOUT) + RUNS_LONG
    waits = Q(state=State.QUEUED, created_at__lt=now - WAITS_LONG) & (Q(not_before=None) | Q(not_before__lt=now - WAITS_LONG))
    runs = Q(state=State.RUNNING, started_at__lt=now - too_long)
    return Build.objects.unfinished().filter(waits | runs | Q(cancel_requested_at__lt=now - STOPS_LONG))


def undelivered() -> QuerySet[StatusUpdate]:
    """Status updates that desci-server was told and did not take."""
    return StatusUpdate.objects.pending().filter(tries__gt=0)
