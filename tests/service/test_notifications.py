"""Alarms, the daily digest, and their way to the operators: through a real SMTP server and a real webhook."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from email.message import Message
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler
from django.db import connection
from django.utils import timezone

from builds import lifecycle
from builds.errors import BuildError, CommandFailed, DesciServerDown, ReleaseReplaced, WorkerStopped
from builds.models import SILENT_AFTER, Build, FailureGroup, Mode, Notification, RaisedAlarm, Worker, clock
from builds.queue import store, workers
from builds.record import notifications
from builds.service import alarm_watch, loops, messenger
from builds.service.alarm_watch import PATIENCE_SECONDS, PERIOD_SECONDS, AlarmWatch
from builds.staff.failures import GROWS_FROM
from tests.standins import Webhook
from tests.standins._server import Answer, Fault
from tests.standins.webhook import SECRET
from tests.support.ports import free_port
from tests.support.rows import claim, submit
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class Mailbox(MessageHandler):
    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Message] = []

    def handle_message(self, message: Message) -> None:
        self.mails.append(message)


@pytest.fixture
def mailbox(settings: Any) -> Iterator[Mailbox]:
    box = Mailbox()
    server = Controller(box, hostname="127.0.0.1", port=free_port())
    server.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_USE_TLS = "127.0.0.1", False
    settings.EMAIL_PORT = server.port
    settings.NOTIFY_EMAILS = ["ops@example.org", "desk@example.org"]
    yield box
    server.stop()


@pytest.fixture
def webhook(settings: Any) -> Iterator[Webhook]:
    with Webhook() as receiver:
        settings.NOTIFY_WEBHOOK_URL, settings.NOTIFY_WEBHOOK_SECRET = f"{receiver.url}/hook", SECRET
        yield receiver


@pytest.fixture(autouse=True)
def all_is_well(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """A worker that is alive, and a queue store."""
    settings.NOTIFY_DIGEST_HOUR = None
    monkeypatch.setattr(store, "fail_fast_connection", lambda: type("Store", (), {"ping": lambda self: True})())
    workers.report_alive(Worker(name="host:1", host="host", pid=1, started_at=timezone.now()))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def watch_for(self, watch: AlarmWatch, seconds: float) -> None:
        """Let the watch look as often as it would in this time."""
        for _ in range(int(seconds / PERIOD_SECONDS) + 1):
            self.now += PERIOD_SECONDS
            watch.step()


def test_the_answer_to_a_letter_goes_to_its_writer(mailbox: Mailbox) -> None:
    notifications.send_email("letter", "ada@example.org", "News", "Dear Ada", reply_to="ed@example.org")
    messenger.send_notifications()
    [mail] = mailbox.mails
    assert (mail["To"], mail["Reply-To"], mail["Subject"]) == ("ada@example.org", "ed@example.org", "News")


def silence() -> None:
    Worker.objects.update(seen_at=timezone.now() - 2 * SILENT_AFTER)


def subjects() -> list[str]:
    return list(Notification.objects.order_by("id").values_list("subject", flat=True))


def test_an_alarm_that_lasts_is_told_once_and_its_end_too(webhook: Webhook) -> None:
    clock = Clock()
    watches = [AlarmWatch(clock), AlarmWatch(clock)]
    silence()
    clock.watch_for(watches[0], PATIENCE_SECONDS / 2)
    assert subjects() == []
    for watch in watches:
        clock.watch_for(watch, 3 * PATIENCE_SECONDS)
    assert sorted(subjects()) == ["Jobsite: No recent contact with host:1.", "Jobsite: No worker is accepting builds."]
    Worker.objects.update(seen_at=timezone.now())
    for watch in watches:
        clock.watch_for(watch, 2 * PATIENCE_SECONDS)
    assert sorted(subjects()[2:]) == ["Jobsite: over: no-worker", "Jobsite: over: silent-worker"]
    assert not RaisedAlarm.objects.exists()


def test_a_short_silence_is_no_alarm(webhook: Webhook) -> None:
    clock = Clock()
    watch = AlarmWatch(clock)
    for _ in range(4):
        silence()
        clock.watch_for(watch, PATIENCE_SECONDS / 2)
        Worker.objects.update(seen_at=timezone.now())
        clock.watch_for(watch, PATIENCE_SECONDS / 2)
    assert subjects() == []


def test_our_own_failure_is_told_at_once_and_only_once(webhook: Webhook) -> None:
    clock = Clock()
    watch = AlarmWatch(clock)
    for number in range(2):
        lifecycle.fail(claim(submit(f"own-{number}")), BuildError("Something of ours broke.").cause)
    lifecycle.fail(claim(submit("theirs")), CommandFailed("The command failed.").cause)
    watch.step()
    clock.watch_for(watch, PATIENCE_SECONDS * 2)
    assert subjects() == [f"Jobsite: 2 submissions failed by a fault of Jobsite: {BuildError.code}."]
    Build.objects.update(finished_at=timezone.now() - timedelta(hours=2))
    clock.watch_for(watch, PATIENCE_SECONDS * 2)
    assert len(subjects()) == 1


UNREACHABLE = "desci-server could not be reached (port {} of a host)."


def many(count: int, error: type[BuildError] = DesciServerDown, *, start: int = 0, retried: bool = False) -> None:
    """Manuscripts that fail alike."""
    at = timezone.now() + timedelta(hours=1) if retried else None
    for number in range(start, start + count):
        build = claim(submit(f"{error.code}-{number}"))
        lifecycle.fail(build, error(UNREACHABLE.format(number)).cause, stage="deliver", retry_at=at)


@pytest.mark.parametrize("retried", [True, False])
def test_a_group_of_failures_that_grows_is_told_once_and_its_end_too(webhook: Webhook, retried: bool) -> None:
    clock = Clock()
    watch = AlarmWatch(clock)
    many(GROWS_FROM - 1, retried=retried)
    clock.watch_for(watch, 2 * PATIENCE_SECONDS)
    assert subjects() == []
    many(2, start=GROWS_FROM, retried=retried)
    clock.watch_for(watch, 2 * PATIENCE_SECONDS)
    assert subjects() == ["Jobsite: 6 manuscripts failed the same way in the last hour: desci-server-down."]
    [message] = Notification.objects.all()
    group = FailureGroup.objects.get()
    assert f"/failures/{group.pk}/" in message.text
    assert "“desci-server could not be reached (port … of a host).”" in message.text and "upgrade" not in message.text
    # One of the six is still within the hour: neither the end nor a second alarm.
    kept = Build.objects.exclude(fingerprint="")[0].pk
    Build.objects.exclude(pk=kept).filter(state="failed").update(finished_at=timezone.now() - timedelta(hours=2))
    clock.watch_for(watch, 2 * PATIENCE_SECONDS)
    assert len(subjects()) == 1
    Build.objects.filter(pk=kept).update(finished_at=timezone.now() - timedelta(hours=2))
    clock.watch_for(watch, 2 * PATIENCE_SECONDS)
    assert subjects()[1:] == [f"Jobsite: over: growing desci-server-down {group.pk[:6]}"]


def test_the_alarm_says_that_the_group_began_after_an_upgrade(webhook: Webhook) -> None:
    many(GROWS_FROM)
    FailureGroup.objects.update(upgraded_at=timezone.now())
    clock = Clock()
    clock.watch_for(AlarmWatch(clock), 2 * PATIENCE_SECONDS)
    assert ", after the upgrade of " in Notification.objects.get().text


@pytest.mark.parametrize("error", [CommandFailed, WorkerStopped, ReleaseReplaced])
def test_neither_the_authors_failures_nor_a_planned_stop_is_such_an_alarm(webhook: Webhook, error: type[BuildError]) -> None:
    many(2 * GROWS_FROM, error)
    clock = Clock()
    clock.watch_for(AlarmWatch(clock), 2 * PATIENCE_SECONDS)
    assert not [subject for subject in subjects() if "failed the same way" in subject]


def test_one_manuscript_that_fails_again_and_again_is_no_growth(webhook: Webhook) -> None:
    many(GROWS_FROM)
    Build.objects.update(finished_at=timezone.now() - timedelta(hours=2))
    submission = submit("again")
    for _ in range(2 * GROWS_FROM):
        lifecycle.fail(claim(submission), DesciServerDown(UNREACHABLE.format(0)).cause, stage="deliver")
        lifecycle.retry(submission, Mode.LATEST, actor="ed", reason="")
    clock = Clock()
    clock.watch_for(AlarmWatch(clock), 2 * PATIENCE_SECONDS)
    assert FailureGroup.objects.get().manuscripts == GROWS_FROM + 1
    assert subjects() == []


def test_work_without_progress_is_an_alarm(webhook: Webhook) -> None:
    submit("waits")
    Build.objects.update(created_at=timezone.now() - timedelta(hours=1))
    clock = Clock()
    watch = AlarmWatch(clock)
    clock.watch_for(watch, 2 * PATIENCE_SECONDS)
    assert subjects() == ["Jobsite: 1 attempt has made no progress for too long."]


def test_without_a_way_nothing_is_written() -> None:
    silence()
    clock = Clock()
    clock.watch_for(AlarmWatch(clock), 2 * PATIENCE_SECONDS)
    assert not Notification.objects.exists()
    assert not RaisedAlarm.objects.exists()


def test_a_digest_a_day(webhook: Webhook, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.NOTIFY_DIGEST_HOUR = 7
    lifecycle.fail(claim(submit("job-1")), CommandFailed("The command failed.").cause)
    lifecycle.succeed(claim(submit("job-2")))
    now = [timezone.now().replace(hour=6, minute=59)]
    monkeypatch.setattr(timezone, "now", lambda: now[0])
    monkeypatch.setattr(clock, "now", lambda: now[0])
    alarm_watch.make_digest()
    assert subjects() == []
    now[0] += timedelta(minutes=1)
    for _ in range(3):
        alarm_watch.make_digest()
    assert subjects() == ["Jobsite: 1 submission to look at"]
    text = Notification.objects.get().text
    assert "1 succeeded, 1 failed, 0 cancelled" in text
    assert "Title of job-1" in text
    assert "Title of job-2" not in text
    now[0] += timedelta(days=1)
    alarm_watch.make_digest()
    assert len(subjects()) == 2


def test_each_address_and_the_webhook_get_it(mailbox: Mailbox, webhook: Webhook) -> None:
    notifications.notify("stuck", "A subject", "A text\nof two lines: é")
    messenger.send_notifications()
    assert sorted(str(mail["To"]) for mail in mailbox.mails) == ["desk@example.org", "ops@example.org"]
    assert {str(mail["Subject"]) for mail in mailbox.mails} == {"A subject"}
    assert [(each["kind"], each["subject"], each["text"]) for each in webhook.messages] == [
        ("stuck", "A subject", "A text\nof two lines: é")
    ]
    assert set(Notification.objects.values_list("state", flat=True)) == {"sent"}
    messenger.send_notifications()
    assert len(mailbox.mails) + len(webhook.messages) == 3


@pytest.mark.parametrize(
    ("fault", "why"),
    [(Fault("answer", answer=Answer(503), times=1), "it answered 503"), (Fault("reset", times=1), "could not be reached")],
)
def test_it_is_sent_again_until_it_arrives(webhook: Webhook, fault: Fault, why: str) -> None:
    webhook.add_fault(fault)
    notifications.notify("stuck", "S", "T")
    messenger.send_notifications()
    failed = Notification.objects.get()
    assert (failed.state, failed.tries) == ("pending", 1)
    assert why in failed.error
    messenger.send_notifications()
    assert webhook.messages == []
    Notification.objects.update(next_try_at=timezone.now())
    messenger.send_notifications()
    assert len(webhook.messages) == 1


def test_a_wrong_secret_is_refused_and_old_messages_are_given_up(webhook: Webhook, settings: Any) -> None:
    settings.NOTIFY_WEBHOOK_SECRET = "another"
    notifications.notify("stuck", "S", "T")
    Notification.objects.update(created_at=timezone.now() - messenger.GIVE_UP_AFTER - timedelta(minutes=1))
    messenger.send_notifications()
    assert Notification.objects.get().state == "given up"
    assert webhook.messages == []


def test_one_that_another_outbox_is_sending_is_left_to_it(webhook: Webhook) -> None:
    notifications.notify("stuck", "S", "T")
    Notification.objects.update(sending_until=timezone.now() + timedelta(minutes=1))
    messenger.send_notifications()
    assert webhook.messages == []


def test_a_subject_of_two_lines_can_not_add_a_header(mailbox: Mailbox) -> None:
    notifications.notify("stuck", "A\nBcc: mallory@example.org", "T")
    messenger.send_notifications()
    assert mailbox.mails == []
    assert set(Notification.objects.values_list("state", flat=True)) == {"pending"}


def test_an_unexpected_error_is_recorded_and_it_is_tried_again(mailbox: Mailbox, settings: Any) -> None:
    backend, settings.EMAIL_BACKEND = settings.EMAIL_BACKEND, "no_such_package.Backend"
    settings.NOTIFY_EMAILS = ["ops@example.org"]
    notifications.notify("stuck", "S", "T")
    messenger.send_notifications()
    failed = Notification.objects.get()
    assert (failed.state, failed.tries, failed.sending_until) == ("pending", 1, None)
    assert "no_such_package" in failed.error
    settings.EMAIL_BACKEND = backend
    Notification.objects.update(next_try_at=timezone.now())
    messenger.send_notifications()
    assert len(mailbox.mails) == 1


def test_an_unexpected_error_does_not_end_the_thread(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "ERROR_SECONDS", 0.001)
    monkeypatch.setattr(messenger, "POLL_SECONDS", 0.001)
    notifications.notify("stuck", "S", "T")
    stop, errors = threading.Event(), [ZeroDivisionError("a bug")] * 2

    def fail_twice(execute: Any, *arguments: Any) -> Any:
        if errors:
            raise errors.pop()
        return execute(*arguments)

    def run() -> None:
        with connection.execute_wrapper(fail_twice):
            messenger.run(stop)
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until(lambda: webhook.messages or not thread.is_alive())
    finally:
        stop.set()
        thread.join()
    assert len(webhook.messages) == 1
