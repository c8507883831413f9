"""What the admin's lists and pages have in common: read-only, and as fast on a million rows as on ten."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

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

from builds import search
from builds.admin_columns import visible
from builds.models import Submission

if TYPE_CHECKING:
    AnyModelAdmin = admin.ModelAdmin[Any]
    AnyInline = admin.TabularInline[Any, Any]
    AnyPaginator = Paginator[Any]
else:
    AnyModelAdmin, AnyInline, AnyPaginator = admin.ModelAdmin, admin.TabularInline, Paginator

# So many submissions a search for other rows goes through, the newest first.
SUBMISSIONS_SEARCHED = 1_000
# A filter offers the values of so many of the newest rows: to ask for all values would read every row.
ROWS_ASKED_FOR_VALUES = 5_000
# Where rows are looked through one by one, these many of the newest.
RECENT = 100_000


SELECT2 = "admin/js/vendor/select2/select2.full.min.js"
AUTOCOMPLETE = Media(
    js=("admin/js/vendor/jquery/jquery.min.js", SELECT2, "admin/js/jquery.init.js", "admin/js/autocomplete.js"),
    css={"all": ("admin/css/vendor/select2/select2.min.css", "admin/css/autocomplete.css")},
)


def recent(model: type[Model]) -> Q:
    """The newest ``RECENT`` rows, for what has no index."""
    newest = model._default_manager.order_by("-pk").values_list("pk", flat=True).first() or 0
    return Q(pk__gt=newest - RECENT)


class BoundedPaginator(AnyPaginator):
    """Counts no further than ``MOST``: the exact number of a million rows helps nobody and takes a second."""

    MOST = 10_000

    @cached_property
    def _counted(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]  # the admin gives querysets
        return rows[: self.MOST + 1].count()

    @cached_property
    def count(self) -> int:
        return min(self._counted, self.MOST)

    @property
    def is_partial(self) -> bool:
        """There are more rows than are counted, and than can be reached without a filter."""
        return self._counted > self.MOST


class ReadOnly:
    """For admins and inlines: everything is history, nothing is added, changed or deleted here."""

    def _never(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_add_permission = has_change_permission = has_delete_permission = _never

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return flatten_fieldsets(self.get_fieldsets(request, obj))  # type: ignore[attr-defined]  # mixed into an admin


class RecordAdmin(ReadOnly, AnyModelAdmin):
    """List and page of one model.

    ``submission_path`` leads to the submission by which the rows are searched. ``sorted_by`` names the columns by which a list may be
    sorted: those with an index.
    """

    list_per_page = 50
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    ordering = ("-id",)
    search_fields: ClassVar[Any] = ("pk",)  # only to have the search's form; get_search_results looks elsewhere
    submission_path = "submission"
    sorted_by: tuple[str, ...] = ()
    history_lookup = ""

    @property
    def media(self) -> Media:
        """With what the filter by submission needs, where a list has it."""
        has_filter = any(isinstance(spec, tuple) and spec[1] is SubmissionFilter for spec in self.list_filter)
        return super().media + AUTOCOMPLETE if has_filter else super().media

    def get_sortable_by(self, request: HttpRequest) -> list[Any]:
        return [column for column in self.list_display if getattr(column, "__name__", column) in self.sorted_by]

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        ids = search.ids(Submission.objects.all(), term, search.Window(SUBMISSIONS_SEARCHED))
        matches = Q(**{f"{self.submission_path}__in": ids}) | self.own_matches(term, alone=not ids)
        return queryset.filter(matches), False

    def own_matches(self, term: str, *, alone: bool) -> Q:
        """What else a search finds: by what has an index, or among the newest rows. ``alone``: no submission was found."""
        return Q(pk__in=())

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["subtitle"] = visible(str(context["original"]))
        context["history_url"] = self.history_url(context["original"])
        context["desk_url"] = self.desk_url(context["original"])
        return super().render_change_form(request, context, *args, **kwargs)

    def response_action(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse | None:
        """Django asks the database for whatever was posted; what can't be a row's key is refused before."""
        try:
            for chosen in request.POST.getlist(ACTION_CHECKBOX_NAME):
                self.opts.pk.clean(chosen, None)
        except ValidationError:
            self.message_user(request, "What was chosen is not in this list. Nothing was done.", messages.ERROR)
            return None
        return super().response_action(request, *args, **kwargs)

    def history_url(self, row: Any) -> str:
        """The events of a row; empty where its model has none of its own."""
        return f"{reverse('admin:builds_event_changelist')}?{self.history_lookup}={row.pk}" if self.history_lookup else ""

    def desk_url(self, row: Any) -> str:
        """The same on the desk; empty where it has no page there."""
        return ""

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """The record's history is its events: Django's own knows only of changes made by its forms."""
        row = self.get_object(request, object_id)
        if row is None or not self.history_lookup:
            return self.gone(request, "There is no such history.")
        return HttpResponseRedirect(self.history_url(row))

    def gone(self, request: HttpRequest, sentence: str) -> HttpResponse:
        """A page that says what is not there."""
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
    """Offers the values of a field among the newest rows. ``state`` is what rows with a value have, where an index needs to be told."""

    model: type[Model]
    newest_first = "-id"
    state = ""

    def _rows(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state=self.state) if self.state else queryset

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = self._rows(self.model._default_manager.order_by(self.newest_first)).values_list(
            str(self.parameter_name), flat=True
        )
        values = {*newest[:ROWS_ASKED_FOR_VALUES], request.GET.get(str(self.parameter_name), "")}
        return [(value, value) for value in sorted(filter(None, values))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return self._rows(queryset).filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset


class SubmissionSelect(AutocompleteSelect):
    def build_attrs(self, base_attrs: dict[str, Any], extra_attrs: dict[str, Any] | None = None) -> dict[str, Any]:
        return {**super().build_attrs(base_attrs, extra_attrs), "data-placeholder": "type a title, author, id …"}


class SubmissionFilter(admin.FieldListFilter):
    """Chooses a submission by typing what is known of it; for a foreign key that leads to one."""

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
