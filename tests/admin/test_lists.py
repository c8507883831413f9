"""Lists: search, filters, columns, and a number of queries that does not depend on the number of rows."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from builds import lifecycle
from builds.models import Artifact, Build, Event, LogBatch, Stage, StatusUpdate, Submission
from tests.admin.conftest import COMMIT, MakeBuild, claimed, submit


def listed(client: Client, model: type[Model], **query: Any) -> set[Any]:
    response = client.get(reverse(f"admin:builds_{model._meta.model_name}_changelist"), query)
    assert response.status_code == 200
    return {row.pk for row in response.context["cl"].result_list}


@pytest.mark.parametrize("words", ["job-2", "node-2.", "lab/paper-2", "builds 2", "Grace", "0000-0002", "lab grace"])
def test_search_finds_submissions(admin_page: Client, words: str) -> None:
    submit("1")
    wanted = submit("2", authors=[{"name": "Grace", "orcid": "0000-0002"}])
    assert listed(admin_page, Submission, q=words) == {wanted.pk}


def test_submissions_are_filtered_by_state_and_date(admin_page: Client) -> None:
    queued, running = submit("1"), submit("2")
    claimed(running)
    assert listed(admin_page, Submission, state__exact="queued") == {queued.pk}
    assert listed(admin_page, Submission, created_at__gte="2020-01-01 00:00:00+00:00") == {queued.pk, running.pk}
    assert listed(admin_page, Submission, created_at__lt="2020-01-01 00:00:00+00:00") == set()


@pytest.mark.parametrize("words", ["worker-7", COMMIT, COMMIT[:7], "build-failed", "job-2", "lab/paper-2"])
def test_search_finds_builds(admin_page: Client, failed: MakeBuild, words: str) -> None:
    submit("1")
    build = failed("2")
    assert listed(admin_page, Build, q=words) == {build.pk}


def test_search_finds_a_build_by_its_id(admin_page: Client, failed: MakeBuild) -> None:
    build, _ = failed("1"), failed("2")
    assert listed(admin_page, Build, q=str(build.pk)) == {build.pk}


@pytest.mark.parametrize(
    "query", [{"state__exact": "failed"}, {"fault": "manuscript"}, {"cause_code": "build-failed"}, {"mode__exact": "clean"}]
)
def test_builds_are_filtered(admin_page: Client, failed: MakeBuild, query: dict[str, str]) -> None:
    submit("1")
    build = failed("2")
    Build.objects.filter(pk=build.pk).update(mode="clean")
    assert listed(admin_page, Build, **query) == {build.pk}


def test_status_updates_are_filtered_by_state_and_status(admin_page: Client, build: Build) -> None:
    final = build.status_updates.get(status="FAILED")
    assert listed(admin_page, StatusUpdate, status__exact="FAILED", state__exact="pending") == {final.pk}
    assert listed(admin_page, StatusUpdate, state__exact="received") == set()


def test_events_are_found_by_kind_and_actor(admin_page: Client, build: Build) -> None:
    started = build.events.get(kind="started")
    assert listed(admin_page, Event, kind="started") == {started.pk}
    assert listed(admin_page, Event, q="worker-7 started") == {started.pk}
    assert listed(admin_page, Event, q="desci-server") == {build.events.get(kind="submitted").pk}


def test_states_are_shown_as_words(admin_page: Client) -> None:
    submit("1")
    running = claimed(submit("2"))
    lifecycle.request_cancel(running, actor="ed", reason="Wrong file.")
    text = admin_page.get(reverse("admin:builds_build_changelist")).content.decode()
    assert '<td class="field-state">Queued</td>' in text
    assert '<td class="field-state">Running, being cancelled</td>' in text


def queries(client: Client, address: str) -> list[str]:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(address).status_code == 200
    return [query["sql"] for query in captured.captured_queries]


@pytest.mark.parametrize("model", [Submission, Build, Stage, LogBatch, Artifact, StatusUpdate, Event])
def test_a_list_needs_the_same_queries_for_any_number_of_rows(admin_page: Client, failed: MakeBuild, model: type[Model]) -> None:
    address = reverse(f"admin:builds_{model._meta.model_name}_changelist")
    failed("1")
    one = len(queries(admin_page, address))
    failed("2"), failed("3")
    assert len(queries(admin_page, address)) == one


@pytest.mark.parametrize(
    ("model", "heavy"),
    [(Submission, "builds_frontmatter"), (Build, "builds_frontmatter"), (Build, '"warnings"'), (LogBatch, '"records"')],
)
def test_lists_do_not_read_large_columns(admin_page: Client, build: Build, model: type[Model], heavy: str) -> None:
    address = reverse(f"admin:builds_{model._meta.model_name}_changelist")
    assert not [sql for sql in queries(admin_page, address) if heavy in sql]
