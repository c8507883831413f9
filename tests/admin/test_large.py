"""Lists of a very large record: counted up to a limit, filtered by the values of the newest rows, searched by the index."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from builds.admin.base import BoundedPaginator
from builds.models import Build, Event, Submission
from tests.admin.conftest import MakeBuild, submit


def text_of(client: Client, name: str, **query: Any) -> str:
    markup = client.get(reverse(f"admin:builds_{name}_changelist"), query).content.decode()
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def statements(client: Client, name: str, **query: Any) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        text_of(client, name, **query)
    return [query["sql"] for query in captured.captured_queries]


@pytest.mark.parametrize(
    ("limit", "expected"), [(2, "2 or more submissions; filter or search"), (3, "3 submissions"), (9, "3 submissions")]
)
def test_a_list_is_counted_up_to_a_limit(admin_page: Client, monkeypatch: pytest.MonkeyPatch, limit: int, expected: str) -> None:
    monkeypatch.setattr(BoundedPaginator, "MAX_COUNT", limit)
    for number in range(3):
        submit(str(number))
    assert expected in text_of(admin_page, "submission")


@pytest.mark.parametrize("name", ["submission", "build", "stage", "artifact", "statusupdate", "event", "queuechange", "worker"])
def test_no_list_counts_or_sorts_a_whole_table(admin_page: Client, build: Build, name: str) -> None:
    counts = [sql for sql in statements(admin_page, name) if "COUNT(" in sql]
    assert counts and all("LIMIT 10001" in sql for sql in counts)


def test_filters_offer_the_values_of_the_newest_rows(admin_page: Client, failed: MakeBuild) -> None:
    failed()
    assert "By cause All build-failed" in text_of(admin_page, "build")
    assert "By kind (newest 100,000) All failed started submitted" in text_of(admin_page, "event")
    assert not [sql for sql in statements(admin_page, "build") if "DISTINCT" in sql]


def test_rows_are_filtered_by_a_submission_found_by_typing(admin_page: Client, failed: MakeBuild) -> None:
    build, _ = failed("1"), failed("2")
    for name, count in (("build", 1), ("event", 3)):
        assert f"{count} {name}" in text_of(admin_page, name, submission__id__exact=build.submission_id)
    typed = {"app_label": "builds", "model_name": "event", "field_name": "submission", "term": "job1"}
    found = admin_page.get(reverse("admin:autocomplete"), typed).json()
    assert [result["text"] for result in found["results"]] == ["On builds 1"]


def test_without_scripts_a_submission_is_chosen_by_its_id(admin_page: Client, failed: MakeBuild) -> None:
    """The typed value comes after the select, which is empty without scripts."""
    build, _ = failed("1"), failed("2")
    page = reverse("admin:builds_event_changelist")
    form = admin_page.get(page).text.partition('class="submission-filter"')[2].partition("</form>")[0]
    assert re.findall(r'<(\w+) name="submission__id__exact"', form) == ["select", "input"]
    found = admin_page.get(page, {"submission__id__exact": ["", str(build.submission_id)]})
    assert {event.submission_id for event in found.context["cl"].result_list} == {build.submission_id}


@pytest.mark.parametrize("wrong", ["x", "-1", "9" * 30, "1,2", "'"])
def test_an_invalid_id_of_a_submission_finds_nothing(admin_page: Client, build: Build, wrong: str) -> None:
    assert admin_page.get(reverse("admin:builds_event_changelist"), {"submission__id__exact": wrong}).status_code in (200, 302)


def test_the_history_of_a_row_is_its_events(admin_page: Client, build: Build) -> None:
    page = reverse("admin:builds_build_history", args=[build.pk])
    answer = admin_page.get(page, follow=True)
    assert answer.redirect_chain == [(f"/admin/builds/event/?build__id__exact={build.pk}", 302)]
    assert {event.pk for event in answer.context["cl"].result_list} == set(
        Event.objects.filter(build=build).values_list("pk", flat=True)
    )


def test_admin_pages_link_to_the_desk(admin_page: Client, build: Build) -> None:
    markup = admin_page.get(reverse("admin:builds_build_change", args=[build.pk])).content.decode()
    for address in (f"/submissions/{build.submission_id}/", "/queue/", "/overview/", "/submissions/"):
        assert f'href="{address}"' in markup


@pytest.mark.parametrize("name", ["submission", "build", "event", "statusupdate", "worker"])
def test_pages_have_no_inline_style_or_script(admin_page: Client, build: Build, name: str) -> None:
    """The content security policy would block them."""
    pages = [reverse("admin:index"), reverse(f"admin:builds_{name}_changelist")]
    if name == "submission":
        pages += [reverse("admin:builds_submission_change", args=[build.submission_id])]
    for page in pages:
        markup = admin_page.get(page).content.decode()
        assert not re.search(r"\sstyle=|<style|<script>|\son\w+=", markup), page


def test_a_search_considers_the_newest_matches(admin_page: Client) -> None:
    for number in range(3):
        submit(str(number))
    assert "3 submissions" in text_of(admin_page, "submission", q="on builds")
    assert Submission.objects.count() == 3
