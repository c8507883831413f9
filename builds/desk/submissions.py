"""The list of submissions."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from builds.desk.access import StaffRequest, desk_page
from builds.models import Submission

PAGE_SIZE = 50


@desk_page()
def submission_list(request: StaffRequest) -> HttpResponse:
    return render(request, "desk/submission_list.html", {"submissions": Submission.objects.all()[:PAGE_SIZE]})


@desk_page()
def submission_page(request: StaffRequest, pk: int) -> HttpResponse:
    return render(request, "desk/submission.html", {"submission": get_object_or_404(Submission, pk=pk)})
