"""Pause, drain and resume: no build starts while the queue is paused, running builds go on, and each change records who made it and why."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from builds import lifecycle
from builds.lifecycle import ActionRefused, pausing
from builds.models import QueueChange, QueueControl, State
from tests.support.rows import claim, submit

pytestmark = pytest.mark.django_db


def pause() -> None:
    pausing.pause(actor="ada", reason="New templates.")


def drain() -> None:
    pausing.drain(actor="ada", reason="Update.")


def resume() -> None:
    pausing.resume(actor="ben")


def changes() -> list[tuple[str, str, str]]:
    return list(QueueChange.objects.order_by("id").values_list("kind", "actor", "reason"))


@pytest.mark.parametrize("close", [pause, drain])
def test_nothing_starts_while_the_queue_is_paused(close: Any) -> None:
    running = claim(submit("running"))
    close()
    waiting = submit("waiting")
    build = waiting.newest_build()
    assert lifecycle.claim(str(build.pk), worker="worker") is None
    build.refresh_from_db()
    assert (build.state, build.worker, lifecycle.renew(running)) == (State.QUEUED, "", "")
    lifecycle.succeed(running)
    resume()
    assert claim(waiting).state == State.RUNNING


def test_a_queue_that_was_never_paused_is_open() -> None:
    assert (str(QueueControl.now()), QueueControl.objects.count()) == ("open", 0)


def test_each_change_is_recorded_with_who_and_why() -> None:
    pause()
    drain()
    resume()
    assert changes() == [("paused", "ada", "New templates."), ("draining", "ada", "Update."), ("resumed", "ben", "")]
    assert str(QueueControl.now()) == "open"


def test_draining_a_paused_queue_keeps_the_time_of_the_pause() -> None:
    pause()
    since = QueueControl.now().paused_at
    drain()
    control = QueueControl.now()
    assert (str(control), control.paused_at, control.reason) == ("draining", since, "Update.")


@pytest.mark.parametrize(
    ("before", "act", "sentence"),
    [
        (pause, pause, "The queue is already paused, at the request of ada."),
        (drain, pause, "The queue is already draining, at the request of ada."),
        (drain, drain, "The queue is already being drained, at the request of ada."),
        (resume, resume, "The queue is not paused."),
    ],
)
def test_a_change_to_the_same_state_is_refused(before: Any, act: Any, sentence: str) -> None:
    if before is not resume:
        before()
    count = len(changes())
    with pytest.raises(ActionRefused) as refused:
        act()
    assert (str(refused.value), len(changes())) == (sentence, count)


@pytest.mark.django_db(transaction=True)
def test_an_action_by_several_people_at_once_happens_once() -> None:
    refused: list[ActionRefused] = []

    def press() -> None:
        try:
            pause()
        except ActionRefused as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(refused), len(changes())) == (3, 1)


@pytest.mark.parametrize("row", [QueueControl(pk=2), QueueControl(pk=1, draining=True)])
def test_the_database_rejects_impossible_rows(row: QueueControl) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save(force_insert=True)
