"""Sends status updates to desci-server: in order per submission, repeated until it has received them, with every try recorded.

The same process sends notifications to the operators (:mod:`builds.service.messenger`).

Any number of outboxes may run at once: the first one to mark an update as being sent sends it.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F

from builds import lifecycle
from builds.engine.clients.desci import Answer, DesciServer, Outcome, classify
from builds.errors import DesciServerDown
from builds.lib.text import storable_text
from builds.models import OutboxHold, StatusUpdate, StatusUpdateQuerySet, StatusUpdateTry, clock
from builds.record import metrics, outbox_bell, steps
from builds.record.steps import Step
from builds.service import messenger
from builds.service.loops import Pauses, repeat

logger = logging.getLogger(__name__)

# How long an update that is being sent is reserved for one outbox: longer than the client's own time limit.
RESERVATION = timedelta(seconds=60)
PAUSES = Pauses(timedelta(seconds=1), timedelta(minutes=5))
# How often to look for updates without being woken: those of other machines, and those whose time for another try has come.
POLL_SECONDS = 0.2
# What a try says until its answer is recorded, and if the answer is a 200 of another kind, such as the login page of a proxy.
UNDER_WAY = "Sent; no answer is recorded yet."
NOT_ITS_ANSWER = "Answered 200, but not as desci-server does."
SENDERS = 4


def run(stop: threading.Event) -> None:
    """Send what is due until ``stop`` is set, the notifications in a thread beside the status updates."""
    server = DesciServer(settings.DESCI_SERVER_URL, settings.INTERNAL_SERVICE_SECRET)
    with ThreadPoolExecutor(SENDERS + 1, thread_name_prefix="outbox") as pool, outbox_bell.listen() as bell:
        pool.submit(_send_notifications, stop)
        repeat(Outbox(pool, server).send_status_updates, stop, POLL_SECONDS, wait=bell.wait)


def _send_notifications(stop: threading.Event) -> None:
    try:
        messenger.run(stop)
    finally:
        connection.close()


class Outbox:
    """Sends several updates at once, so that a slow answer does not hold up the others."""

    def __init__(self, pool: ThreadPoolExecutor, server: DesciServer) -> None:
        self._pool, self._server = pool, server
        self._sending: set[Future[None]] = set()

    def send_status_updates(self) -> None:
        """Start to send the updates whose time has come, as many as there are free senders."""
        self._sending = {future for future in self._sending if not future.done()}
        for update in _reserve(SENDERS - len(self._sending)):
            self._sending.add(self._pool.submit(_send_in_thread, update, self._server))


def _reserve(limit: int) -> list[StatusUpdate]:
    """Reserve up to ``limit`` due updates for sending. While desci-server rejects the secret: one at most, and only now and then."""
    # Mostly nothing is waiting, and the queries below take eight times as long to make as this one.
    if limit <= 0 or not StatusUpdate.objects.pending().exists():
        return []
    due = StatusUpdate.objects.due()
    if hold := OutboxHold.objects.first():
        due, limit = StatusUpdate.objects.heads().idle().order_by("next_try_at"), 1
        if not (due.exists() and _claim_probe(hold)):
            return []
    return list(filter(_reserve_one, due.select_related("submission", "build")[:limit]))


def _reserve_one(update: StatusUpdate) -> bool:
    """Whether this outbox was the first to reserve the update. A try is counted before it is made."""
    idle = StatusUpdate.objects.idle().filter(pk=update.pk)
    return bool(idle.update(sending_until=clock.now() + RESERVATION, tries=F("tries") + 1))


def _claim_probe(hold: OutboxHold) -> bool:
    """Whether it is time to try again whether the secrets agree, and no other outbox does."""
    now = clock.now()
    return bool(
        OutboxHold.objects.filter(next_try_at=hold.next_try_at, next_try_at__lte=now).update(next_try_at=now + RESERVATION)
    )


def _send_in_thread(first: StatusUpdate, server: DesciServer) -> None:
    """Send an update, and those of its submission that wait behind it."""
    update: StatusUpdate | None = first
    try:
        while update:
            send(update, server)
            update = _reserve_next(first.submission_id)
    except Exception:
        logger.exception("a status update could not be handled", extra={"statusUpdate": (update or first).pk})
    finally:
        connection.close()


def _reserve_next(submission_id: int) -> StatusUpdate | None:
    """Reserve the update that the submission waits with, if it is due and nothing holds it back."""
    waiting = StatusUpdate.objects.pending().filter(submission=submission_id)
    if not waiting.exists():  # mostly: and the query below takes three times as long
        return None
    free = waiting.filter(~Exists(OutboxHold.objects.all()))
    oldest = free.select_related("submission", "build").order_by("id").first()
    return oldest if oldest and oldest.next_try_at <= clock.now() and _reserve_one(oldest) else None


def send(update: StatusUpdate, server: DesciServer) -> None:
    """Record a try, make it, and note its answer: a try that is under way can be seen."""
    update.build.submission = update.submission  # the same row, read once
    update.tries += 1
    attempt = StatusUpdateTry.objects.create(status_update=update, error=UNDER_WAY, seconds=0, at=clock.now())
    started_at = time.monotonic()
    try:
        submission = update.submission
        answer = server.update_status(submission.node_uuid, submission.job_id, update.status, update.message)
    except Exception as error:  # any error: staff must see why the update was not sent, and it is tried again
        if not isinstance(error, DesciServerDown):
            logger.exception("a status update could not be sent", extra={"statusUpdate": update.pk})
        attempt.error, attempt.seconds = str(error), time.monotonic() - started_at
        _record(update, Outcome.TRY_AGAIN, attempt)
    else:
        attempt.code, attempt.error, attempt.seconds = answer.code, "", answer.seconds
        attempt.body = storable_text(answer.body[:4000])
        outcome = classify(answer)
        if answer.code == 200 and outcome is not Outcome.OK:
            attempt.error = NOT_ITS_ANSWER
        _record(update, outcome, attempt, answer)


@transaction.atomic
def _record(update: StatusUpdate, outcome: Outcome, attempt: StatusUpdateTry, answer: Answer | None = None) -> None:
    lifecycle.lock(update.submission_id)
    attempt.save()
    metrics.add(metrics.counted(metrics.TRIES, outcome.name.lower().replace("_", "-")))
    if outcome in (Outcome.OK, Outcome.GONE):
        _release_hold()
    StatusUpdate.objects.pending().filter(pk=update.pk).update(sending_until=None, **_settled(outcome, update.tries))
    if outcome == Outcome.UNAUTHORIZED:
        _hold_back(str(answer))
    elif outcome == Outcome.GONE and answer:
        lifecycle.mark_unwanted(update.submission, answer=f"{answer.code}: {answer.body[:200]}")
    elif outcome != Outcome.OK:
        _skip_if_superseded(update)
    elif update.tries > 1:
        _send_others_now()
    _log(update, outcome, attempt)


def _settled(outcome: Outcome, tries: int) -> dict[str, Any]:
    """The columns of an update that say what comes of it after a try: it is settled, or tried again."""
    now = clock.now()
    if outcome == Outcome.UNAUTHORIZED:
        return {}  # all updates are held back
    if outcome == Outcome.OK:
        return {"state": StatusUpdate.State.RECEIVED, "settled_at": now}
    if outcome == Outcome.GONE:
        return {"state": StatusUpdate.State.UNWANTED, "settled_at": now}
    return {"next_try_at": now + PAUSES.after(tries)}


def _log(update: StatusUpdate, outcome: Outcome, attempt: StatusUpdateTry) -> None:
    was_received = outcome == Outcome.OK
    steps.log(
        Step.STATUS_UPDATE_RECEIVED if was_received else Step.STATUS_UPDATE_REFUSED,
        update.build,
        level=logging.INFO if was_received else logging.WARNING,
        statusUpdate=update.pk,
        status=update.status,
        tries=update.tries,
        code=attempt.code,
        error=attempt.error,
        duration=round(attempt.seconds, 3),
    )


def _hold_back(answer: str) -> None:
    """Hold back all updates: the two services' secrets differ, and every try would fail until an operator fixes that."""
    hold, is_new = OutboxHold.objects.get_or_create(
        defaults={"answer": answer, "since": clock.now(), "next_try_at": clock.now() + PAUSES.after(1)}
    )
    if is_new:
        sentence = (
            "desci-server rejects Jobsite's INTERNAL_SERVICE_SECRET: ALL status updates are held back. "
            "Set the same secret in both services. Nothing is lost: sending then resumes automatically."
        )
        steps.log(Step.OUTBOX_HELD, level=logging.CRITICAL, message=sentence, answer=steps.reason(answer))
    else:
        tries = hold.tries + 1
        OutboxHold.objects.update(answer=answer, tries=tries, next_try_at=clock.now() + PAUSES.after(tries))


def _release_hold() -> None:
    """desci-server has accepted the secret: send the updates that were held back."""
    if OutboxHold.objects.all().delete()[0]:
        steps.log(Step.OUTBOX_RELEASED, level=logging.WARNING)
        _send_now(StatusUpdate.objects.pending())


def _send_others_now() -> None:
    """Send all waiting updates now: one that had failed has arrived, so desci-server is back."""
    _send_now(StatusUpdate.objects.idle().filter(next_try_at__gt=clock.now()))


def _send_now(updates: StatusUpdateQuerySet) -> None:
    """Send these updates now, except those that another transaction is changing: two senders would wait for each other."""
    free = updates.select_for_update(skip_locked=True, no_key=True).values("pk")
    StatusUpdate.objects.filter(pk__in=free).update(next_try_at=clock.now())


def _skip_if_superseded(update: StatusUpdate) -> None:
    """Skip an undelivered "in progress" if a later update follows at once."""
    later = StatusUpdate.objects.pending().filter(submission=update.submission_id, id__gt=update.pk)
    if not update.is_final and later.exists():
        later.update(next_try_at=clock.now() + PAUSES.after(update.tries))
        StatusUpdate.objects.pending().filter(pk=update.pk).update(state=StatusUpdate.State.SKIPPED, settled_at=clock.now())
