"""The overview page: figures of the last weeks."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from builds.desk.access import StaffRequest, desk_page
from builds.desk.failures import groups
from builds.desk.overview import chart, figures

PERIODS = (7, 30, 90)
DEFAULT_PERIOD = 30
GROUPS_SHOWN = 5


@require_safe
@desk_page()
def overview(request: StaffRequest) -> HttpResponse:
    wanted = request.GET.get("days", "")
    days = next((period for period in PERIODS if wanted == str(period)), DEFAULT_PERIOD)
    found = figures.read(days)
    times = [spread for spread in (found.waited, *found.stages) if spread]
    newest, _more = groups.read_page("", "")
    context = {
        "groups": groups.show(newest[:GROUPS_SHOWN], request),
        "figures": found,
        "times": times,
        "longest": max((spread.p95 for spread in times), default=0) or 1,
        "most_frequent": max((count for causes in found.causes for *_, count in causes.codes), default=1),
        "most_problems": max((count for *_, count in found.problems), default=1),
        "accepted_chart": chart.draw_stacked(found.days, "accepted"),
        "ended_chart": chart.draw_stacked(found.days, "sound", "problems", "failed", "cancelled"),
        "periods": PERIODS,
        "days": days,
    }
    return render(request, "desk/overview.html", context)
