"""Pause, drain and resume: nothing starts while the queue is paused, what runs goes on, and each change says who and why."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from builds import lifecycle, queue_control
from builds.lifecycle import ActRefused
from builds.models import State
from builds.queue_models import QueueChange, QueueControl
from tests.rows import claim, submit

pytestmark = pytest.mark.django_db


def pause() -> None:
    queue_control.pause(actor="ada", reason="New templates.")


def drain() -> None:
    queue_control.drain(actor="ada", reason="Update.")


def resume() -> None:
    queue_control.resume(actor="ben")


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


def test_each_change_is_written_with_who_and_why() -> None:
    pause()
    drain()
    resume()
    assert changes() == [("paused", "ada", "New templates."), ("draining", "ada", "Update."), ("resumed", "ben", "")]
    assert str(QueueControl.now()) == "open"


def test_a_drain_of_a_paused_queue_keeps_since_when_it_is_paused() -> None:
    pause()
    since = QueueControl.now().paused_at
    drain()
    control = QueueControl.now()
    assert (str(control), control.paused_at, control.reason) == ("draining", since, "Update.")


@pytest.mark.parametrize(
    ("before", "act", "sentence"),
    [
        (pause, pause, "The queue is paused already, since ada asked for it."),
        (drain, pause, "The queue is draining already, since ada asked for it."),
        (drain, drain, "The queue is being drained already, since ada asked for it."),
        (resume, resume, "The queue is not paused."),
    ],
)
def test_what_has_happened_already_is_refused(before: Any, act: Any, sentence: str) -> None:
    if before is not resume:
        before()
    count = len(changes())
    with pytest.raises(ActRefused) as refused:
        act()
    assert (str(refused.value), len(changes())) == (sentence, count)


@pytest.mark.django_db(transaction=True)
def test_pressed_by_several_at_once_it_happens_once() -> None:
    refused: list[ActRefused] = []

    def press() -> None:
        try:
            pause()
        except ActRefused as error:
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
def test_the_database_refuses_what_cannot_be(row: QueueControl) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save(force_insert=True)
