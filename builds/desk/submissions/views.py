"""The views of the list of submissions: the tabs that Jobsite comes with, and those that people save."""

from __future__ import annotations

from dataclasses import dataclass

from django import forms
from django.contrib import messages
from django.db.models import Q
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from builds.desk.access import SHARE, MissingPermission, StaffRequest, desk_page
from builds.desk.submissions.filters import MINE, NEEDS_ME, canonical
from builds.lib.text import one_line
from builds.models import SavedView

# The limit for each person's own views, and for the shared ones.
MAX_SAVED = 20
MAX_QUERY = 2000
# Name and query string of each.
BUILT_IN = (
    ("Needs me", f"view={NEEDS_ME}"),
    ("Mine", f"view={MINE}"),
    ("All", ""),
    ("Running", "state=running"),
    ("Queued", "state=queued"),
    ("Manuscript failures", "state=failed&fault=manuscript"),
    ("Jobsite failures", "state=failed&fault=service"),
    ("Succeeded", "state=succeeded"),
    ("With problems", "problems=yes"),
    ("Cancelled", "state=cancelled"),
)


@dataclass(frozen=True)
class Tab:
    """``counted`` is the name of the view and its number of submissions, if they are counted."""

    words: str
    query: str
    is_present: bool
    counted: tuple[str, str] | None = None
    saved: SavedView | None = None


def list_tabs(request: StaffRequest, query: str, counts: dict[str, str]) -> list[Tab]:
    """The views that Jobsite comes with, those that everybody has, and the person's own."""
    counted = {f"view={view}": (view, count) for view, count in counts.items()}
    tabs = [Tab(words, of, of == query, counted.get(of)) for words, of in BUILT_IN]
    saved = sorted(SavedView.objects.filter(Q(user=None) | Q(user=request.user)), key=lambda view: view.user_id is not None)
    return [*tabs, *(Tab(view.name, view.query, view.query == query, saved=view) for view in saved)]


def find_removable(request: StaffRequest, tabs: list[Tab]) -> SavedView | None:
    """The view that is open, if the person may remove it."""
    present = next((tab.saved for tab in tabs if tab.is_present and tab.saved), None)
    return present if present and may_change(request, present) else None


def may_change(request: StaffRequest, view: SavedView) -> bool:
    return view.user_id == request.user.pk or (view.user_id is None and request.user.has_perm(SHARE))


class ViewForm(forms.Form):
    name = forms.CharField(max_length=60, error_messages={"required": "Give the view a name."})
    query = forms.CharField(max_length=MAX_QUERY, error_messages={"required": "Choose filters first, then save them as a view."})
    shared = forms.BooleanField(required=False)

    def clean_name(self) -> str:
        name = one_line(self.cleaned_data["name"], 60)
        if not name:  # it had hidden characters only
            raise forms.ValidationError(self.fields["name"].error_messages["required"])
        return name

    def clean_query(self) -> str:
        """Only what the list reads."""
        query = canonical(QueryDict(self.cleaned_data["query"]))
        if not query:
            raise forms.ValidationError(self.fields["query"].error_messages["required"])
        if len(query) > MAX_QUERY:
            raise forms.ValidationError("The filters are too long to be saved.")
        return query


@require_POST
@desk_page()
def save_view(request: StaffRequest) -> HttpResponse:
    """Save the filters under a name. A view of that name gets the new filters."""
    form = ViewForm(request.POST)
    if not form.is_valid():
        problem = next(iter(form.errors.values()))[0]
        messages.warning(request, f"{problem} Nothing was saved.")
        return _to_list(canonical(QueryDict(request.POST.get("query", ""))))
    name, query, shared = (form.cleaned_data[field] for field in ("name", "query", "shared"))
    if shared and not request.user.has_perm(SHARE):
        raise MissingPermission(SHARE)
    user = None if shared else request.user
    others = SavedView.objects.filter(user=user).exclude(name=name)
    if others.count() >= MAX_SAVED:
        messages.warning(request, f"There are {MAX_SAVED} saved views already. Remove one first. Nothing was saved.")
        return _to_list(query)
    SavedView.objects.update_or_create(user=user, name=name, defaults={"query": query})
    messages.success(request, f"The view “{name}” is saved{' for everybody' if shared else ''}.")
    return _to_list(query)


@require_POST
@desk_page()
def remove_view(request: StaffRequest, pk: int) -> HttpResponse:
    """Remove a view: one's own, or, with the right to share them, everybody's."""
    view = get_object_or_404(SavedView, Q(user=None) | Q(user=request.user), pk=pk)
    if not may_change(request, view):
        raise MissingPermission(SHARE)
    view.delete()
    messages.success(request, f"The view “{view.name}” is removed.")
    return _to_list(view.query)


def _to_list(query: str) -> HttpResponse:
    address = reverse("desk:submissions")
    return redirect(f"{address}?{query}" if query else address)
