"""The base of the admin's lists and pages: read-only, and fast with a million rows."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.forms import Media, ModelChoiceField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from builds.lib.text import visible
from builds.models import Submission
from builds.record import search

if TYPE_CHECKING:
    AnyModelAdmin = admin.ModelAdmin[Any]
    AnyInline = admin.TabularInline[Any, Any]
    AnyPaginator = Paginator[Any]
else:
    AnyModelAdmin, AnyInline, AnyPaginator = admin.ModelAdmin, admin.TabularInline, Paginator

# A search for other rows considers at most this many matching submissions, the newest first.
MAX_SUBMISSIONS_SEARCHED = 1_000
# A filter offers the values of the newest rows only, because collecting all values would read every row.
MAX_ROWS_READ_FOR_VALUES = 5_000
# Columns without an index are searched in this many of the newest rows.
RECENT = 100_000


SCRIPTS = Media(
    js=(
        "admin/js/vendor/jquery/jquery.min.js",
        "admin/js/jquery.init.js",
        "admin/js/core.js",
        "admin/js/admin/RelatedObjectLookups.js",
        "admin/js/actions.js",
    )
)
SELECT2 = "admin/js/vendor/select2/select2.full.min.js"
AUTOCOMPLETE = Media(
    js=("admin/js/vendor/jquery/jquery.min.js", SELECT2, "admin/js/jquery.init.js", "admin/js/autocomplete.js"),
    css={"all": ("admin/css/vendor/select2/select2.min.css", "admin/css/autocomplete.css")},
)


def recent(model: type[Model]) -> Q:
    """A condition for the newest ``RECENT`` rows, for searches without an index."""
    newest = model._default_manager.order_by("-pk").values_list("pk", flat=True).first() or 0
    return Q(pk__gt=newest - RECENT)


class BoundedPaginator(AnyPaginator):
    """Counts up to ``MAX_COUNT`` rows: the exact number of a million rows takes a second and is not useful."""

    MAX_COUNT = 10_000

    @cached_property
    def _counted(self) -> int:
        rows = cast("QuerySet[Any]", self.object_list)  # the admin gives querysets
        return rows[: self.MAX_COUNT + 1].count()

    @cached_property
    def count(self) -> int:
        return min(self._counted, self.MAX_COUNT)

    @property
    def is_partial(self) -> bool:
        """Whether there are more rows than are counted. A filter is needed to reach them."""
        return self._counted > self.MAX_COUNT


class ReadOnly:
    """For admins and inlines: nothing can be added, changed or deleted."""

    def _never(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_add_permission = has_change_permission = has_delete_permission = _never

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return flatten_fieldsets(self.get_fieldsets(request, obj))  # type: ignore[attr-defined]  # mixed into an admin


class RecordAdmin(ReadOnly, AnyModelAdmin):
    """The list of a model and the page of one row.

    ``submission_path`` is the lookup of a row's submission, by which rows are searched. ``sorted_by`` names the sortable columns, which
    have an index.
    """

    list_per_page = 50
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    ordering = ("-id",)
    search_fields: ClassVar[Any] = ("pk",)  # shows the search form; get_search_results searches
    submission_path = "submission"
    sorted_by: tuple[str, ...] = ()
    history_lookup = ""

    @property
    def media(self) -> Media:
        """The scripts of Django's pages without those for forms, which are half of them; with those of the filter by submission if used."""
        has_filter = any(isinstance(spec, tuple) and spec[1] is SubmissionFilter for spec in self.list_filter)
        return SCRIPTS + AUTOCOMPLETE if has_filter else SCRIPTS

    def get_sortable_by(self, request: HttpRequest) -> list[Any]:
        return [column for column in self.list_display if getattr(column, "__name__", column) in self.sorted_by]

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        ids = search.ids(Submission.objects.all(), term, search.Window(MAX_SUBMISSIONS_SEARCHED))
        matches = Q(**{f"{self.submission_path}__in": ids}) | self.own_matches(term, alone=not ids)
        return queryset.filter(matches), False

    def own_matches(self, term: str, *, alone: bool) -> Q:
        """What a search finds besides the rows of matching submissions. ``alone``: no submission matches."""
        return Q(pk__in=())

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["subtitle"] = visible(str(context["original"]))
        context["history_url"] = self.history_url(context["original"])
        context["desk_url"] = self.desk_url(context["original"])
        return super().render_change_form(request, context, *args, **kwargs)

    def response_action(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse | None:
        """Refuse posted values that can't be a row's key: Django would pass them to the database."""
        try:
            for selected in request.POST.getlist(ACTION_CHECKBOX_NAME):
                self.opts.pk.clean(selected, None)
        except ValidationError:
            self.message_user(request, "A selected row is not in this list. Nothing was done.", messages.ERROR)
            return None
        return super().response_action(request, *args, **kwargs)

    def history_url(self, row: Any) -> str:
        """The address of the row's events. Empty if its model has no events."""
        return f"{reverse('admin:builds_event_changelist')}?{self.history_lookup}={row.pk}" if self.history_lookup else ""

    def desk_url(self, row: Any) -> str:
        """The address of the row's page on the desk. Empty if it has none."""
        return ""

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Redirect to the row's events: Django's own history knows only changes made in the admin."""
        row = self.get_object(request, object_id)
        if row is None or not self.history_lookup:
            return self.gone(request, "This history does not exist.")
        return HttpResponseRedirect(self.history_url(row))

    def gone(self, request: HttpRequest, sentence: str) -> HttpResponse:
        """A page with status 404 that says what does not exist."""
        context = {**self.admin_site.each_context(request), "title": "Not found", "sentence": sentence, "opts": self.opts}
        return TemplateResponse(request, "admin/builds/gone.html", context, status=404)


class RowsInline(ReadOnly, AnyInline):
    template = "admin/builds/rows.html"
    extra = 0
    related: tuple[str, ...] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related(*self.related) if self.related else super().get_queryset(request)


# --- filters


class ValuesFilter(admin.SimpleListFilter):
    """Offers the values that a field has in the newest rows. ``state`` restricts the rows, so that an index for this state is used."""

    model: type[Model]
    newest_first = "-id"
    state = ""

    def _rows(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state=self.state) if self.state else queryset

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = self._rows(self.model._default_manager.order_by(self.newest_first)).values_list(
            str(self.parameter_name), flat=True
        )
        values = {*newest[:MAX_ROWS_READ_FOR_VALUES], request.GET.get(str(self.parameter_name), "")}
        return [(value, value) for value in sorted(filter(None, values))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return self._rows(queryset).filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset


class SubmissionSelect(AutocompleteSelect):
    def build_attrs(self, base_attrs: dict[str, Any], extra_attrs: dict[str, Any] | None = None) -> dict[str, Any]:
        return {**super().build_attrs(base_attrs, extra_attrs), "data-placeholder": "type a title, author, id …"}


class SubmissionFilter(admin.FieldListFilter):
    """Filters by a submission that the user finds by typing. For a foreign key to a submission."""

    template = "admin/builds/submission_filter.html"

    def __init__(self, field: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        self.parameter = f"{kwargs['field_path']}__id__exact"
        super().__init__(field, request, *args, **kwargs)
        self.title = "submission"
        asked = request.GET.get(self.parameter, "")
        self.chosen = asked if re.fullmatch(r"[0-9]{1,18}", asked) else ""
        self.rest = [(name, value) for name, value in request.GET.items() if name not in (self.parameter, "p")]
        *_, model_admin = args
        select = SubmissionSelect(field, model_admin.admin_site)
        choice = ModelChoiceField(Submission._default_manager.all(), required=False, widget=select)
        self.control = choice.widget.render(self.parameter, self.chosen, attrs={"id": "filter-submission"})

    def expected_parameters(self) -> list[str | None]:
        return [self.parameter]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        asked = request.GET.get(self.parameter, "")
        return queryset.filter(**{self.parameter: self.chosen}) if self.chosen else queryset.none() if asked else queryset

    def choices(self, changelist: Any) -> Any:
        self.without = changelist.get_query_string(remove=[self.parameter])
        return ()
