"""The list's filters, read from its query string. Pages are in descending order of id; nothing is ever counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib.auth.models import AnonymousUser, User
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce
from django.http import QueryDict

from builds.desk.submissions.codes import NO_SUBJECT
from builds.errors import Fault
from builds.models import Build, Finding, State, Submission
from builds.models.finding import MAX_CODE
from builds.record import search
from builds.staff.attention import handled_by, stuck, undelivered

NEEDS_ME, MINE = "needs-me", "mine"
VIEWS = (NEEDS_ME, MINE)
FAULTS: dict[str, str] = {
    Fault.MANUSCRIPT: "the manuscript",
    Fault.TEMPLATE: "its template",
    Fault.SERVICE: "Jobsite",
    Fault.OUTSIDE: "another service",
    Fault.UNKNOWN: "unknown",
}

MAX_LATE = 1000
PROBLEMS = {"yes": "succeeded, with problems", "no": "succeeded, without problems"}
RETRIED = {"itself": "automatically", "asked": "by request"}
ORCID = re.compile(r"(?:(?:https?://)?(?:www\.)?orcid\.org/)?(\d{4})[-\s]?(\d{4})[-\s]?(\d{4})[-\s]?(\d{3}[\dXx])/?")
# Ids ascend with the time of submission, except for submissions accepted at the same moment.
SLACK = 1000
# The day after the last possible one is not a date.
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2100, 12, 31)


def _make_day_field(which: str) -> forms.DateField:
    problem = f"The {which} day must be in the years {FIRST_DAY.year} to {LAST_DAY.year}."
    return forms.DateField(
        required=False,
        validators=[MinValueValidator(FIRST_DAY, problem), MaxValueValidator(LAST_DAY, problem)],
        error_messages={"invalid": f"The {which} day must be a valid date, such as 2026-03-31."},
    )


def _make_choice_field(words: str, choices: Iterable[tuple[str, Any]]) -> forms.ChoiceField:
    """A select field with ``choices`` and "any"."""
    return forms.ChoiceField(
        required=False,
        choices=[("", "any"), *choices],
        error_messages={"invalid_choice": f"This is not a {words}. Choose one from the list."},
    )


class FilterForm(forms.Form):
    """The filters of the list. Invalid values are reported and ignored."""

    view = forms.CharField(required=False, widget=forms.HiddenInput)
    q = forms.CharField(required=False, max_length=200)
    state = _make_choice_field("state", State.choices)
    fault = _make_choice_field("group of causes", FAULTS.items())
    cause = forms.CharField(required=False, max_length=MAX_CODE)
    group = forms.CharField(required=False, max_length=16)
    problems = _make_choice_field("choice", PROBLEMS.items())
    finding = forms.CharField(required=False, max_length=MAX_CODE)
    retried = _make_choice_field("kind of retry", RETRIED.items())
    orcid = forms.CharField(required=False, max_length=60)
    start = _make_day_field("first")
    end = _make_day_field("last")
    subject = forms.CharField(required=False, max_length=100)
    owner = forms.CharField(required=False, max_length=100)
    repository = forms.CharField(required=False, max_length=300)
    node = forms.CharField(required=False, max_length=200)

    def clean_q(self) -> str:
        text: str = self.cleaned_data["q"]
        return text.replace("\0", " ").strip()

    def clean_orcid(self) -> str:
        text = self.cleaned_data["orcid"].strip()
        if text and not (found := ORCID.fullmatch(text)):
            raise forms.ValidationError("An ORCID looks like 0000-0002-1825-0097.")
        return "-".join(found.groups()).upper() if text and found else ""

    def clean_owner(self) -> str:
        return search.without_addresses(self.cleaned_data["owner"]).strip("/ ").partition("/")[0]

    def clean_repository(self) -> str:
        return search.without_addresses(self.cleaned_data["repository"]).strip("/ ")

    def clean_node(self) -> str:
        return search.without_addresses(self.cleaned_data["node"]).strip()

    def clean(self) -> None:
        first, last = self.cleaned_data.get("start"), self.cleaned_data.get("end")
        if first and last and last < first:
            self.add_error("end", f"The last day is before the first day, {first:%Y-%m-%d}.")


@dataclass(frozen=True)
class Page:
    """One page of the list. The neighbouring pages start from the ids ``newer`` and ``older``; None if there is no such page."""

    ids: list[int]
    newer: int | None
    older: int | None

    def first(self, size: int) -> Page:
        """The page with the first ``size`` of these ids."""
        return self if len(self.ids) <= size else Page(self.ids[:size], self.newer, older=self.ids[size - 1])


class Filters:
    """The filters of one request, asked for by ``user``."""

    def __init__(self, asked: QueryDict, user: User | AnonymousUser) -> None:
        self._user = user
        self.form = FilterForm(asked)
        self.form.is_valid()
        self.values: dict[str, Any] = self.form.cleaned_data

    @property
    def is_any(self) -> bool:
        return any(value for name, value in self.values.items() if name != "view")

    @property
    def view(self) -> str:
        view = self.values.get("view")
        return view if view in VIEWS else ""

    def page(self, *, before: int | None = None, after: int | None = None, size: int) -> Page:
        """The newest ``size`` submissions with an id below ``before``, or the oldest ``size`` with an id above ``after``."""
        ids = self._ids(before=before, after=after, limit=size + 1)
        more, ids = len(ids) > size, ids[:size]
        if after is not None:
            ids.reverse()
            return Page(ids, newer=ids[0] if more and ids else None, older=ids[-1] if ids else None)
        return Page(ids, newer=ids[0] if before is not None and ids else None, older=ids[-1] if more else None)

    def _ids(self, *, before: int | None, after: int | None, limit: int) -> list[int]:
        """The first ``limit`` ids of all parts together. Each part is read from an index in order of id, whatever its size."""
        found: set[int] = set()
        # Search for the words of the repository and its owner first: no index ignores the case of their names.
        words = " ".join(self.values.get(name) or "" for name in ("q", "orcid", "owner", "repository"))
        window = search.Window(limit, before, after)
        if (rows := self._only_rows()) is not None:
            return window.first_of(rows)
        for part in self._parts():
            found.update(search.ids(part, words, window))
        return sorted(found, reverse=after is None)[:limit]

    def _only_rows(self) -> QuerySet[Any, int] | None:
        """The other rows that name the submissions, if nothing else is asked for. A database reads all of them to filter by them."""
        chosen = {name: value for name, value in self.values.items() if value and name != "view"}
        if self.view or len(chosen) != 1:
            return None
        [(name, value)] = chosen.items()
        return FOUND_BY_ROWS[name](value) if name in FOUND_BY_ROWS else None

    def _parts(self) -> list[QuerySet[Submission]]:
        """Querysets whose union matches the filters."""
        chosen = self._chosen()
        if self.view == NEEDS_ME:
            late = [list(rows.order_by().values_list("submission", flat=True)[:MAX_LATE]) for rows in (stuck(), undelivered())]
            return [
                chosen.filter(state=State.FAILED, put_away=False),
                *(chosen.filter(pk__in=ids, put_away=False) for ids in late),
            ]
        if self.view == MINE and isinstance(self._user, User):
            mine = handled_by(self._user).order_by("-submission").values_list("submission", flat=True)
            return [chosen.filter(pk__in=list(mine[:MAX_LATE]))]
        return [chosen]

    def _chosen(self) -> QuerySet[Submission]:
        values = self.values
        chosen = Submission.objects.all()
        for name in ("state", "fault"):
            if values.get(name):
                chosen = chosen.filter(**{name: values[name]})
        if subject := values.get("subject"):
            chosen = chosen.filter(_find_subject(subject))
        if owner := values.get("owner"):
            chosen = chosen.filter(repository__istartswith=f"{owner}/")
        if repository := values.get("repository"):
            chosen = chosen.filter(repository__iexact=repository)
        if node := str(values.get("node") or "").rstrip("."):
            chosen = chosen.filter(node_uuid__in=[node, f"{node}."])  # desci-server appends a dot, people do not
        if cause := values.get("cause"):
            # Of a submission that has failed, the cause is that of the newest attempt. Otherwise any attempt's.
            still = ~Q(cause_code="") & Q(cause_code=cause)  # the index has the first condition
            is_failed = values.get("state") == State.FAILED
            chosen = chosen.filter(still if is_failed else Q(pk__in=_find_failed_by(cause)))
        if group := values.get("group"):
            chosen = chosen.filter(~Q(fingerprint=""), fingerprint=group)  # the index has the first condition
        if problems := values.get("problems"):
            chosen = chosen.filter(problems__gt=0) if problems == "yes" else chosen.filter(state=State.SUCCEEDED, problems=0)
        if finding := values.get("finding"):
            chosen = chosen.filter(pk__in=_find_with(finding))
        if retried := values.get("retried"):
            chosen = chosen.filter(pk__in=_find_retried(automatically=retried == "itself"))
        return _limit_to_days(chosen, values.get("start"), values.get("end"))


def canonical(asked: QueryDict) -> str:
    """The filters of a query string, in the order of the form, without empty and unknown ones and the page of the list."""
    return urlencode([(name, asked[name]) for name in FilterForm.base_fields if asked.get(name)])


def _limit_to_days(chosen: QuerySet[Submission], start: Any, end: Any) -> QuerySet[Submission]:
    """Submissions from ``start`` to ``end`` inclusive. Filters by id, the order of the list; the times only correct both ends."""
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


def _find_subject(subject: str) -> Q:
    if subject == NO_SUBJECT:
        return Q(subject="")
    return ~Q(subject="") & Q(subject=subject)  # the index has the first condition


def _find_failed_by(cause: str) -> QuerySet[Build, int]:
    """Submissions with an attempt that failed with ``cause``, whatever happened later. The overview counts them the same way."""
    return Build.objects.filter(state=State.FAILED, cause_code=cause).order_by().values_list("submission", flat=True)


def _find_with(code: str) -> QuerySet[Finding, int]:
    """Submissions with an attempt that has a finding with this code."""
    return Finding.objects.filter(code=code).order_by().values_list("submission", flat=True)


def _find_retried(*, automatically: bool) -> QuerySet[Build, int]:
    """Submissions with a second attempt that was queued automatically, or by request."""
    return Build.objects.filter(number__gt=1, automatic=automatically).order_by().values_list("submission", flat=True)


# Each has an index that gives the submissions in the order of their ids.
FOUND_BY_ROWS: dict[str, Callable[[str], QuerySet[Any, int]]] = {"cause": _find_failed_by, "finding": _find_with}


def _unindexed(field: str) -> Coalesce:
    """The field without its index: a planner that used it would have to sort everything it finds."""
    return Coalesce(field, field)
