"""Totals agree with the record to the last one, whoever counted, before and after rows are added up."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds import lifecycle
from builds.engine.clients.desci import Outcome
from builds.errors import SystemFault
from builds.lifecycle import pausing
from builds.models import Build, OutboxHold, Stage, StageName, State, StatusUpdate, Tally, Worker
from builds.record import metrics
from tests.lifecycle.helpers import claimed, ended, submit
from tests.support.counted import check_agrees, scrape_here

pytestmark = pytest.mark.django_db


def make_record() -> None:
    """Builds in each state, with stages of several lengths, an automatic retry and a repeated submission."""
    for number in range(2):
        ended(submit(f"good-{number}", node_uuid=f"good-{number}."), State.SUCCEEDED)
    ended(submit("bad", node_uuid="bad."), State.FAILED)
    again = submit("bad", node_uuid="bad.")
    again.builds.filter(number=2).update(created_at=timezone.now() - timedelta(minutes=7))
    build = claimed(again)
    for name, seconds in ((StageName.FETCH, 3), (StageName.UNPACK, 0.2), (StageName.BUILD, 40_000)):
        stage = lifecycle.enter_stage(build, name)
        stage.started_at = timezone.now() - timedelta(seconds=seconds)
        stage.save()
        if name != StageName.BUILD:
            lifecycle.leave_stage(stage, Stage.State.SUCCEEDED)
            lifecycle.leave_stage(stage, Stage.State.SUCCEEDED)  # counts once
    Build.objects.filter(pk=build.pk).update(processor_seconds=12.345678)
    Stage.objects.filter(build=build, name=StageName.BUILD).update(peak_memory_bytes=300_000_000)
    lifecycle.fail(build, SystemFault("Jobsite met a system error.").cause, retry_at=timezone.now() + timedelta(hours=1))
    ended(submit("gone", node_uuid="gone."), State.CANCELLED)
    lifecycle.request_cancel(submit("queued").newest_build(), actor="ed", reason="Not needed.")


def test_the_totals_agree_with_the_record() -> None:
    make_record()
    scrape = scrape_here()
    check_agrees(scrape)
    assert scrape("jobsite_builds_ended_total", state="failed", fault="service", retried="yes") == 1
    assert scrape("jobsite_builds_queued_total", why="submitted-again") == 1
    assert scrape("jobsite_build_peak_memory_bytes_bucket", le=str(float(1 << 28))) == 0
    assert scrape("jobsite_build_peak_memory_bytes_bucket", le=str(float(1 << 29))) == 1
    assert scrape("jobsite_build_peak_memory_bytes_sum") == 300_000_000


def test_adding_rows_up_changes_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    make_record()
    before, rows = scrape_here().samples, Tally.objects.count()
    monkeypatch.setattr(metrics, "FOLD_ABOVE", 0)
    monkeypatch.setattr(metrics, "FOLD_AT_ONCE", 20)
    for _ in range(rows):
        metrics.fold()
    after = scrape_here().samples
    ages = {"jobsite_queue_oldest_seconds", "jobsite_outbox_oldest_seconds", "jobsite_disk_free_bytes"}
    assert {key: value for key, value in after.items() if key[0] not in ages} == {
        key: value for key, value in before.items() if key[0] not in ages
    }
    keys = Tally.objects.values("metric", "labels", "bucket").distinct().count()
    assert keys <= Tally.objects.count() < rows


def test_few_rows_are_left_alone() -> None:
    metrics.add(metrics.counted(metrics.STARTED))
    metrics.add(metrics.counted(metrics.STARTED))
    metrics.fold()
    assert Tally.objects.count() == 2


def test_what_is_rolled_back_is_not_counted() -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        submit()
        raise RuntimeError
    assert scrape_here()("jobsite_submissions_total") == 0


def test_bounds_of_an_earlier_release_count_under_the_next_larger_one() -> None:
    Tally.objects.create(metric=metrics.WAIT.name, bucket="7.5", count=3, amount=15_000_000)
    scrape = scrape_here()
    assert [scrape("jobsite_build_wait_seconds_bucket", le=le) for le in ("5.0", "10.0", "+Inf")] == [0, 3, 3]
    assert (scrape("jobsite_build_wait_seconds_count"), scrape("jobsite_build_wait_seconds_sum")) == (3, 15)


def test_a_clock_that_stepped_back_makes_no_negative_time() -> None:
    metrics.add(metrics.observed(metrics.WAIT, timedelta(seconds=-5)))
    assert scrape_here()("jobsite_build_wait_seconds_sum") == 0


def test_every_outcome_of_a_try_is_shown_from_the_start() -> None:
    assert {value for (value,) in metrics.TRIES.shown} == {outcome.name.lower().replace("_", "-") for outcome in Outcome}


# --- the current state


def test_the_queue_is_what_the_rows_say() -> None:
    scrape = scrape_here()
    assert [scrape("jobsite_queue_builds", state=state) for state in ("waiting", "delayed", "running")] == [0, 0, 0]
    assert scrape("jobsite_queue_oldest_seconds") == 0
    now = timezone.now()
    # Two may start since 10 and 5 minutes, and the last in 10 minutes.
    for minutes, delay in ((20, None), (50, -10), (40, -5), (60, 10)):
        build = submit(f"job-{minutes}", node_uuid=f"node-{minutes}.").newest_build()
        at = now + timedelta(minutes=delay) if delay else None
        Build.objects.filter(pk=build.pk).update(created_at=now - timedelta(minutes=minutes), not_before=at)
    claimed(submit("runs", node_uuid="runs."))
    pausing.drain(actor="ed", reason="")
    scrape = scrape_here()
    assert [scrape("jobsite_queue_builds", state=state) for state in ("waiting", "delayed", "running")] == [3, 1, 1]
    assert scrape("jobsite_queue_oldest_seconds") == pytest.approx(20 * 60, abs=30)
    assert scrape("jobsite_queue_paused") == 1
    Build.objects.filter(not_before=None, state=State.QUEUED).update(created_at=now - timedelta(minutes=3))
    assert scrape_here()("jobsite_queue_oldest_seconds") == pytest.approx(10 * 60, abs=30)


def test_the_outbox_is_what_the_rows_say() -> None:
    update = submit().status_updates.get()
    StatusUpdate.objects.filter(pk=update.pk).update(created_at=timezone.now() - timedelta(hours=1))
    ended(submit("other", node_uuid="other."), State.FAILED)
    StatusUpdate.objects.filter(submission__job_id="other").update(state=StatusUpdate.State.RECEIVED)
    assert scrape_here()("jobsite_outbox_held") == 0
    OutboxHold.objects.create(answer="401")
    scrape = scrape_here()
    assert (scrape("jobsite_outbox_updates"), scrape("jobsite_outbox_held")) == (1, 1)
    assert scrape("jobsite_outbox_oldest_seconds") == pytest.approx(3600, abs=30)


def test_the_workers_are_what_the_rows_say() -> None:
    now = timezone.now()
    alive = {"host": "h", "pid": 1, "started_at": now, "seen_at": now, "sandbox": "bubblewrap", "cgroups": "v2"}
    Worker.objects.create(name="h:1", memory_bytes=123, processor_seconds=4.5, **alive)
    Worker.objects.create(name='odd "name"\n', **{**alive, "ending": True})
    Worker.objects.create(name="h:3", **{**alive, "seen_at": now - timedelta(minutes=1)})
    scrape = scrape_here()
    assert [scrape("jobsite_workers", state=state) for state in ("accepting", "ending", "silent")] == [1, 1, 1]
    assert scrape("jobsite_worker_memory_bytes", worker="h:1") == 123
    assert scrape("jobsite_worker_processor_seconds_total", worker="h:1") == 4.5
    assert scrape("jobsite_worker_info", worker='odd "name"\n', host="h", sandbox="bubblewrap", cgroups="v2") == 1


def test_the_number_of_queries_does_not_depend_on_the_record(django_assert_num_queries: Any) -> None:
    for _ in range(2):
        with django_assert_num_queries(9):
            scrape_here()
        make_record() if not Build.objects.exists() else None


INDEXES = {
    "queued": ("build_waiting", "build_delayed"),
    "running": ("build_state",),
    "pending": ("status_update_oldest_pending",),
}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL reads a small table whole")
def test_what_waits_is_counted_in_an_index() -> None:
    with CaptureQueriesContext(connection) as asked:
        scrape_here()
    large = [query["sql"] for query in asked if "builds_build" in query["sql"] or "builds_statusupdate" in query["sql"]]
    assert len(large) == 5
    with connection.cursor() as cursor:
        for statement in large:
            [[*_, plan]] = cursor.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
            [indexes] = [indexes for state, indexes in INDEXES.items() if f"'{state}'" in statement]
            assert any(f"INDEX {index} (state=?" in plan for index in indexes), (statement, plan)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL reads a small table whole")
def test_the_index_of_the_oldest_is_not_used_where_another_has_the_order() -> None:
    assert "status_update_due" in StatusUpdate.objects.due().explain()
    assert "status_update_newest_pending" in StatusUpdate.objects.pending().order_by("-id").explain()


# --- several processes

COUNT = """
import django; django.setup()
from django.db import transaction
from builds.record import metrics
for _ in range(40):
    with transaction.atomic():
        metrics.add(metrics.counted(metrics.STARTED))
        metrics.add(metrics.observed(metrics.WAIT, 0.75))
    metrics.FOLD_ABOVE = 10
    metrics.fold()
"""


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_several_processes_count_and_add_up_at_once() -> None:
    """Meanwhile every scrape is whole: no figure ever goes back."""
    name = str(connection.settings_dict["NAME"])
    url = f"sqlite:///{name}" if connection.vendor == "sqlite" else None
    if url is None:
        pytest.skip("the processes can't be given this database")
    script = f"import os; os.environ['DATABASE_URL'] = {url!r}\n{COUNT}"
    command = [sys.executable, "-c", script]
    environment = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": "/usr/bin:/bin"}
    processes = [subprocess.Popen(command, cwd=Path(__file__).parents[2], env=environment) for _ in range(2)]
    try:
        _check_each_scrape(processes)
    finally:
        for process in processes:
            process.wait(120)
    assert [process.returncode for process in processes] == [0, 0]
    assert scrape_here()("jobsite_builds_started_total") == 80


def _check_each_scrape(processes: list[subprocess.Popen[bytes]]) -> None:
    seen = 0.0
    while any(process.poll() is None for process in processes):
        scrape = scrape_here()
        count, total = scrape("jobsite_builds_started_total"), scrape("jobsite_build_wait_seconds_sum")
        assert count >= seen
        assert total == count * 0.75
        seen = count
