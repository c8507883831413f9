"""Which lists of packages are kept."""

from __future__ import annotations

import pytest

from builds import lifecycle
from builds.models import Mode, PackageList, Submission
from builds.record import packages
from tests.support import made

pytestmark = pytest.mark.django_db


def test_only_the_newest_and_the_last_success_are_kept() -> None:
    first = made.running()
    packages.keep(first, {"pip": "1"})
    made.delivered(first)
    numbers = []
    for version in ("2", "3"):
        lifecycle.retry(first.submission, Mode.LATEST, actor="ada")
        again = made.started(first.submission)
        packages.keep(again, {"pip": version})
        lifecycle.fail(again, made.CAUSE, stage="build")
        numbers.append(again.number)
    other = made.running("2", node="node-2.")
    packages.keep(other, {"pip": "9"})
    assert set(PackageList.objects.values_list("build__submission__job_id", "build__number")) == {
        ("job-1", 1),
        ("job-1", numbers[-1]),
        ("job-2", 1),
    }
    assert (packages.find(first), packages.find(again)) == ({"pip": "1"}, {"pip": "3"})


def test_nothing_is_kept_of_a_build_that_has_ended() -> None:
    packages.keep(made.failed(), {"pip": "1"})
    assert not PackageList.objects.exists()


def test_of_two_that_run_at_once_the_newer_one_keeps_its_list() -> None:
    older, newer = made.running("1", node="node-1."), made.running("2", node="node-1.")
    Submission.objects.filter(pk=newer.submission_id).update(repository=older.submission.repository)
    newer.refresh_from_db()
    packages.keep(newer, {"pip": "2"})
    packages.keep(older, {"pip": "1"})
    assert packages.find(newer) == {"pip": "2"}


def test_the_last_success_is_the_last_that_read_its_packages() -> None:
    first = made.running()
    packages.keep(first, {"pip": "1"})
    made.delivered(first)
    lifecycle.retry(first.submission, Mode.DELIVER, actor="ada")
    made.delivered(made.started(first.submission))
    lifecycle.retry(first.submission, Mode.LATEST, actor="ada")
    assert packages.find_success(made.started(first.submission)) == {"pip": "1"}
