"""Claiming a build and renewing its lease."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from builds import lifecycle
from builds.lifecycle import StaleBuild
from builds.models import Build
from tests.lifecycle.helpers import claimed, lapse, submit

pytestmark = pytest.mark.django_db(transaction=True)


def test_claim_succeeds_once_among_many() -> None:
    build_id = str(submit().newest_build().pk)
    claims: list[Build | None] = []

    def claim() -> None:
        claims.append(lifecycle.claim(build_id, worker="w"))
        connection.close()

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claim is not None for claim in claims) == [False] * 7 + [True]


def test_claim_refuses_a_build_before_its_time() -> None:
    build = submit().newest_build()
    Build.objects.filter(pk=build.pk).update(not_before=timezone.now() + timedelta(hours=1))
    assert lifecycle.claim(str(build.pk), worker="w") is None


def test_a_build_with_a_valid_lease_is_not_lost() -> None:
    build = claimed(submit())
    with pytest.raises(StaleBuild):
        lifecycle.lose(build)
    assert lifecycle.renew(build) == ""


def test_renew_says_that_the_build_was_lost() -> None:
    build = claimed(submit())
    lapse(build)
    lifecycle.lose(build)
    assert lifecycle.renew(build) == "The lease of this build was lost."
    with pytest.raises(StaleBuild):
        lifecycle.pin(build, commit="a" * 40, ref="main", path="myst.yml")


def test_a_stage_that_is_entered_again_because_the_answer_was_lost_has_one_row() -> None:
    build = claimed(submit())
    first, second = (lifecycle.enter_stage(build, "fetch") for _ in range(2))
    assert (first, build.stages.count(), build.submission.status_updates.count()) == (second, 1, 2)
