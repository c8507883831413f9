"""The queue store in the admin: what RQ's lists and workers hold, to be read by admins.

The names and addresses of the pages are django-rq's. None of its views is used: they change jobs, clean up while they read, have no
time limit, and fail on odd content. An address that has no page in ``PAGES`` is refused, also one that a later django-rq adds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django_rq.models import Dashboard

from builds.admin.base import AnyModelAdmin, ReadOnly
from builds.lib.text import visible
from builds.lib.without import without
from builds.models import Build
from builds.queue import contents

with without("prometheus_client"):  # for a page of its own, which is not mounted without it
    from django_rq.urls import get_admin_urlpatterns, get_api_urlpatterns

PERMISSION = "builds.pause_queue"
PREFIX = "django_rq_"
PER_PAGE = 100
LIST_FIELDS = ("status", "enqueued_at", "started_at", "ended_at", "worker_name")
MAX_PAGE = 1_000_000
SAFE_METHODS = ("GET", "HEAD")

Context = dict[str, Any]

apps.get_app_config("django_rq").verbose_name = "Queue store"


def overview(request: HttpRequest) -> Context:
    counts = [(name, f"admin:{_view_of(name)}", count) for name, count in contents.count_jobs().items()]
    return {
        "title": "Queue store",
        "template": "queue_store",
        "counts": counts,
        "fields": _labels(contents.WORKER_FIELDS),
        "workers": [(visible(worker.id), _cells(worker, contents.WORKER_FIELDS)) for worker in contents.read_workers()],
    }


def jobs(name: str) -> Callable[[HttpRequest], Context]:
    """The page of one of RQ's lists."""

    def draw(request: HttpRequest) -> Context:
        page = _page_number(request)
        rows = contents.read_jobs(name, (page - 1) * PER_PAGE, PER_PAGE + 1)
        return {
            "title": f"{name.capitalize()} jobs",
            "template": "queue_jobs",
            "fields": _labels(LIST_FIELDS),
            "jobs": [(visible(job.id), _is_id(job.id), _cells(job, LIST_FIELDS)) for job in rows[:PER_PAGE]],
            "previous": page - 1,
            "next": page + 1 if len(rows) > PER_PAGE else None,
        }

    return draw


def job(request: HttpRequest, job_id: str) -> Context:
    found = contents.read_job(job_id)
    if found is None:
        raise Http404
    build = Build.objects.filter(pk=job_id).first() if _is_id(job_id) else None
    fields = zip(_labels(contents.JOB_FIELDS), _cells(found, contents.JOB_FIELDS), strict=True)
    return {"title": f"Job {visible(job_id)}", "template": "queue_job", "job_fields": fields, "build": build}


PAGES: dict[str, Callable[..., Context]] = {
    "home": overview,
    "queue_details": overview,
    "workers": overview,
    "jobs": jobs("queued"),
    **{f"{name}_jobs": jobs(name) for name in contents.LISTS if name != "queued"},
    "job_detail": job,
}


@admin.register(Dashboard)
class QueueStoreAdmin(ReadOnly, AnyModelAdmin):
    """Mounts the pages at django-rq's addresses. The model has no table, so none of Django's own pages exists."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(PERMISSION)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_urls(self) -> list[URLPattern]:
        stock = [*get_api_urlpatterns(PREFIX), *get_admin_urlpatterns(PREFIX)]
        pages = [URLPattern(each.pattern, self._view(each.name), each.default_args, each.name) for each in stock]
        return [*pages, path("", self._view(f"{PREFIX}home"), name="django_rq_dashboard_changelist")]

    def _view(self, name: str | None) -> Callable[..., Any]:
        """The view for one of django-rq's names. Refuses everyone if the name is not in ``PAGES``."""
        draw = PAGES.get((name or "").removeprefix(PREFIX))

        def view(request: HttpRequest, *, queue_index: int = 0, **parts: Any) -> HttpResponse:
            if draw is None or not self.has_view_permission(request):
                raise PermissionDenied
            if request.method not in SAFE_METHODS:
                return HttpResponseNotAllowed(SAFE_METHODS)
            if queue_index:  # there is one queue
                raise Http404
            return self._page(request, draw, **parts)

        return self.admin_site.admin_view(view)

    def _page(self, request: HttpRequest, draw: Callable[..., Context], **parts: Any) -> HttpResponse:
        try:
            context, status = draw(request, **parts), 200
        except contents.StoreUnavailable as error:
            context, status = {"title": "Queue store", "template": "gone", "sentence": visible(str(error))}, 503
        context |= {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, f"admin/builds/{context['template']}.html", context, status=status)


def _view_of(name: str) -> str:
    return f"{PREFIX}jobs" if name == "queued" else f"{PREFIX}{name}_jobs"


def _labels(names: tuple[str, ...]) -> list[str]:
    return [name.replace("_", " ") for name in names]


def _cells(entry: contents.Entry, names: tuple[str, ...]) -> list[str]:
    return [visible(entry.fields.get(name, "")) for name in names]


def _is_id(text: str) -> bool:
    """Whether a job's id can be a build's. Other ids get no link, because some do not fit into an address."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _page_number(request: HttpRequest) -> int:
    text = request.GET.get("page", "")
    return min(max(int(text), 1), MAX_PAGE) if text.isascii() and text.isdigit() and len(text) < 10 else 1
