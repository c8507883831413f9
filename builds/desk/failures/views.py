"""The pages of failures that are alike: all groups, those that grew last first, and one group with its newest attempts."""

from __future__ import annotations

from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from builds.desk.access import StaffRequest, desk_page
from builds.desk.failures import groups
from builds.desk.submissions.detail import FIXED_BY
from builds.desk.submissions.filters import FAULTS
from builds.models import Build, FailureGroup

MAX_ATTEMPTS = 50
# The columns of an attempt that the page shows, and those of its submission.
ATTEMPT = ("number", "finished_at", "cause", "advice", "cause_log_line", "log_lines")
OF_SUBMISSION = ("title", "job_id", "state", "problems", "repository", "put_away")


@require_safe
@desk_page()
def failure_list(request: StaffRequest) -> HttpResponse:
    asked = request.GET.get("fault", "")
    fault = asked if asked in FAULTS else ""
    before = request.GET.get("before", "").replace("\0", "")
    found, older = groups.read_page(fault, before)
    context = {"groups": groups.show(found, request), "fault": fault, "faults": FAULTS.items(), "before": before, "older": older}
    return render(request, "desk/failures.html", context)


@require_safe
@desk_page()
def failure_group(request: StaffRequest, fingerprint: str) -> HttpResponse:
    group = get_object_or_404(FailureGroup, pk=fingerprint)
    attempts = _read_attempts(group)
    context = {
        "shown": groups.show([group], request)[0],
        "group": group,
        "attempts": attempts,
        "newest": attempts[0] if attempts else None,
        "more": group.attempts - len(attempts),
        "fixed_by": FIXED_BY.get(group.fault, ""),
    }
    return render(request, "desk/failure_group.html", context)


def _read_attempts(group: FailureGroup) -> list[Build]:
    """The newest attempts that failed like this. The query repeats the condition of the index build_failed_alike."""
    alike = Build.objects.filter(~Q(fingerprint=""), fingerprint=group.pk).order_by("-finished_at").select_related("submission")
    columns = (*ATTEMPT, "submission", *(f"submission__{name}" for name in OF_SUBMISSION))
    return list(alike.only(*columns)[:MAX_ATTEMPTS])
