"""Success, failure, and the loss of a worker."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.utils import timezone

from builds import lifecycle
from builds.lifecycle import StaleBuild, retrying
from builds.models import FINAL, Build, Mode, Stage, State, Submission
from tests.lifecycle.helpers import CAUSE, claimed, ended, lapse, messages, submit

pytestmark = pytest.mark.django_db(transaction=True)


def test_failure_is_reported_with_cause_and_link() -> None:
    submission = submit()
    build = ended(submission, State.FAILED)
    build.refresh_from_db()
    assert (build.fault, build.cause) == ("manuscript", CAUSE.sentence)
    assert messages(submission)[-1] == f"FAILED {CAUSE.sentence} {CAUSE.advice} {submission.link}"


def test_a_submission_repeats_the_cause_while_its_newest_attempt_has_failed() -> None:
    submission = submit()
    ended(submission, State.FAILED)
    submission.refresh_from_db()
    assert (submission.fault, submission.cause_code) == (CAUSE.fault, CAUSE.code)
    lifecycle.retry(submission, Mode.LATEST, actor="ed")
    submission.refresh_from_db()
    assert (submission.fault, submission.cause_code) == ("", "")


def test_the_upgrade_repeats_the_causes_of_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    migration = import_module("builds.migrations.0032_overview")
    monkeypatch.setattr(migration, "AT_ONCE", 2)
    failed = [submit(f"failed-{number}", node_uuid=f"node-{number}.") for number in range(5)]
    for submission in failed:
        ended(submission, State.FAILED)
    again = submit("again", node_uuid="node-again.")
    ended(again, State.FAILED)
    lifecycle.retry(again, Mode.LATEST, actor="ed")
    Submission.objects.update(cause_code="")
    migration.repeat_causes(apps, None)
    assert list(Submission.objects.order_by("pk").values_list("cause_code", flat=True)) == [CAUSE.code] * 5 + [""]


def test_failure_that_is_retried_is_not_reported() -> None:
    submission = submit()
    lifecycle.fail(claimed(submission), CAUSE, retry_at=timezone.now() + timedelta(minutes=1))
    newest = submission.newest_build()
    assert (newest.number, newest.automatic, newest.state) == (2, True, State.QUEUED)
    assert [line.split()[0] for line in messages(submission)] == ["IN_PROGRESS", "IN_PROGRESS"]


def test_success_is_reported_in_the_words_of_the_old_service(settings: Any) -> None:
    submission = submit()
    ended(submission, State.SUCCEEDED)
    assert messages(submission)[-1] == "COMPLETED Files exported successfully"


@pytest.mark.parametrize(("problems", "words"), [(1, "1 problem"), (3, "3 problems")])
def test_a_success_with_problems_is_reported_with_their_number_and_the_link(problems: int, words: str) -> None:
    submission = submit()
    build = claimed(submission)
    Build.objects.filter(pk=build.pk).update(problems=problems)
    lifecycle.succeed(build)
    assert messages(submission)[-1] == f"COMPLETED Files exported successfully, with {words}: {submission.link}"
    submission.refresh_from_db()
    assert (submission.state, submission.problems) == (State.SUCCEEDED, problems)
    lifecycle.retry(submission, Mode.LATEST, actor="ed")
    submission.refresh_from_db()
    assert (submission.state, submission.problems) == (State.QUEUED, 0)


def test_success_is_not_reported_if_turned_off(settings: Any) -> None:
    settings.REPORT_COMPLETED = False
    submission = submit()
    ended(submission, State.SUCCEEDED)
    assert len(messages(submission)) == 1


@pytest.mark.parametrize("state", FINAL)
def test_nothing_changes_a_build_that_has_ended(state: State) -> None:
    build = ended(submit(), state)
    before = Build.objects.values().get(pk=build.pk)
    for verb in (lifecycle.succeed, lambda b: lifecycle.fail(b, CAUSE), lifecycle.finish_cancel, lifecycle.lose):
        with pytest.raises(StaleBuild):
            verb(build)
    with pytest.raises(StaleBuild):
        lifecycle.request_cancel(build, actor="ed", reason="late")
    assert lifecycle.claim(str(build.pk), worker="w") is None
    assert Build.objects.values().get(pk=build.pk) == before


def test_a_lost_build_is_queued_once_more_and_a_second_loss_is_final() -> None:
    submission = submit()
    for number in (1, 2):
        build = claimed(submission)
        lapse(build)
        lifecycle.lose(build)
        assert submission.builds.get(number=number).cause_code == "worker-lost"
    assert [b.state for b in submission.builds.all()] == [State.FAILED, State.FAILED]
    assert [line.split()[0] for line in messages(submission)] == ["IN_PROGRESS", "IN_PROGRESS", "FAILED"]


def lose(submission: Submission, *, excused: bool) -> str:
    """Lose the newest build. Returns the cause, and whether there is another."""
    build = claimed(submission)
    lapse(build)
    lifecycle.lose(build, excused=excused)
    build.refresh_from_db()
    return f"{build.cause_code}, {'again' if submission.builds.unfinished().exists() else 'final'}"


def test_an_outage_of_the_database_is_no_loss() -> None:
    submission = submit()
    assert [lose(submission, excused=True) for _ in range(3)] == ["database-away, again"] * 3
    assert lose(submission, excused=False) == "worker-lost, again"
    assert lose(submission, excused=True) == "database-away, again"
    assert lose(submission, excused=False) == "worker-lost, again"
    assert lose(submission, excused=False) == "worker-lost, final"


def test_outages_in_a_row_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails every time is something else."""
    monkeypatch.setattr(retrying, "MAX_OUTAGES", 2)
    submission = submit()
    said = [lose(submission, excused=True) for _ in range(3)]
    assert said == ["database-away, again", "database-away, again", "database-away, final"]


def test_the_end_of_a_build_closes_its_stage() -> None:
    build = claimed(submit())
    lifecycle.enter_stage(build, "fetch")
    lifecycle.fail(build, CAUSE)
    assert Stage.objects.get().state == Stage.State.FAILED
