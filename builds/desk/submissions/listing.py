"""The list of submissions: the page, its live updates and its CSV download."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from builds.desk.access import SHARE, StaffRequest, desk_page
from builds.desk.submissions import table, views
from builds.desk.submissions.codes import NO_SUBJECT, common_codes, common_subjects
from builds.desk.submissions.filters import MINE, NEEDS_ME, Filters, Page, canonical
from builds.desk.submissions.rows import Row, read_rows
from builds.models import FailureGroup, clock
from builds.record import search
from builds.staff.actions import ACTIONS, MAX_AT_ONCE
from builds.staff.attention import count_needing, handled_by
from builds.staff.handling import FOR_MANY

PAGE_SIZE = 50
MAX_SHOWN = 200
MAX_COUNTED = 100  # on a tab; more is "99+"


@require_safe
@desk_page()
def submission_list(request: StaffRequest) -> HttpResponse:
    filters = Filters(request.GET, request.user)
    counts, query = _count(request), canonical(request.GET)
    tabs = views.list_tabs(request, query, counts)
    before, after = parse_number(request.GET.get("before")), parse_number(request.GET.get("after"))
    page, matching = _read_page(filters, before, after, is_counted=bool(query))
    context = {
        "filters": filters,
        "form": filters.form,
        "rows": read_rows(page.ids),
        "suggestion": {} if page.ids else _find_suggestion(request),
        "page": page,
        "is_first": before is None and page.newer is None,
        "views": tabs,
        "removable": views.find_removable(request, tabs),
        "can_save": bool(query) and not any(tab.is_present for tab in tabs),
        "can_share": request.user.has_perm(SHARE),
        "needs_me": counts[NEEDS_ME],
        "subjects": common_subjects(str(filters.values.get("subject") or "")),
        "group": FailureGroup.objects.filter(pk=str(asked)).first() if (asked := filters.values.get("group")) else None,
        "no_subject": NO_SUBJECT,
        "codes": common_codes(str(filters.values.get("finding") or "")),
        "query": query,
        "matching": matching,
        "actions": [action for action in ACTIONS if request.user.has_perm(action.permission)],
        "handling": [action for action in FOR_MANY if request.user.has_perm(action.permission)],
    }
    return render(request, "desk/submission_list.html", context)


def _count(request: StaffRequest) -> dict[str, str]:
    """How many submissions are in the views that a person works off. A view without any has no number."""
    mine = handled_by(request.user).order_by()[:MAX_COUNTED].count()
    counts = {NEEDS_ME: count_needing(MAX_COUNTED), MINE: mine}
    return {view: f"{MAX_COUNTED - 1}+" if count >= MAX_COUNTED else str(count or "") for view, count in counts.items()}


def _read_page(filters: Filters, before: int | None, after: int | None, *, is_counted: bool) -> tuple[Page, str]:
    """A page, and if ``is_counted`` how many submissions match. The first page needs no second search for their number."""
    first = filters.page(size=MAX_AT_ONCE) if is_counted else None
    if first and before is None and after is None:
        return first.first(PAGE_SIZE), _describe_number(first)
    page = filters.page(before=before, after=after, size=PAGE_SIZE)
    return page, _describe_number(first) if first else ""


def _describe_number(first: Page) -> str:
    """How many submissions match. It counts no further than an action goes at once."""
    return f"{len(first.ids)}{'+' if first.older else ''}"


def _find_suggestion(request: StaffRequest) -> dict[str, str]:
    """Similarly spelt search words that match something, and their query string. Empty if there are none."""
    asked = request.GET.copy()
    words = asked["q"] = search.similar(Filters(asked, request.user).values.get("q") or "")
    is_found = words and Filters(asked, request.user).page(size=1).ids
    return {"words": words, "query": asked.urlencode()} if is_found else {}


def parse_number(text: str | None) -> int | None:
    """A positive integer from a query string, small enough for the database."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None


@require_safe
@desk_page()
def submission_list_live(request: StaffRequest) -> HttpResponse:
    """The current HTML of the rows shown, and how many new submissions the first page would show."""
    shown = [pk for text in request.GET.get("shown", "").split(",")[:MAX_SHOWN] if (pk := parse_number(text)) is not None]
    present = {row.submission.pk: row for row in read_rows(shown)}
    page = Filters(request.GET, request.user).page(size=PAGE_SIZE) if "first" in request.GET else Page([], None, None)
    oldest = min(shown, default=0)
    return JsonResponse(
        {
            "rows": {pk: _render_row(request, row) for pk, row in present.items()},
            "states": {pk: f"{row.submission}: {row.words}" for pk, row in present.items()},
            "counts": _count(request),
            "new": len([pk for pk in page.ids if pk not in present and pk > oldest]),
        }
    )


def _render_row(request: HttpRequest, row: Row) -> str:
    return render_to_string("desk/_row.html", {"row": row}, request)


@require_safe
@desk_page()
def submission_csv(request: StaffRequest) -> StreamingHttpResponse:
    """All submissions that match the filters, as CSV."""
    name = f"submissions-{clock.now():%Y-%m-%d}.csv"
    return StreamingHttpResponse(
        table.write_lines(Filters(request.GET, request.user)),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
