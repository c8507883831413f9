"""The list of submissions: found, filtered, kept up to date, and as a table to take away."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_safe

from builds import search
from builds.acts import ACTS
from builds.desk import table
from builds.desk.access import desk_page
from builds.desk.filters import NEEDS_ME, Filters, Page
from builds.desk.rows import Row, rows

PAGE_SIZE = 50
MOST_SHOWN = 200
# The views that a reader has at hand: their words, and the address's filters.
SAVED_VIEWS = (
    ("Needs me", f"view={NEEDS_ME}"),
    ("All", ""),
    ("Running", "state=running"),
    ("Queued", "state=queued"),
    ("Failed by the manuscript", "state=failed&fault=manuscript"),
    ("Failed by Jobsite", "state=failed&fault=service"),
    ("Succeeded", "state=succeeded"),
)


@require_safe
@desk_page()
def submission_list(request: HttpRequest) -> HttpResponse:
    filters = Filters(request.GET)
    before, after = number(request.GET.get("before")), number(request.GET.get("after"))
    page = filters.page(before=before, after=after, size=PAGE_SIZE)
    context = {
        "filters": filters,
        "form": filters.form,
        "rows": rows(page.ids),
        "alike": {} if page.ids else _alike(request),
        "page": page,
        "is_first": before is None and page.newer is None,
        "views": _views(request),
        "query": _query(request),
        "acts": [act for act in ACTS if request.user.has_perm(act.permission)],
    }
    return render(request, "desk/submission_list.html", context)


def _views(request: HttpRequest) -> list[dict[str, Any]]:
    present = _query(request)
    return [{"words": words, "query": query, "is_present": query == present} for words, query in SAVED_VIEWS]


def _alike(request: HttpRequest) -> dict[str, str]:
    """What is found by words that are written almost like those that were looked for; empty where nothing is."""
    asked = request.GET.copy()
    words = asked["q"] = search.alike(Filters(asked).values.get("q") or "")
    is_found = words and Filters(asked).page(size=1).ids
    return {"words": words, "query": asked.urlencode()} if is_found else {}


def _query(request: HttpRequest) -> str:
    """The address's filters, without where in the list it is."""
    asked = request.GET.copy()
    for name in ("before", "after", "shown"):
        asked.pop(name, None)
    for name in [name for name, value in asked.items() if not value]:
        del asked[name]
    return asked.urlencode()


def number(text: str | None) -> int | None:
    """A positive whole number of an address, as far as a database can hold one."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None


@require_safe
@desk_page()
def live(request: HttpRequest) -> HttpResponse:
    """The rows that a reader sees, as they are now, and how many would stand among them on the first page."""
    shown = [pk for text in request.GET.get("shown", "").split(",")[:MOST_SHOWN] if (pk := number(text)) is not None]
    present = {row.submission.pk: row for row in rows(shown)}
    page = Filters(request.GET).page(size=PAGE_SIZE) if "first" in request.GET else Page([], None, None)
    oldest = min(shown, default=0)
    return JsonResponse(
        {
            "rows": {pk: _row(request, row) for pk, row in present.items()},
            "states": {pk: f"{row.submission}: {row.words}" for pk, row in present.items()},
            "new": len([pk for pk in page.ids if pk not in present and pk > oldest]),
        }
    )


def _row(request: HttpRequest, row: Row) -> str:
    return render_to_string("desk/_row.html", {"row": row}, request)


@require_safe
@desk_page()
def export(request: HttpRequest) -> StreamingHttpResponse:
    """Everything that the filters find, as CSV."""
    name = f"submissions-{timezone.now():%Y-%m-%d}.csv"
    return StreamingHttpResponse(
        table.lines(Filters(request.GET)),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
