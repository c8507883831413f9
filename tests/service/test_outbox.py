"""The outbox with a desci-server that answers, rejects, hangs or is down: no update is lost, duplicated or sent out of order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds import lifecycle
from builds.engine.clients import desci
from builds.errors import CommandFailed
from builds.lifecycle import status_updates
from builds.models import Mode, OutboxHold, State, StatusUpdate, StatusUpdateTry, Submission
from builds.record import outbox_bell
from builds.service import loops, outbox
from tests.standins import DesciServer
from tests.support.rows import claim, submit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("must_end")]

SECRET = "test-secret"
FAILED = StatusUpdate.Status.FAILED
CAUSE = CommandFailed("Failed to build the repo files: it broke.").cause


@pytest.fixture
def server() -> Iterator[DesciServer]:
    with DesciServer() as running:
        yield running


def client(server: DesciServer, secret: str = SECRET) -> desci.DesciServer:
    return desci.DesciServer(server.url, secret)


def make_due() -> None:
    StatusUpdate.objects.pending().update(next_try_at=timezone.now() - timedelta(seconds=1))


def send_due(server: DesciServer, *, secret: str = SECRET) -> int:
    """Send what may be sent now, without waiting for the next try. Returns how many updates were sent."""
    make_due()
    taken = outbox._reserve(100)
    for update in taken:
        outbox.send(update, client(server, secret))
    return len(taken)


def send_all(server: DesciServer) -> None:
    while send_due(server):
        pass


def failed(job_id: str = "job-1") -> Submission:
    """A submission with one status update of each kind: queued, a stage, and failed."""
    submission = submit(job_id)
    build = claim(submission)
    lifecycle.enter_stage(build, "fetch")
    lifecycle.fail(build, CAUSE)
    return submission


def states(submission: Submission) -> list[tuple[str, str]]:
    return list(submission.status_updates.values_list("status", "state"))


def test_updates_arrive_in_order_and_never_pending(server: DesciServer) -> None:
    failed()
    send_all(server)
    assert server.statuses("job-1") == ["IN_PROGRESS", "IN_PROGRESS", "FAILED"]
    assert [update.message.split(" http")[0] for update in server.updates["job-1"]][:2] == [
        "Queued.",
        "Attempt 1: fetch has started.",
    ]
    assert {update.node_uuid for update in server.updates["job-1"]} == {"node-job-1."}


def test_only_the_oldest_update_of_a_submission_may_be_sent() -> None:
    failed("job-1"), failed("job-2")
    make_due()
    taken = outbox._reserve(100)
    assert sorted(update.message.split(" http")[0] for update in taken) == ["Queued.", "Queued."]
    assert outbox._reserve(100) == []


def test_nothing_is_sent_behind_an_update_that_fails(server: DesciServer) -> None:
    submission = submit()
    lifecycle.fail(claim(submission), CAUSE)
    lifecycle.retry(submission, Mode.LATEST, actor="ed")
    send_due(server)
    server.fail(500)
    for _ in range(3):
        assert send_due(server) == 1
    heard = [(update.status, update.code) for update in server.updates["job-1"]]
    assert heard == [("IN_PROGRESS", 200), ("FAILED", 500), ("FAILED", 500), ("FAILED", 500)]
    server.end_faults()
    send_all(server)
    assert server.statuses("job-1") == ["IN_PROGRESS", "FAILED", "IN_PROGRESS"]


def test_one_submission_does_not_hold_up_another(server: DesciServer) -> None:
    failed("job-1"), failed("job-2")
    server.fail(500, where="job-1")
    for _ in range(4):
        send_due(server)
    assert server.statuses("job-2") == ["IN_PROGRESS", "IN_PROGRESS", "FAILED"]
    assert server.statuses("job-1") == []


def test_pauses_double_up_to_five_minutes(server: DesciServer) -> None:
    submit()
    server.fail(500)
    pauses = []
    for _ in range(11):
        before = timezone.now()
        send_due(server)
        pauses.append((StatusUpdate.objects.get().next_try_at - before).total_seconds())
    assert [round(pause) for pause in pauses[:8]] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert [round(pause) for pause in pauses[8:]] == [256, 300, 300]
    assert StatusUpdate.objects.get().tries == 11


def test_the_pause_stays_bounded_however_often_it_was_tried() -> None:
    assert outbox.PAUSES.after(100_000) == timedelta(minutes=5)


def test_sending_an_update_takes_few_statements(server: DesciServer) -> None:
    """Seven updates of a short build: more statements than for the build itself."""
    failed()
    make_due()
    [update] = outbox._reserve(1)
    with CaptureQueriesContext(connection) as sending:
        outbox.send(update, client(server))
    assert len(sending) == 7 + (connection.vendor == "postgresql")


def test_every_try_is_recorded_with_its_answer(server: DesciServer) -> None:
    submit()
    server.fail(503, times=1, body="<h1>Bad\0 gateway</h1>")
    send_due(server), send_due(server)
    first, second = StatusUpdateTry.objects.all()
    assert (first.code, first.body, first.error) == (503, "<h1>Bad gateway</h1>", "")
    assert (second.code, second.body) == (200, '{"ok": true}')
    assert first.seconds > 0


def test_a_server_that_is_down_is_retried_until_it_is_up(server: DesciServer) -> None:
    submit()
    server.down()
    send_due(server)
    attempt = StatusUpdateTry.objects.get()
    assert attempt.code is None
    assert "could not be reached" in attempt.error
    server.up()
    send_due(server)
    assert server.statuses("job-1") == ["IN_PROGRESS"]


def test_a_server_that_does_not_answer_times_out(server: DesciServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desci, "STATUS_TIME_LIMITS", (1, 0.3))
    submit()
    server.hang("updateStatus")
    send_due(server)
    assert "did not answer in time" in StatusUpdateTry.objects.get().error
    assert StatusUpdate.objects.get().state == StatusUpdate.State.PENDING


def test_the_time_limits_of_a_try_are_shorter_than_its_reservation() -> None:
    assert sum(desci.STATUS_TIME_LIMITS) < desci.STATUS_SECONDS
    assert timedelta(seconds=desci.STATUS_SECONDS) < outbox.RESERVATION


@pytest.mark.parametrize("headers", [True, False], ids=["headers", "body"])
def test_a_try_is_recorded_before_it_is_made(server: DesciServer, monkeypatch: pytest.MonkeyPatch, headers: bool) -> None:
    """A server that drips holds a try until its deadline. Staff can see it meanwhile."""
    monkeypatch.setattr(desci, "STATUS_SECONDS", 1.0)
    submission = submit()
    server.drip(headers=headers, every=0.05, times=1)
    [update] = outbox._reserve(1)
    seen: list[Any] = []

    class Watched(desci.DesciServer):
        def update_status(self, *args: Any) -> desci.Answer:
            now = submission.status_updates.get()
            seen.append((now.tries, now.is_being_sent, now.failed_tries, [str(attempt) for attempt in now.attempts.all()]))
            return super().update_status(*args)

    outbox.send(update, Watched(server.url, SECRET))
    assert seen == [(1, True, 0, [outbox.UNDER_WAY])]
    after = submission.status_updates.get()
    assert (after.state, after.tries, after.is_being_sent, after.failed_tries) == ("pending", 1, False, 1)
    assert ["did not answer in time" in attempt.error for attempt in after.attempts.all()] == [True]
    send_due(server)
    assert server.statuses("job-1") == ["IN_PROGRESS"]


def test_a_try_whose_process_dies_stays_recorded(server: DesciServer) -> None:
    submit()
    [update] = outbox._reserve(1)

    class Dying(desci.DesciServer):
        def update_status(self, *args: Any) -> desci.Answer:
            raise SystemExit

    with pytest.raises(SystemExit):
        outbox.send(update, Dying(server.url, SECRET))
    assert [(attempt.code, attempt.error) for attempt in StatusUpdateTry.objects.all()] == [(None, outbox.UNDER_WAY)]
    assert StatusUpdate.objects.get().tries == 1
    StatusUpdate.objects.update(sending_until=timezone.now() - timedelta(seconds=1))
    send_due(server)
    assert [attempt.code for attempt in StatusUpdateTry.objects.all()] == [None, 200]


@pytest.mark.parametrize("html", [True, False], ids=["login page", "not ok"])
def test_a_200_that_is_not_desci_servers_is_retried(server: DesciServer, html: bool) -> None:
    submission = failed()
    server.lie(html=html, times=2)
    send_all(server)
    assert server.statuses("job-1")[-1] == "FAILED"
    first = StatusUpdateTry.objects.all()[0]
    assert (first.code, first.error) == (200, outbox.NOT_ITS_ANSWER)
    assert ("Sign in" if html else '"ok": false') in first.body
    assert states(submission)[-1] == ("FAILED", "received")


def test_updates_that_drip_do_not_hold_up_the_others(server: DesciServer, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many updates drip as the outbox sends at once."""
    monkeypatch.setattr(desci, "STATUS_SECONDS", 1.0)
    settings.DESCI_SERVER_URL = server.url
    for number in range(outbox.SENDERS):
        submit(f"drip-{number}")
    server.drip("drip-", every=0.05)
    stop = threading.Event()

    def run() -> None:
        outbox.run(stop)
        connection.close()

    loop = threading.Thread(target=run)
    loop.start()
    try:
        server.wait_for(lambda heard: len([job for job in heard.updates if job.startswith("drip-")]) == outbox.SENDERS, 30)
        failed()
        server.wait_for(lambda heard: heard.statuses("job-1")[-1:] == ["FAILED"], 60)
    finally:
        stop.set()
        loop.join(60)
    assert not loop.is_alive()


@pytest.mark.parametrize("gone", ["job", "node"])
def test_a_build_that_ends_meanwhile_does_not_undo_the_recorded_try(
    server: DesciServer, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """The build ends after it was read as unfinished and before it is cancelled."""
    submission = submit()
    build = claim(submission)
    server.forget("job-1") if gone == "job" else server.forget_node("node-job-1.")

    def ended_first(found: Any, **named: Any) -> None:
        lifecycle.succeed(build)
        lifecycle.request_cancel(found, **named)

    monkeypatch.setattr(status_updates, "request_cancel", ended_first)
    send_due(server)
    build.refresh_from_db()
    assert build.state == State.SUCCEEDED
    assert [attempt.code for attempt in StatusUpdateTry.objects.all()] == [404 if gone == "job" else 401]
    submission.refresh_from_db()
    assert submission.unwanted_at is not None
    assert StatusUpdate.objects.order_by("id")[0].state == StatusUpdate.State.UNWANTED


def test_a_queued_build_that_nobody_wants_is_cancelled_without_a_status_update(server: DesciServer) -> None:
    submission = submit()
    server.forget("job-1")
    send_due(server)
    assert submission.newest_build().state == State.CANCELLED
    assert states(submission) == [("IN_PROGRESS", StatusUpdate.State.UNWANTED)]


def test_a_try_that_raises_is_recorded_too(server: DesciServer) -> None:
    """A secret that is not valid in a header: the update is not lost, and staff see why it is not sent."""
    submit()
    send_due(server, secret="sécret-\u2603")
    attempt = StatusUpdateTry.objects.get()
    assert attempt.error
    assert StatusUpdate.objects.get().state == StatusUpdate.State.PENDING


def probe_now() -> None:
    OutboxHold.objects.update(next_try_at=timezone.now() - timedelta(seconds=1))


def test_a_wrong_secret_holds_back_all_updates_with_one_alarm(server: DesciServer, caplog: pytest.LogCaptureFixture) -> None:
    submissions = [failed(f"job-{number}") for number in range(5)]
    assert send_due(server, secret="another") == 5, "they were sent at the same time"
    asked = len(StatusUpdateTry.objects.all())
    for _ in range(3):
        assert send_due(server, secret="another") == 0
        probe_now()
        assert send_due(server, secret="another") == 1
    assert len(StatusUpdateTry.objects.all()) == asked + 3
    assert {attempt.code for attempt in StatusUpdateTry.objects.all()} == {401}
    assert "401" in OutboxHold.objects.get().answer
    assert [record.levelname for record in caplog.records if "INTERNAL_SERVICE_SECRET" in record.message] == ["CRITICAL"]
    assert not StatusUpdate.objects.exclude(state=StatusUpdate.State.PENDING).exists()
    assert [submission.newest_build().state for submission in submissions] == [State.FAILED] * 5


def test_sending_resumes_automatically_when_the_secrets_agree_again(server: DesciServer) -> None:
    for number in range(3):
        failed(f"job-{number}")
    send_due(server, secret="another")
    probe_now()
    assert len(outbox._reserve(100)) == 1
    StatusUpdate.objects.update(sending_until=None)
    probe_now()
    [update] = outbox._reserve(100)
    outbox.send(update, client(server))
    assert not OutboxHold.objects.exists()
    assert StatusUpdate.objects.due().count() == 3
    send_all(server)
    for number in range(3):
        assert server.statuses(f"job-{number}") == ["IN_PROGRESS", "IN_PROGRESS", "FAILED"]


@pytest.mark.parametrize("status", [500, 404])
def test_an_answer_that_does_not_check_the_secret_keeps_the_hold(server: DesciServer, status: int) -> None:
    failed()
    send_due(server, secret="another")
    server.fail(status, body="<html>a proxy</html>", times=1)
    probe_now()
    send_due(server)
    assert OutboxHold.objects.exists()


def test_an_update_is_pushed_by_hand(server: DesciServer) -> None:
    submission = submit()
    server.fail(500, times=1)
    for update in outbox._reserve(1):
        outbox.send(update, client(server))
    assert outbox._reserve(1) == []
    update = submission.status_updates.get()
    lifecycle.push(update, actor="ed", reason="It is back.")
    for update in outbox._reserve(1):
        outbox.send(update, client(server))
    assert server.statuses("job-1") == ["IN_PROGRESS"]
    assert submission.events.filter(kind="status update pushed", actor="ed", reason="It is back.").count() == 1
    with pytest.raises(lifecycle.ActionRefused):
        lifecycle.push(update, actor="ed")


def test_a_push_does_not_send_what_is_being_sent(server: DesciServer) -> None:
    submit()
    [update] = outbox._reserve(1)
    with pytest.raises(lifecycle.ActionRefused, match="already being sent"):
        lifecycle.push(update, actor="ed")
    StatusUpdate.objects.update(next_try_at=timezone.now() + timedelta(minutes=4))
    lifecycle.push(update, actor="ed")
    assert outbox._reserve(1) == []
    outbox.send(update, client(server))
    assert server.statuses("job-1") == ["IN_PROGRESS"]


def test_waiting_updates_are_sent_at_once_when_desci_server_is_back(server: DesciServer) -> None:
    names = [f"job-{number}" for number in range(4)]
    for name in names:
        failed(name)
    server.fail(500)
    for _ in range(9):
        send_due(server)
    server.end_faults()
    StatusUpdate.objects.update(next_try_at=timezone.now() + timedelta(minutes=4))
    StatusUpdate.objects.filter(pk=StatusUpdate.objects.heads()[0].pk).update(next_try_at=timezone.now())
    while taken := outbox._reserve(100):
        for update in taken:
            outbox.send(update, client(server))
    assert [server.statuses(name)[-1:] for name in names] == [["FAILED"]] * 4


@pytest.mark.parametrize("gone", ["job", "node"])
def test_a_result_that_desci_server_no_longer_wants(server: DesciServer, gone: str) -> None:
    submission = submit()
    build = claim(submission)
    if gone == "job":
        server.forget("job-1")
    else:
        server.forget_node("node-job-1.")
    send_due(server)
    build.refresh_from_db()
    assert (build.cancel_requested_by, build.state) == ("desci-server", State.RUNNING)
    lifecycle.finish_cancel(build)
    send_all(server)
    assert len(server.updates["job-1"]) == 1
    assert {state for _status, state in states(submission)} == {StatusUpdate.State.UNWANTED}


def test_a_404_of_a_proxy_is_not_desci_servers_answer(server: DesciServer) -> None:
    submission = submit()
    server.fail(404, body="<html>404 Not Found</html>", times=1)
    send_due(server)
    assert submission.newest_build().cancel_requested_at is None
    send_due(server)
    assert server.statuses("job-1") == ["IN_PROGRESS"]


def test_an_undelivered_in_progress_is_skipped_if_a_later_update_waits(server: DesciServer) -> None:
    submission = failed()
    server.fail(500, times=1)
    send_all(server)
    assert [state for _status, state in states(submission)] == ["skipped", "received", "received"]


def test_the_last_in_progress_is_not_skipped(server: DesciServer) -> None:
    submission = submit()
    server.fail(500, times=2)
    send_due(server), send_due(server)
    assert states(submission) == [("IN_PROGRESS", "pending")]


def test_a_final_status_is_never_skipped_and_sent_once(server: DesciServer) -> None:
    submission = failed()
    lifecycle.retry(submission, Mode.LATEST, actor="ed")
    lifecycle.succeed(claim(submission))
    server.fail(500, times=9)
    while StatusUpdate.objects.pending().exists():
        send_due(server)
    finals = [status for status in server.statuses("job-1") if status != "IN_PROGRESS"]
    assert finals == ["FAILED", "COMPLETED"]
    assert [state for status, state in states(submission) if status != "IN_PROGRESS"] == ["received", "received"]


def test_many_outboxes_at_once_send_nothing_twice(server: DesciServer) -> None:
    for number in range(6):
        failed(f"job-{number}")

    def drain() -> None:
        while StatusUpdate.objects.pending().exists():
            for update in outbox._reserve(2):
                outbox.send(update, client(server))
        connection.close()

    threads = [threading.Thread(target=drain) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(6):
        assert [update.status for update in server.updates[f"job-{number}"]] == ["IN_PROGRESS", "IN_PROGRESS", "FAILED"]
    assert StatusUpdateTry.objects.count() == 18


def test_the_loop_sends_new_updates_and_ends_when_stopped(server: DesciServer, settings: Any) -> None:
    settings.DESCI_SERVER_URL = server.url
    stop = threading.Event()

    def run() -> None:
        outbox.run(stop)
        connection.close()

    loop = threading.Thread(target=run)
    loop.start()
    try:
        failed()
        server.wait_for(lambda heard: heard.statuses("job-1")[-1:] == ["FAILED"])
    finally:
        stop.set()
        loop.join(20)
    assert not loop.is_alive()


def test_a_new_update_wakes_the_outbox(server: DesciServer, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without looking again, it also sends those that wait behind the first one."""
    settings.DESCI_SERVER_URL = server.url
    monkeypatch.setattr(outbox, "POLL_SECONDS", 3600.0)
    stop, looked = threading.Event(), threading.Event()
    reserve = outbox._reserve

    def look(limit: int) -> list[StatusUpdate]:
        found = reserve(limit)
        looked.set()
        return found

    def run() -> None:
        outbox.run(stop)
        connection.close()

    monkeypatch.setattr(outbox, "_reserve", look)
    loop = threading.Thread(target=run)
    loop.start()
    try:
        assert looked.wait(60)
        failed()
        server.wait_for(lambda heard: heard.statuses("job-1") == ["IN_PROGRESS", "IN_PROGRESS", "FAILED"], 60)
    finally:
        stop.set()
        outbox_bell.ring()
        loop.join(60)
    assert not loop.is_alive()


@pytest.mark.parametrize("error", [OperationalError("the connection was cut"), TypeError("a bug")], ids=["database", "bug"])
def test_the_loop_survives_an_error(
    server: DesciServer, settings: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    settings.DESCI_SERVER_URL = server.url
    monkeypatch.setattr(loops, "ERROR_SECONDS", 0.01)
    reserve, away = outbox._reserve, [error] * 2

    def cut(limit: int) -> list[StatusUpdate]:
        if away:
            raise away.pop()
        return reserve(limit)

    monkeypatch.setattr(outbox, "_reserve", cut)
    submit()
    stop = threading.Event()

    def loop() -> None:
        outbox.run(stop)
        connection.close()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        server.wait_for(lambda desci: desci.updates["job-1"], 60)
    finally:
        stop.set()
        thread.join()
