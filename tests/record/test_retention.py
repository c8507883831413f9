"""What is old is removed, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessLog
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from builds import lifecycle
from builds.models import Build, Event, FrontMatter, LogBatch, Mode, StatusUpdate, StatusUpdateTry, Submission
from builds.record import logs, retention
from builds.service import housekeeping
from builds.service.housekeeping import PAUSE_SECONDS, Housekeeping
from tests.support.rows import claim, submit

pytestmark = pytest.mark.django_db(transaction=True)

DOCUMENT = {"title": "T", "authors": [{"name": "A"}], "exports": [{"format": "meca"}]}


@pytest.fixture(autouse=True)
def kept(settings: Any) -> None:
    for part in retention.PARTS:
        setattr(settings, part.setting, 10)
    settings.SIGN_INS_KEPT_DAYS, settings.LOGS_KEPT_MAX_LINES = 10, 0


def ended(job_id: str, *, days_ago: int) -> Submission:
    """A submission with a failed attempt of three lines, one update with a try, and two events."""
    submission = submit(job_id)
    FrontMatter.objects.filter(submission=submission).update(document=DOCUMENT)
    end_attempt(submission, days_ago)
    return submission


def end_attempt(submission: Submission, days_ago: int) -> None:
    build = claim(submission)
    log = logs.LogWriter(build, str)
    for number in range(3):
        log.line(f"line {number}")
    log.flush()
    lifecycle.succeed(build)
    past = timezone.now() - timedelta(days=days_ago)
    Build.objects.filter(pk=build.pk).update(finished_at=past)
    Event.objects.filter(build=build).update(at=past)
    update = build.status_updates.first()
    assert update
    StatusUpdateTry.objects.create(status_update=update, seconds=1)
    StatusUpdate.objects.filter(build=build).update(state=StatusUpdate.State.RECEIVED)


def rows(submission: Submission) -> tuple[int, int, int, bool]:
    """How many batches, tries and events a submission has, and whether its front matter is whole."""
    return (
        LogBatch.objects.filter(build__submission=submission).count(),
        StatusUpdateTry.objects.filter(status_update__submission=submission).count(),
        submission.events.count(),
        FrontMatter.objects.get(submission=submission).document == DOCUMENT,
    )


def clean(keeper: Housekeeping, rounds: int = 30) -> None:
    for _ in range(rounds):
        keeper.step()


def test_what_is_old_goes_and_what_is_young_stays() -> None:
    old, young = ended("old", days_ago=11), ended("young", days_ago=9)
    whole = rows(young)
    assert rows(old) == whole
    assert min(whole) > 0
    clean(Housekeeping())
    assert rows(old) == (0, 0, 0, False)
    assert rows(young) == whole
    assert FrontMatter.objects.get(submission=old).exports == ({"format": "meca"},)
    assert old.builds.count() == old.status_updates.filter(status="COMPLETED").count() == 1


def test_the_page_of_a_log_says_that_it_is_gone(admin_client: Client) -> None:
    old, young = ended("old", days_ago=11), ended("young", days_ago=9)
    clean(Housekeeping())
    pages = [admin_client.get(f"/submissions/{each.pk}/attempts/1/log/").text for each in (old, young)]
    assert "The 3 lines of this log are no longer kept. Jobsite keeps a log for 10 days" in pages[0]
    assert "no longer kept" not in pages[1]


def test_nothing_goes_where_a_setting_keeps_it_for_ever(settings: Any) -> None:
    for part in retention.PARTS:
        setattr(settings, part.setting, 0)
    old = ended("old", days_ago=4000)
    before = rows(old)
    clean(Housekeeping())
    assert rows(old) == before


def test_front_matter_stays_while_a_newer_attempt_is_young_or_unfinished() -> None:
    retried, queued = ended("retried", days_ago=11), ended("queued", days_ago=11)
    for submission in (retried, queued):
        lifecycle.retry(submission, mode=Mode.LATEST, actor="ada")
    end_attempt(retried, days_ago=1)
    clean(Housekeeping())
    assert [FrontMatter.objects.get(submission=each).document for each in (retried, queued)] == [DOCUMENT, DOCUMENT]


def test_tries_of_a_pending_update_stay() -> None:
    old = ended("old", days_ago=11)
    old.status_updates.update(state=StatusUpdate.State.PENDING)
    clean(Housekeeping())
    assert rows(old)[1] == 1


def test_many_rows_go_in_small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS", 2)
    monkeypatch.setattr(retention, "ATTEMPTS", 3)
    old = [ended(f"old-{number}", days_ago=11 + number) for number in range(7)]
    keeper = Housekeeping()
    keeper.step()
    assert LogBatch.objects.count() == 5
    clean(keeper)
    assert {rows(submission) for submission in old} == {(0, 0, 0, False)}


def test_it_rests_for_an_hour_and_then_finds_what_has_become_old() -> None:
    now = [0.0]
    keeper = Housekeeping(clock=lambda: now[0])
    old = ended("old", days_ago=11)
    clean(keeper)
    later = ended("later", days_ago=10)
    clean(keeper)
    assert rows(later)[0] == 1
    now[0] += PAUSE_SECONDS
    clean(keeper)
    assert rows(old)[0] == rows(later)[0] == 0


def test_the_oldest_lines_go_where_all_logs_are_too_long(settings: Any) -> None:
    settings.LOGS_KEPT_DAYS = 0
    first, second, third = (ended(f"job-{number}", days_ago=1) for number in range(3))
    settings.LOGS_KEPT_MAX_LINES = 7
    clean(Housekeeping())
    assert [rows(submission)[0] for submission in (first, second, third)] == [0, 1, 1]


def test_old_sessions_and_sign_ins_go() -> None:
    now = timezone.now()
    for key, end in (("gone", now - timedelta(seconds=1)), ("open", now + timedelta(hours=1))):
        Session.objects.create(session_key=key, session_data="", expire_date=end)
    for name, days in (("old", 11), ("young", 9)):
        row = AccessLog.objects.create(username=name)
        AccessLog.objects.filter(pk=row.pk).update(attempt_time=now - timedelta(days=days))
    clean(Housekeeping())
    assert list(Session.objects.values_list("session_key", flat=True)) == ["open"]
    assert list(AccessLog.objects.values_list("username", flat=True)) == ["young"]


def test_prune_says_what_would_go_and_removes_it_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS", 1)
    old, young = ended("old", days_ago=11), ended("young", days_ago=9)
    before = rows(old)
    call_command("prune", "--dry-run")
    said = capsys.readouterr().out
    assert rows(old) == before
    assert "1 log batches (LOGS_KEPT_DAYS=10)" in said
    assert "1 front matter" in said
    assert said.endswith("Nothing was removed.\n")
    call_command("prune")
    assert (rows(old), rows(young)) == ((0, 0, 0, False), before)
    assert housekeeping.PAUSE_SECONDS >= 60
