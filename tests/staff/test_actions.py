"""An action that several people take at the same moment, on different surfaces, happens once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from builds import lifecycle
from builds.lifecycle import ActionRefused, StaleBuild
from builds.models import Build, Event, Mode, StatusUpdate
from builds.staff.actions import BY_NAME, perform
from tests.support import made

PRESSES = 8
ANSWER = {"mode": "latest", "reason": "At once."}


@pytest.fixture(autouse=True)
def _data_folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


def by_the_api(name: str, build: Build) -> None:
    """As the API does it, without the number of the build that was seen."""
    if name == "cancel":
        lifecycle.request_cancel(build, actor=lifecycle.API, reason="At once.")
    if name in ("retry", "deliver"):
        lifecycle.retry(build.submission, Mode.DELIVER if name == "deliver" else Mode.LATEST, actor=lifecycle.API)


def by_hand(name: str, build: Build) -> None:
    perform(BY_NAME[name], build.submission, ANSWER, actor="ada", seen=build.number)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("name", "make", "event"),
    [
        ("retry", made.failed, "retried (latest)"),
        ("deliver", made.succeeded, "retried (deliver)"),
        ("cancel", made.running, "cancel requested"),
        ("push", made.failed, "status update pushed"),
        ("next", made.queued, "moved to the front"),
    ],
)
def test_an_action_by_several_people_at_once_happens_once(name: str, make: Callable[[], Build], event: str) -> None:
    build = make()
    made.refused(build)
    updates = StatusUpdate.objects.count()
    together = threading.Barrier(PRESSES)

    def press(verb: Callable[[str, Build], None]) -> None:
        own = Build.objects.select_related("submission").get(pk=build.pk)
        together.wait()
        with suppress(ActionRefused, StaleBuild):
            verb(name, own)
        connection.close()

    threads = [threading.Thread(target=press, args=((by_hand, by_the_api)[number % 4 == 3],)) for number in range(PRESSES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Event.objects.filter(kind=event).count() == 1
    assert build.submission.builds.count() == (2 if name in ("retry", "deliver") else 1)
    assert StatusUpdate.objects.count() == updates + (name in ("retry", "deliver"))
