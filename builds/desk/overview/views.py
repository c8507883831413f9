"""The overview page: figures of the last weeks, beside those of the weeks before."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from builds.desk.access import RETRY, StaffRequest, desk_page
from builds.desk.failures import groups
from builds.desk.overview import chart, figures

PERIODS = (7, 30, 90)
DEFAULT_PERIOD = 30
GROUPS_SHOWN = 5


@require_safe
@desk_page()
def overview(request: StaffRequest) -> HttpResponse:
    wanted, in_full = request.GET.get("days", ""), request.GET.get("all", "")
    days = next((period for period in PERIODS if wanted == str(period)), DEFAULT_PERIOD)
    found = figures.read(days, in_full)
    spreads = found.durations.spreads
    newest, _more = groups.read_page("", "")
    context = {
        "groups": groups.show(newest[:GROUPS_SHOWN], request),
        "figures": found,
        "longest": max((spread.p95 for spread in spreads), default=0) or 1,
        "most_in_field": max((field.now.all for field in found.fields.shown), default=0) or 1,
        "most_frequent": max((cause.counted.now for cause in found.causes.shown), default=0) or 1,
        "most_problems": max((problem.counted.now for problem in found.problems.shown), default=0) or 1,
        "accepted_chart": chart.draw_stacked(found.days, "sound", "problems", "failed", "cancelled", "unfinished"),
        "ended_chart": chart.draw_stacked(found.attempts, "succeeded", "failed", "cancelled"),
        "periods": PERIODS,
        "days": days,
        "in_full": in_full,
        "can_retry": request.user.has_perm(RETRY),
    }
    return render(request, "desk/overview.html", context)
