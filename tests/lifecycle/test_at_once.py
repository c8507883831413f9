"""Verbs of two processes at the same time. On SQLite one waits for the other by itself; on PostgreSQL by the locks of the verbs."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from builds import lifecycle
from builds.models import Build, StatusUpdate
from builds.service.outbox import _send_now
from tests.lifecycle.helpers import CAUSE, claimed, submit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("must_end")]

# A verb that does not wait has ended by then. On a slow machine the test may miss a defect; it never fails without one.
SECONDS = 0.3


def overlap(first: Callable[[], object], second: Callable[[], object], *, seconds: float | None = SECONDS) -> None:
    """Call ``first`` in a transaction, and ``second`` in another thread ``seconds`` before the commit. With None it must end first."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            second()
        except BaseException as error:
            failed.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run, daemon=True)
    with transaction.atomic():
        first()
        thread.start()
        thread.join(seconds)
    thread.join()
    assert not failed, failed


def test_two_new_submissions_of_a_node_leave_one_build() -> None:
    overlap(lambda: submit("first"), lambda: submit("second"))
    assert [build.submission.job_id for build in Build.objects.unfinished()] == ["second"]


def test_no_status_update_follows_the_last() -> None:
    build = claimed(submit())
    lifecycle.enter_stage(build, "fetch")
    StatusUpdate.objects.update(state=StatusUpdate.State.RECEIVED)
    overlap(lambda: lifecycle.fail(build, CAUSE), lambda: lifecycle.ask_whether_wanted(build))
    assert [update.status for update in StatusUpdate.objects.pending()] == [StatusUpdate.Status.FAILED]


def test_the_outbox_does_not_wait_for_an_update_that_is_being_changed() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("needs PostgreSQL: SQLite locks the whole database")
    update, other = (submit(name, node_uuid=f"node-{name}.").status_updates.get() for name in ("one", "two"))
    mine, send_all_now = StatusUpdate.objects.filter(pk=update.pk), transaction.atomic(_send_now)
    overlap(lambda: mine.update(tries=1), lambda: send_all_now(StatusUpdate.objects.pending()), seconds=None)
    assert other.next_try_at < StatusUpdate.objects.get(pk=other.pk).next_try_at
    assert update.next_try_at == StatusUpdate.objects.get(pk=update.pk).next_try_at
