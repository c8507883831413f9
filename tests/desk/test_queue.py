"""The queue page: what runs where, what waits and why, who takes builds; and its three acts."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis import Redis

from builds import lifecycle, queue_control, workers
from builds.desk import queue_state
from builds.models import Build
from builds.outbox_models import OutboxHold, StatusUpdate, StatusUpdateTry
from builds.queue_models import SILENT_AFTER, QueueChange, Worker
from builds.roles import ADMINS, EDITORS, VIEWERS
from tests.desk.conftest import SignIn
from tests.rows import submit

pytestmark = pytest.mark.django_db


def words(answer: Any) -> str:
    """The text that a reader sees, in one line."""
    return " ".join(html.unescape(re.sub(r"<(style|script)\b.*?</\1>|<[^>]+>", " ", answer.content.decode(), flags=re.S)).split())


def worker(name: str = "host:7", *, silent: bool = False, ending: bool = False, **isolation: str) -> Worker:
    row = Worker(name=name, host="host", pid=1, started_at=timezone.now(), ending=ending, **isolation)
    workers.sign(row)
    if silent:
        Worker.objects.filter(pk=name).update(seen_at=timezone.now() - 2 * SILENT_AFTER)
    return row


def run(job_id: str, by: str = "host:7", stage: str = "build") -> Build:
    build = lifecycle.claim(str(submit(job_id).newest_build().pk), worker=by)
    assert build is not None
    lifecycle.enter_stage(build, stage)
    return build


def whys() -> list[tuple[int | None, str]]:
    return [(waiting.place, waiting.why) for waiting in queue_state.read().waiting]


def alarms() -> list[str]:
    return [alarm.sentence for alarm in queue_state.read().alarms]


# --- what is shown


def test_what_runs_is_shown_with_its_stage_and_worker(viewer: Client, store: Redis) -> None:
    worker()
    build = run("job-1", stage="collect")
    text = words(viewer.get("/queue/"))
    assert all(part in text for part in ("Title of job-1", "collect", "host:7", "builds Title of job-1", "1 running"))
    lifecycle.request_cancel(build, actor="ed", reason="x")
    assert "being cancelled" in words(viewer.get("/queue/"))


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda: None, "No worker is taking jobs."),
        (lambda: worker(silent=True), "No worker is taking jobs."),
        (lambda: worker(ending=True), "No worker is taking jobs."),
        (worker, "Starts in a moment."),
        (lambda: (worker(), run("job-0")), "Next, as soon as a worker is free."),
        (lambda: (worker(), queue_control.pause(actor="ada", reason="x")), "The queue is paused."),
        (lambda: (worker(), queue_control.drain(actor="ada", reason="x")), "The queue is being drained."),
    ],
)
def test_the_first_in_the_queue_is_told_why_it_waits(prepare: Any, expected: str) -> None:
    prepare()
    submit("job-1")
    assert whys() == [(1, expected)]


def test_places_are_counted_among_those_that_may_start() -> None:
    worker(), run("job-0")
    for number in (1, 2, 3, 4):
        submit(f"job-{number}")
    Build.objects.filter(submission__job_id="job-2").update(not_before=timezone.now() + timedelta(minutes=5))
    assert whys() == [
        (1, "Next, as soon as a worker is free."),
        (None, "Waits for its next try"),
        (2, "1 build is before it."),
        (3, "2 builds are before it."),
    ]


def test_of_a_long_queue_the_beginning_is_shown_and_the_rest_counted(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_state, "WAITING_SHOWN", 2)
    for number in range(5):
        submit(f"job-{number}")
    text = words(viewer.get("/queue/"))
    assert "5 waiting" in text and "And 3 behind them." in text and "Title of job-2" not in text
    monkeypatch.setattr(queue_state, "COUNTED", 4)
    assert "And 2 or more behind them." in words(viewer.get("/queue/"))


def test_workers_are_shown_with_memory_and_sign_of_life(viewer: Client) -> None:
    worker(), worker("host:8", silent=True), worker("host:9", ending=True)
    Worker.objects.update(memory_bytes=300_000_000)
    text = re.sub(r"\d+ \w+ \d+, \d+:\d+ UTC ", "", words(viewer.get("/queue/")).replace("\xa0", " "))
    assert "host:7 waits for work 300 MB just now" in text
    assert "host:8 no sign of life 300 MB 1 min ago" in text
    assert "host:9 ends after this build" in text and "1 worker " in text


# --- alarms


def test_how_builds_are_shut_in_is_told_once_where_all_workers_are_alike(viewer: Client) -> None:
    for name in ("host:1", "host:2"):
        worker(name, sandbox="bubblewrap", cgroups="v1")
    assert (
        "Builds are shut in by bubblewrap ; their memory, processes and share of the processors are limited by control groups "
        "(version 1)."
    ) in words(viewer.get("/queue/"))


def test_how_builds_are_shut_in_is_told_of_each_kind_of_worker_with_what_to_do(viewer: Client) -> None:
    worker("host:1", sandbox="bubblewrap", cgroups="v2")
    worker("other:1", sandbox="landlock", cgroups="none", isolation_notes="bubblewrap is not installed.\nInstall it.")
    worker("an earlier release's")
    worker("dead:1", sandbox="none", cgroups="none", silent=True)
    page = words(viewer.get("/queue/"))
    assert "host:1 : builds are shut in by bubblewrap ; their memory" in page
    assert "other:1 : builds are shut in by Landlock alone ; their memory and processes are counted five times a second" in page
    assert "bubblewrap is not installed. Install it." in page
    assert page.count("builds are") == 2


@pytest.mark.parametrize(
    ("sandbox", "alarm"),
    [
        ("bubblewrap", []),
        ("landlock", []),
        ("none", ["Builds on host run unsandboxed: they can read and change what the service can."]),
        ("refused", ["Every build on host fails, because none can be shut in there."]),
    ],
)
def test_builds_that_are_not_shut_in_are_an_alarm(store: Redis, sandbox: str, alarm: list[str]) -> None:
    worker(sandbox=sandbox, cgroups="none")
    assert alarms() == alarm


def test_without_workers_it_says_so_in_plain_sight(viewer: Client, store: Redis) -> None:
    assert alarms() == ["No worker is taking jobs."]
    assert "No worker is taking jobs. Submissions are accepted and wait." in words(viewer.get("/queue/"))
    worker()
    assert alarms() == []


def test_a_silent_worker_and_an_absent_queue_store_are_named() -> None:
    worker(), worker("host:8", silent=True)
    assert alarms() == ["No sign of life from host:8.", "The queue store can't be reached."]


def refused(code: int | None, *, ago: timedelta = timedelta(minutes=5)) -> None:
    for update in StatusUpdate.objects.all():
        StatusUpdateTry.objects.create(status_update=update, code=code, error="" if code else "refused", seconds=0.1)
    StatusUpdate.objects.update(tries=1, created_at=timezone.now() - ago)


def test_what_desci_server_was_not_told_is_an_alarm(store: Redis) -> None:
    worker(), submit("job-1"), submit("job-2")
    assert alarms() == []
    refused(503, ago=timedelta(seconds=10))
    assert alarms() == [], "it may pass"
    refused(503)
    assert alarms() == ["desci-server has not been told of 2 submissions."]


def test_a_refused_secret_is_an_alarm(store: Redis, viewer: Client) -> None:
    worker()
    OutboxHold.objects.create(answer="401 no such secret")
    assert alarms() == ["desci-server refuses our secret."]
    assert "Set the same INTERNAL_SERVICE_SECRET in both services." in words(viewer.get("/queue/"))


# --- acts


@pytest.mark.parametrize(("role", "offered"), [(VIEWERS, 0), (EDITORS, 0), (ADMINS, 2)])
def test_acts_are_offered_to_those_who_may(sign_in: SignIn, role: str, offered: int) -> None:
    assert len(re.findall(r'href="/queue/\w+/"', sign_in(role).get("/queue/").content.decode())) == offered


def test_an_admin_pauses_and_resumes_with_a_reason(admin: Client) -> None:
    text = words(admin.post("/queue/pause/", {"reason": "New templates."}, follow=True))
    assert "The queue is paused. No build starts until it is resumed." in text
    assert "Paused" in text and "New templates." in text
    text = words(admin.post("/queue/resume/", {"reason": ""}, follow=True))
    assert "The queue is resumed." in text
    user = "admins-0"
    assert list(QueueChange.objects.order_by("id").values_list("kind", "actor", "reason")) == [
        ("paused", user, "New templates."),
        ("resumed", user, ""),
    ]


@pytest.mark.parametrize("act", ["pause", "drain"])
@pytest.mark.parametrize("reason", ["", "   "])
def test_a_reason_must_be_given(admin: Client, act: str, reason: str) -> None:
    answer = admin.post(f"/queue/{act}/", {"reason": reason})
    assert (answer.status_code, QueueChange.objects.count()) == (400, 0)
    assert "Say why" in words(answer)


def test_pressed_twice_it_happens_once_and_the_second_is_told(admin: Client) -> None:
    admin.post("/queue/drain/", {"reason": "Update."})
    text = words(admin.post("/queue/drain/", {"reason": "Update."}, follow=True))
    assert "The queue is being drained already, since admins-0 asked for it." in text
    assert QueueChange.objects.count() == 1


def test_a_drained_queue_says_that_nothing_runs_any_more(admin: Client) -> None:
    build = run("job-1")
    admin.post("/queue/drain/", {"reason": "Update."})
    assert "Draining" in words(admin.get("/queue/"))
    lifecycle.succeed(build)
    assert "Nothing runs any more: the workers can be stopped or updated." in words(admin.get("/queue/"))


# --- live, and its price


def test_the_script_gets_only_what_changes(viewer: Client) -> None:
    answer = viewer.get("/queue/", headers={"X-Live": "1"})
    assert "<html" not in answer.content.decode() and 'id="running"' in answer.content.decode()


@contextmanager
def counted() -> Iterator[CaptureQueriesContext]:
    with CaptureQueriesContext(connection) as captured:
        yield captured


def test_the_page_costs_the_same_queries_for_any_number_of_rows(viewer: Client) -> None:
    def more(number: int) -> None:
        worker(f"host:{number}"), run(f"run-{number}", f"host:{number}"), submit(f"wait-{number}")
        refused(503)

    more(1)
    viewer.get("/queue/")
    with counted() as one:
        viewer.get("/queue/")
    more(2)
    more(3)
    with counted() as three:
        viewer.get("/queue/")
    assert len(three) == len(one) == 14
