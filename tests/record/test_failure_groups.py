"""Failures that are alike are counted in one group, which says when it began and whether that was after an upgrade."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds import lifecycle
from builds.errors import Cause, Fault
from builds.lib import release
from builds.models import Build, FailureGroup, Mode, Release, State, Submission
from builds.record import erasure, failure_groups
from builds.service.reconciler import ReleaseNote
from tests.support.rows import claim, submit

pytestmark = pytest.mark.django_db


def refused(job_id: str, name: str = "a.png", *, node: str = "", code: str = "image-missing", stage: str = "build") -> Build:
    """A build that failed because of the image ``name``."""
    build = claim(submit(job_id, node_uuid=node))
    lifecycle.fail(build, Cause(Fault.MANUSCRIPT, code, f"The image {name} is missing."), stage=stage)
    return build


def group() -> FailureGroup:
    return FailureGroup.objects.get()


def test_the_same_error_in_two_manuscripts_is_one_group() -> None:
    before = timezone.now()
    first, second = refused("1", "figs/a.png"), refused("2", "b1.png")
    found = group()
    assert (found.code, found.stage, found.line, found.fault) == (
        "image-missing",
        "build",
        "The image … is missing.",
        "manuscript",
    )
    assert (found.attempts, found.manuscripts) == (2, 2)
    assert before <= found.first_at < found.last_at
    assert {build.fingerprint for build in Build.objects.all()} == {found.pk}
    assert {first.submission_id, second.submission_id} == set(
        Submission.objects.filter(fingerprint=found.pk).values_list("pk", flat=True)
    )


@pytest.mark.parametrize("other", [{"code": "other"}, {"stage": "collect"}])
def test_another_code_or_stage_is_another_group(other: dict[str, Any]) -> None:
    refused("1"), refused("2", **other)
    assert [found.attempts for found in FailureGroup.objects.all()] == [1, 1]


def test_a_manuscript_that_fails_again_counts_once() -> None:
    refused("1", node="same."), refused("2", node="same.")
    lifecycle.retry(Submission.objects.get(job_id="1"), Mode.LATEST, actor="ed", reason="")
    again = claim(Submission.objects.get(job_id="1"))
    lifecycle.fail(again, Cause(Fault.MANUSCRIPT, "image-missing", "The image c.png is missing."), stage="build")
    assert (group().attempts, group().manuscripts) == (3, 1)


def test_the_submission_leaves_the_group_with_its_next_attempt() -> None:
    submission = refused("1").submission
    lifecycle.retry(submission, Mode.LATEST, actor="ed", reason="")
    submission.refresh_from_db()
    assert (submission.state, submission.fingerprint, submission.fault) == (State.QUEUED, "", "")
    assert Build.objects.exclude(fingerprint="").count() == 1


def test_counting_takes_two_statements_for_the_second_failure() -> None:
    refused("1")
    build = claim(submit("2"))
    with CaptureQueriesContext(connection) as captured:
        lifecycle.fail(build, Cause(Fault.MANUSCRIPT, "image-missing", "The image b.png is missing."), stage="build")
    asked = [query["sql"] for query in captured.captured_queries]
    assert len([sql for sql in asked if sql.startswith('UPDATE "builds_failuregroup"')]) == 2
    assert not [sql for sql in asked if 'INTO "builds_failuregroup"' in sql]


def test_erasing_takes_attempts_out_of_the_group_and_the_last_one_deletes_it() -> None:
    for job_id, node in (("1", "same."), ("2", "same."), ("3", "other.")):
        refused(job_id, node=node)
    for job_id, left in (("1", (2, 2)), ("2", (1, 1))):
        erase(job_id)
        assert (group().attempts, group().manuscripts) == left
    erase("3")
    assert not FailureGroup.objects.exists()


def erase(job_id: str) -> None:
    submission = Submission.objects.get(job_id=job_id)
    submission.status_updates.update(state="sent", settled_at=timezone.now())
    erasure.erase_submission(submission)


def seen(digest: str, *, days_ago: float) -> Release:
    return Release.objects.create(digest=digest, first_seen_at=timezone.now() - timedelta(days=days_ago))


def test_a_group_that_began_soon_after_an_upgrade_says_so() -> None:
    seen("first", days_ago=9)
    upgrade = seen("second", days_ago=1)
    refused("1")
    assert group().upgraded_at == upgrade.first_seen_at


@pytest.mark.parametrize("ages", [(), (1,), (9, 4)])
def test_neither_the_first_release_nor_an_old_upgrade_is_named(ages: tuple[int, ...]) -> None:
    for age in ages:
        seen(str(age), days_ago=age)
    refused("1")
    assert group().upgraded_at is None


def test_a_group_from_before_an_upgrade_never_names_it() -> None:
    seen("first", days_ago=9), refused("1")
    seen("second", days_ago=0), refused("2")
    assert (group().attempts, group().upgraded_at) == (2, None)


def test_a_release_is_noted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    note = ReleaseNote()
    note.write()
    [first] = Release.objects.all()
    assert first.digest == release.digest()
    with CaptureQueriesContext(connection) as captured:
        note.write()
    assert len(captured) == 0
    ReleaseNote().write()
    assert Release.objects.get().first_seen_at == first.first_seen_at
    monkeypatch.setattr(release, "digest", lambda: "another")
    ReleaseNote().write()
    assert Release.objects.count() == 2


def test_an_upgrade_that_is_seen_later_does_not_count() -> None:
    now = timezone.now()
    seen("first", days_ago=9), seen("second", days_ago=-1)
    assert failure_groups.find_upgrade(now) is None
