"""The queue page: running and waiting builds, workers, alarms and the three actions."""

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

from builds import lifecycle
from builds.desk.queue import state
from builds.errors import ArchiveHostDown, ArchiveHostLimit, BuildError, DesciServerDown
from builds.lifecycle import pausing
from builds.models import SILENT_AFTER, Build, OutboxHold, QueueChange, StatusUpdate, StatusUpdateTry, Submission, Worker
from builds.queue import workers
from builds.staff.roles import ADMINS, EDITORS, VIEWERS
from tests.desk.conftest import SignIn
from tests.support.rows import submit

pytestmark = pytest.mark.django_db


def words(answer: Any) -> str:
    """The visible text of a page, in one line."""
    return " ".join(html.unescape(re.sub(r"<(style|script)\b.*?</\1>|<[^>]+>", " ", answer.content.decode(), flags=re.S)).split())


def worker(name: str = "host:7", *, silent: bool = False, ending: bool = False, **isolation: str) -> Worker:
    row = Worker(name=name, host="host", pid=1, started_at=timezone.now(), ending=ending, **isolation)
    workers.report_alive(row)
    if silent:
        Worker.objects.filter(pk=name).update(seen_at=timezone.now() - 2 * SILENT_AFTER)
    return row


def run(job_id: str, by: str = "host:7", stage: str = "build") -> Build:
    build = lifecycle.claim(str(submit(job_id).newest_build().pk), worker=by)
    assert build is not None
    lifecycle.enter_stage(build, stage)
    return build


def whys() -> list[tuple[int | None, str]]:
    return [(waiting.place, waiting.why) for waiting in state.read().waiting]


def alarms() -> list[str]:
    return [alarm.sentence for alarm in state.read().alarms]


# --- the page


def test_running_builds_are_shown_with_stage_and_worker(viewer: Client, store: Redis) -> None:
    worker()
    build = run("job-1", stage="collect")
    text = words(viewer.get("/queue/"))
    assert all(part in text for part in ("Title of job-1", "collect", "host:7", "building Title of job-1", "1 running"))
    lifecycle.request_cancel(build, actor="ed", reason="x")
    assert "being cancelled" in words(viewer.get("/queue/"))


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda: None, "No worker is accepting builds."),
        (lambda: worker(silent=True), "No worker is accepting builds."),
        (lambda: worker(ending=True), "No worker is accepting builds."),
        (worker, "Starting now."),
        (lambda: (worker(), run("job-0")), "Next, as soon as a worker is free."),
        (lambda: (worker(), pausing.pause(actor="ada", reason="x")), "The queue is paused."),
        (lambda: (worker(), pausing.drain(actor="ada", reason="x")), "The queue is being drained."),
    ],
)
def test_the_first_in_the_queue_shows_why_it_is_waiting(store: Redis, prepare: Any, expected: str) -> None:
    prepare()
    submit("job-1")
    assert whys() == [(1, expected)]


def test_positions_count_only_builds_that_may_start(store: Redis) -> None:
    worker(), run("job-0")
    for number in (1, 2, 3, 4):
        submit(f"job-{number}")
    Build.objects.filter(submission__job_id="job-2").update(not_before=timezone.now() + timedelta(minutes=5))
    assert whys() == [
        (1, "Next, as soon as a worker is free."),
        (2, "1 attempt is ahead of it."),
        (3, "2 attempts are ahead of it."),
        (None, "Waiting to retry"),
    ]


def test_builds_are_shown_in_the_order_of_turns_and_held_ones_say_why(viewer: Client, store: Redis, settings: Any) -> None:
    worker(), run("job-0")
    for job_id, owner in (("job-1", "a"), ("job-2", "a"), ("job-3", "ben")):
        submit(job_id, repository=f"{owner}/b")
    assert [waiting.build.submission.job_id for waiting in state.read().waiting] == ["job-3", "job-1", "job-2"]
    settings.BUILDS_PER_OWNER = 1
    held = "1 build of a is running, and one owner may have 1 build running at a time. This one starts when one of them ends."
    assert whys() == [(1, "Next, as soon as a worker is free."), (None, held), (None, held)]
    assert words(viewer.get("/queue/")).count(held) == 2
    assert held in words(viewer.get(f"/submissions/{Submission.objects.get(job_id='job-1').pk}/"))
    assert "one owner may have" not in words(viewer.get(f"/submissions/{Submission.objects.get(job_id='job-3').pk}/"))


def test_admins_can_have_a_build_built_next(sign_in: SignIn) -> None:
    submit("job-1")
    submission = submit("job-2")
    address = f"/submissions/{submission.pk}/act/next/"
    for role in (VIEWERS, EDITORS):
        client = sign_in(role)
        assert address not in client.get("/queue/").text
        assert client.post(address, {"reason": ""}).status_code == 403
    admin = sign_in(ADMINS)
    assert address in admin.get("/queue/").text
    assert "It starts before everything else that is queued" in words(admin.get(address))
    answer = admin.post(address, {"reason": "The issue is due.", "seen": f"{submission.pk}:1"}, follow=True)
    text = words(answer)
    assert "Build this next: done. Attempt 1 waits for a worker." in text
    assert "Moved to the front attempt 1 by" in text and "The issue is due." in text
    assert address not in admin.get("/queue/").text
    assert [waiting.build.submission.job_id for waiting in state.read().waiting] == ["job-2", "job-1"]
    assert "It is already at the front of the queue." in words(admin.get(address))


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (DesciServerDown, "Waiting for desci-server; retries"),
        (ArchiveHostLimit, "Waiting for the archive host; retries"),
        (ArchiveHostDown, "Waiting to retry"),
    ],
)
def test_a_retry_shows_which_service_it_waits_for(error: type[BuildError], why: str) -> None:
    lifecycle.fail(run("job-1"), error().cause, retry_at=timezone.now() + timedelta(minutes=5))
    assert whys() == [(None, why)]


def test_a_long_queue_shows_its_beginning_and_counts_the_rest(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MAX_WAITING_SHOWN", 2)
    for number in range(5):
        submit(f"job-{number}")
    text = words(viewer.get("/queue/"))
    assert "5 waiting" in text and "And 3 after these." in text and "Title of job-2" not in text
    monkeypatch.setattr(state, "MAX_COUNTED", 4)
    assert "And 2 or more after these." in words(viewer.get("/queue/"))


def test_workers_are_shown_with_memory_and_last_contact(viewer: Client) -> None:
    worker(), worker("host:8", silent=True), worker("host:9", ending=True)
    Worker.objects.update(memory_bytes=300_000_000)
    text = re.sub(r"\d+ \w+ \d+, \d+:\d+ UTC ", "", words(viewer.get("/queue/")).replace("\xa0", " "))
    assert "host:7 idle 300 MB just now" in text
    assert "host:8 no recent contact 300 MB 1 min ago" in text
    assert "host:9 stopping after this build" in text and "1 worker " in text


# --- alarms


def test_isolation_is_described_once_if_all_workers_are_alike(viewer: Client) -> None:
    for name in ("host:1", "host:2"):
        worker(name, sandbox="bubblewrap", cgroups="v1")
    sentence = "Builds are sandboxed by bubblewrap ; control groups (version 1) limit their memory, processes and CPU share."
    assert sentence in words(viewer.get("/queue/"))


def test_isolation_is_described_for_each_kind_of_worker_with_advice(viewer: Client) -> None:
    worker("host:1", sandbox="bubblewrap", cgroups="v2")
    worker("other:1", sandbox="landlock", cgroups="none", isolation_notes="bubblewrap is not installed.\nInstall it.")
    worker("an earlier release's")
    worker("dead:1", sandbox="none", cgroups="none", silent=True)
    page = words(viewer.get("/queue/"))
    assert "host:1 : builds are sandboxed by bubblewrap ; control groups" in page
    assert (
        "other:1 : builds are sandboxed by Landlock alone ; without control groups, Jobsite checks their memory and processes"
        in page
    )
    assert "bubblewrap is not installed. Install it." in page
    assert page.count("builds are") == 2


@pytest.mark.parametrize(
    ("sandbox", "alarm"),
    [
        ("bubblewrap", []),
        ("landlock", []),
        ("none", ["Builds on host are not sandboxed: they can read and change everything that the service can."]),
        ("refused", ["Every build on host fails, because builds cannot be sandboxed there."]),
    ],
)
def test_unsandboxed_builds_raise_an_alarm(store: Redis, sandbox: str, alarm: list[str]) -> None:
    worker(sandbox=sandbox, cgroups="none")
    assert alarms() == alarm


def test_missing_workers_raise_an_alarm(viewer: Client, store: Redis) -> None:
    assert alarms() == ["No worker is accepting builds."]
    assert "No worker is accepting builds. Submissions are accepted and wait." in words(viewer.get("/queue/"))
    worker()
    assert alarms() == []


def test_a_queue_that_starts_nothing_is_not_called_open(viewer: Client, store: Redis) -> None:
    assert "No build starts 0 running" in words(viewer.get("/queue/"))
    worker()
    assert "Open 0 running" in words(viewer.get("/queue/"))


def test_while_the_queue_store_is_away_nothing_seems_to_start(viewer: Client) -> None:
    worker()
    submission = submit("job-1")
    assert "No build starts 0 running" in words(viewer.get("/queue/"))
    assert whys() == [(1, "The queue store cannot be reached.")]
    assert "It waits. The queue store cannot be reached." in words(viewer.get(f"/submissions/{submission.pk}/"))


def test_a_silent_worker_and_an_unreachable_queue_store_raise_alarms() -> None:
    worker(), worker("host:8", silent=True)
    assert alarms() == ["No recent contact with host:8.", "The queue store cannot be reached."]


def refused(code: int | None, *, ago: timedelta = timedelta(minutes=5)) -> None:
    for update in StatusUpdate.objects.all():
        StatusUpdateTry.objects.create(status_update=update, code=code, error="" if code else "refused", seconds=0.1)
    StatusUpdate.objects.update(tries=1, created_at=timezone.now() - ago)


def test_refused_status_updates_raise_an_alarm(store: Redis) -> None:
    worker(), submit("job-1"), submit("job-2")
    assert alarms() == []
    refused(503, ago=timedelta(seconds=10))
    assert alarms() == [], "it may be temporary"
    refused(503)
    assert alarms() == ["desci-server has not accepted status updates of 2 submissions."]


def test_a_rejected_secret_raises_an_alarm(store: Redis, viewer: Client) -> None:
    worker()
    OutboxHold.objects.create(answer="401 no such secret")
    assert alarms() == ["desci-server rejects the shared secret."]
    assert "Set the same INTERNAL_SERVICE_SECRET in both services." in words(viewer.get("/queue/"))


# --- actions


@pytest.mark.parametrize(("role", "offered"), [(VIEWERS, 0), (EDITORS, 0), (ADMINS, 2)])
def test_actions_are_offered_only_to_admins(sign_in: SignIn, role: str, offered: int) -> None:
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


@pytest.mark.parametrize("action", ["pause", "drain"])
@pytest.mark.parametrize("reason", ["", "   "])
def test_a_reason_is_required(admin: Client, action: str, reason: str) -> None:
    answer = admin.post(f"/queue/{action}/", {"reason": reason})
    assert (answer.status_code, QueueChange.objects.count()) == (400, 0)
    assert "Give a reason" in words(answer)


def test_a_second_press_is_refused_with_a_message(admin: Client) -> None:
    admin.post("/queue/drain/", {"reason": "Update."})
    text = words(admin.post("/queue/drain/", {"reason": "Update."}, follow=True))
    assert "The queue is already being drained, at the request of admins-0." in text
    assert QueueChange.objects.count() == 1


def test_a_drained_queue_says_that_nothing_is_running(admin: Client) -> None:
    build = run("job-1")
    admin.post("/queue/drain/", {"reason": "Update."})
    assert "Draining" in words(admin.get("/queue/"))
    lifecycle.succeed(build)
    assert "Nothing is running: you can stop or update the workers." in words(admin.get("/queue/"))


# --- live updates and number of queries


def test_the_script_gets_only_what_changes(viewer: Client) -> None:
    answer = viewer.get("/queue/", headers={"X-Live": "1"})
    assert "<html" not in answer.content.decode() and 'id="running"' in answer.content.decode()


@contextmanager
def counted() -> Iterator[CaptureQueriesContext]:
    with CaptureQueriesContext(connection) as captured:
        yield captured


def test_the_page_needs_the_same_queries_for_any_number_of_rows(viewer: Client) -> None:
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
    assert len(three) == len(one) == 22
