"""Filters for rare rows find them with an index of these rows."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

from builds.admin import filters as admin_filters
from builds.models import Build, Mode, Stage, StatusUpdate, Submission
from tests.admin.conftest import MakeBuild
from tests.admin.test_lists import listed

UNWANTED, SKIPPED = StatusUpdate.State.UNWANTED, StatusUpdate.State.SKIPPED


@pytest.mark.parametrize("mode", Mode)
def test_builds_are_found_by_mode(admin_page: Client, failed: MakeBuild, mode: Mode) -> None:
    builds = {value: failed(value) for value in Mode}
    for value, build in builds.items():
        Build.objects.filter(pk=build.pk).update(mode=value)
    assert listed(admin_page, Build, mode=mode.value) == {builds[mode].pk}


def test_builds_that_were_retried_automatically_are_found(admin_page: Client, failed: MakeBuild) -> None:
    failed("1")
    build = failed("2")
    Build.objects.filter(pk=build.pk).update(automatic=True)
    assert listed(admin_page, Build, automatic="1") == {build.pk}


@pytest.mark.parametrize("state", Stage.State)
def test_stages_are_found_by_state(admin_page: Client, failed: MakeBuild, state: Stage.State) -> None:
    stages = {value: failed(value).stages.get() for value in Stage.State}
    for value, stage in stages.items():
        ended = None if value == Stage.State.RUNNING else timezone.now()
        Stage.objects.filter(pk=stage.pk).update(state=value, finished_at=ended)
    assert listed(admin_page, Stage, state=state.value) == {stages[state].pk}


def test_submissions_that_desci_server_no_longer_wants_are_found(admin_page: Client, failed: MakeBuild) -> None:
    failed("1")
    submission = failed("2").submission
    Submission.objects.filter(pk=submission.pk).update(unwanted_at=timezone.now())
    assert listed(admin_page, Submission, unwanted="1") == {submission.pk}


def test_status_updates_are_found_by_their_result(admin_page: Client, failed: MakeBuild) -> None:
    first, *_, last = failed("1").status_updates.order_by("id")
    other, *_, settled = failed("2").status_updates.order_by("id")
    StatusUpdate.objects.exclude(pk__in=[row.pk for row in (first, last, other, settled)]).delete()
    StatusUpdate.objects.filter(pk=last.pk).update(tries=0)
    StatusUpdate.objects.filter(pk=other.pk).update(state=UNWANTED, settled_at=timezone.now())
    StatusUpdate.objects.filter(pk=settled.pk).update(state=SKIPPED, settled_at=timezone.now())
    found = {word: listed(admin_page, StatusUpdate, pending=word) for word in ("1", "refused", "held", "unwanted", "skipped")}
    assert found == {
        "1": {first.pk, last.pk},
        "refused": {first.pk},
        "held": {last.pk},
        "unwanted": {other.pk},
        "skipped": {settled.pk},
    }


# A filter, its rare choices or any of its values, its model, and the index that is used.
RARE: list[tuple[Any, str, Any, str]] = [
    *((admin_filters.ModeFilter, mode.value, Build, "build_rare_mode") for mode in Mode if mode != Mode.LATEST),
    (admin_filters.AutomaticFilter, "1", Build, "build_automatic"),
    (admin_filters.CauseFilter, "worker-lost", Build, "build_newest_failed"),
    *((admin_filters.StageStateFilter, s.value, Stage, "stage_rare_state") for s in Stage.State if s != Stage.State.SUCCEEDED),
    (admin_filters.UnwantedFilter, "1", Submission, "submission_unwanted"),
    (admin_filters.PendingFilter, "1", StatusUpdate, "status_update_newest_pending"),
    (admin_filters.PendingFilter, "unwanted", StatusUpdate, "status_update_unwanted"),
    (admin_filters.PendingFilter, "skipped", StatusUpdate, "status_update_skipped"),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("chosen", "word", "model", "index"), RARE)
def test_a_filter_uses_the_index_of_the_rare_rows(chosen: Any, word: str, model: Any, index: str) -> None:
    request = RequestFactory().get("/", {chosen.parameter_name: word})
    narrowed = chosen(request, {chosen.parameter_name: [word]}, model, None)
    order = "-created_at" if model is Build else "-id"
    rows = narrowed.queryset(request, model.objects.order_by(order))[:50]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
            # Which of two indexes it takes for a few rows is chance. Whether it can take this one is not.
            unseen = "UPDATE pg_index SET indisvalid = false WHERE indrelid = %s::regclass AND indexrelid <> %s::regclass"
            cursor.execute(unseen, [model._meta.db_table, index])
        assert index in rows.explain()


def test_a_filter_ignores_an_unknown_value(admin_page: Client, failed: MakeBuild) -> None:
    build = failed()
    assert listed(admin_page, Build, mode="upside-down") == {build.pk}
